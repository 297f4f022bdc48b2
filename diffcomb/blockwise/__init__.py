"""Problems that no single solve can hold: blocks are solved beside each other, on threads, processes or a cluster.

``pip install "diffcomb[blockwise]"`` brings dask and zarr; nothing else in diffcomb imports this package. Its files
from the top down: ``solving`` tells the story; ``arguments`` checks what it is given; ``volumes`` and ``graphs`` are
the two kinds of input, ``grids`` the tasks of a volume's blocks; ``parts`` is what blocks of any kind do; ``runner``
and ``store`` run tasks and keep what they find; ``sources`` and ``blocks`` are arrays and boxes.
"""

from .result import BlockwiseSolution, Stage
from .runner import BlockwiseError, Failure
from .solving import solve_blockwise

__all__ = ["BlockwiseError", "BlockwiseSolution", "Failure", "Stage", "solve_blockwise"]
