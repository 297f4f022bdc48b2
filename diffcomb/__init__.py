"""diffcomb: train neural networks through combinatorial solvers.

Solvers for the multicut, the multiway cut and the asymmetric multiway cut; gradients through them or through
any other black-box solver; the lifted multiway cut that carries a loss on instances back to class costs.
torch is imported when something that needs it is used for the first time (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import differentiable_cuts, differentiable_lifted_cuts  # noqa: F401 (they register the verbs for perturbed_grad)
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .affinity import affinities, class_probabilities_to_costs, probabilities_to_costs
from .agglomeration import agglomerate, mutex_watershed, semantic_mutex_watershed
from .cuts import amwc, multicut, mwc
from .evaluation import evaluate
from .graph import Graph
from .grid import GridGraph, MaskedGridGraph, grid_graph
from .lifted_cuts import lifted_amwc, lifted_multicut
from .lifted_instance import make_lifted_problem
from .lifted_problem import LiftedProblem, LiftedSolution
from .lifting import LiftedMWC
from .linear_solver import LinearSolver
from .many import solve_many
from .problem import Problem, Solution, make_problem
from .regions import EdgeStatistics, RegionGraph, region_graph

if TYPE_CHECKING:
    from .cut_output import *
    from .gradients import *
    from .layers import *
    from .lifted_layers import *
    from .losses import *

# The modules that hold the names of __all__ that are not imported above; each of them imports torch.
_NEED_TORCH = ("gradients", "losses", "layers", "lifted_layers", "cut_output")

__all__ = [
    "IMLE",
    "LPGD",
    "Adaptive",
    "AsymmetricMultiwayCutLayer",
    "Blackbox",
    "CentralDifference",
    "Contrastive",
    "CutOutput",
    "EdgeStatistics",
    "FenchelYoung",
    "Fixed",
    "Graph",
    "GridGraph",
    "Gumbel",
    "LiftedAsymmetricMultiwayCutLayer",
    "LiftedMWC",
    "LiftedMulticutLayer",
    "LiftedProblem",
    "LiftedSolution",
    "LinearSolver",
    "LogGrid",
    "LogUniform",
    "MaskedGridGraph",
    "MulticutLayer",
    "MultiwayCutLayer",
    "NegativeIdentity",
    "Normal",
    "PerturbedOptimizer",
    "Problem",
    "Ranking",
    "RegionGraph",
    "Relative",
    "SPOPlus",
    "Solution",
    "SolutionPool",
    "StraightThrough",
    "StructuredSVM",
    "SumOfGamma",
    "Uniform",
    "__version__",
    "affinities",
    "agglomerate",
    "amwc",
    "class_probabilities_to_costs",
    "diagnose",
    "evaluate",
    "get_num_threads",
    "gradcheck",
    "grid_graph",
    "lifted_amwc",
    "lifted_multicut",
    "make_lifted_problem",
    "make_problem",
    "malis_loss",
    "malis_pairs",
    "multicut",
    "mutex_watershed",
    "mwc",
    "perturbed_grad",
    "probabilities_to_costs",
    "region_graph",
    "semantic_mutex_watershed",
    "set_num_threads",
    "solve_many",
    "solver_loss",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _NEED_TORCH:
            found = importlib.import_module(f".{module}", __name__)
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
