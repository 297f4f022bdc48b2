"""Problems, clusters and volumes in files: :func:`read`, :func:`write`, :func:`open_array`, :func:`array_names`."""

from .instance import Instance
from .problems import FORMATS, read, write
from .volumes import array_names, open_array, save_array

__all__ = ["FORMATS", "Instance", "array_names", "open_array", "read", "save_array", "write"]
