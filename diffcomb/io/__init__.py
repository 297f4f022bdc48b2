"""Problems, clusters and volumes in files: :func:`read`, :func:`write`, :func:`open_array`."""

from .instance import Instance
from .problems import FORMATS, read, write
from .volumes import open_array, save_array

__all__ = ["FORMATS", "Instance", "open_array", "read", "save_array", "write"]
