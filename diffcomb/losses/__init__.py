"""Losses for when optimal solutions or true costs are known: no upstream gradient, and mostly convex in the costs.

``solver_loss`` wraps a solver and a loss; every loss is a small file that says how to value one batch. ``malis_loss``
needs no solver.
"""

from .contrastive import Contrastive
from .fenchel_young import FenchelYoung
from .malis import malis_loss, malis_pairs
from .pool import SolutionPool
from .ranking import Ranking
from .solver_loss import solver_loss
from .spo import SPOPlus
from .structured_svm import StructuredSVM

LOSSES = (FenchelYoung, SPOPlus, StructuredSVM, Contrastive, Ranking)

__all__ = [
    "LOSSES",
    "Contrastive",
    "FenchelYoung",
    "Ranking",
    "SPOPlus",
    "SolutionPool",
    "StructuredSVM",
    "malis_loss",
    "malis_pairs",
    "solver_loss",
]
