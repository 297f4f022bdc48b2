"""Gradients through black-box solvers: independent of what is solved.

``perturbed_grad`` wraps a solver, an estimator says how to differentiate, a schedule says at which scales.
"""

from .blackbox import Blackbox
from .central import CentralDifference
from .checking import GradcheckError, gradcheck
from .diagnosis import Diagnosis, diagnose
from .identity import NegativeIdentity, StraightThrough
from .imle import IMLE
from .lpgd import LPGD
from .noise import Gumbel, Normal, SumOfGamma
from .perturbed import perturbed_grad
from .schedules import Adaptive, Fixed, LogGrid, LogUniform, Relative, Schedule, Uniform
from .smoothing import PerturbedOptimizer

ESTIMATORS = (Blackbox, CentralDifference, LPGD, IMLE, PerturbedOptimizer, NegativeIdentity, StraightThrough)

__all__ = [
    "ESTIMATORS",
    "IMLE",
    "LPGD",
    "Adaptive",
    "Blackbox",
    "CentralDifference",
    "Diagnosis",
    "Fixed",
    "GradcheckError",
    "Gumbel",
    "LogGrid",
    "LogUniform",
    "NegativeIdentity",
    "Normal",
    "PerturbedOptimizer",
    "Relative",
    "Schedule",
    "StraightThrough",
    "SumOfGamma",
    "Uniform",
    "diagnose",
    "gradcheck",
    "perturbed_grad",
]
