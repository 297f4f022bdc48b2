"""diffcomb: train neural networks through combinatorial solvers.

Solvers for the multicut, the multiway cut and the asymmetric multiway cut; gradients through them or through
any other black-box solver; the lifted multiway cut that carries a loss on instances back to class costs.
torch is imported when something that needs it is used for the first time (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import differentiable_cuts  # noqa: F401 (it registers the verbs for perturbed_grad)
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .cuts import amwc, multicut, mwc
from .graph import Graph, GridGraph, grid_graph
from .lifting import LiftedMWC
from .linear_solver import LinearSolver
from .problem import Problem, Solution, make_problem

if TYPE_CHECKING:
    from .cut_output import CutOutput
    from .gradients import (
        IMLE,
        LPGD,
        Adaptive,
        Blackbox,
        CentralDifference,
        Fixed,
        Gumbel,
        LogGrid,
        LogUniform,
        NegativeIdentity,
        Normal,
        PerturbedOptimizer,
        Relative,
        StraightThrough,
        SumOfGamma,
        Uniform,
        diagnose,
        gradcheck,
        perturbed_grad,
    )
    from .layers import AsymmetricMultiwayCutLayer, MulticutLayer, MultiwayCutLayer
    from .losses import Contrastive, FenchelYoung, Ranking, SolutionPool, SPOPlus, StructuredSVM, solver_loss


_NEEDS_TORCH = {
    **dict.fromkeys(
        [
            "IMLE",
            "LPGD",
            "Adaptive",
            "Blackbox",
            "CentralDifference",
            "Fixed",
            "Gumbel",
            "LogGrid",
            "LogUniform",
            "NegativeIdentity",
            "Normal",
            "PerturbedOptimizer",
            "Relative",
            "StraightThrough",
            "SumOfGamma",
            "Uniform",
            "diagnose",
            "gradcheck",
            "perturbed_grad",
        ],
        "gradients",
    ),
    **dict.fromkeys(
        ["Contrastive", "FenchelYoung", "Ranking", "SPOPlus", "SolutionPool", "StructuredSVM", "solver_loss"], "losses"
    ),
    **dict.fromkeys(["AsymmetricMultiwayCutLayer", "MulticutLayer", "MultiwayCutLayer"], "layers"),
    "CutOutput": "cut_output",
}

__all__ = [
    "IMLE",
    "LPGD",
    "Adaptive",
    "AsymmetricMultiwayCutLayer",
    "Blackbox",
    "CentralDifference",
    "Contrastive",
    "CutOutput",
    "FenchelYoung",
    "Fixed",
    "Graph",
    "GridGraph",
    "Gumbel",
    "LiftedMWC",
    "LinearSolver",
    "LogGrid",
    "LogUniform",
    "MulticutLayer",
    "MultiwayCutLayer",
    "NegativeIdentity",
    "Normal",
    "PerturbedOptimizer",
    "Problem",
    "Ranking",
    "Relative",
    "SPOPlus",
    "Solution",
    "SolutionPool",
    "StraightThrough",
    "StructuredSVM",
    "SumOfGamma",
    "Uniform",
    "__version__",
    "amwc",
    "diagnose",
    "get_num_threads",
    "gradcheck",
    "grid_graph",
    "make_problem",
    "multicut",
    "mwc",
    "perturbed_grad",
    "set_num_threads",
    "solver_loss",
]


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(importlib.import_module(f".{_NEEDS_TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
