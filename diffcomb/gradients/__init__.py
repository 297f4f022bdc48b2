"""Gradients through black-box solvers: independent of what is solved.

``perturbed_grad`` wraps a solver, an estimator says how to differentiate, a schedule says at which scales.
"""

from .diagnose import Diagnosis, diagnose
from .estimators import (
    ESTIMATORS,
    IMLE,
    LPGD,
    Blackbox,
    CentralDifference,
    NegativeIdentity,
    PerturbedOptimizer,
    StraightThrough,
)
from .gradcheck import GradcheckError, gradcheck
from .interfaces import Estimator, Noise, Schedule
from .noise import Gumbel, Normal, SumOfGamma
from .schedules import Adaptive, Fixed, LogGrid, LogUniform, Relative, Uniform
from .wrapping import perturbed_grad

__all__ = [
    "ESTIMATORS",
    "IMLE",
    "LPGD",
    "Adaptive",
    "Blackbox",
    "CentralDifference",
    "Diagnosis",
    "Estimator",
    "Fixed",
    "GradcheckError",
    "Gumbel",
    "LogGrid",
    "LogUniform",
    "NegativeIdentity",
    "Noise",
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
