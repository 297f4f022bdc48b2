"""Gradients through black-box solvers: independent of what is solved.

``perturbed_grad`` wraps a solver, an estimator says how to differentiate, a schedule says at which scales.
"""

from . import estimators
from .diagnose import Diagnosis, diagnose
from .estimators import *  # noqa: F403 (estimators are listed there)
from .gradcheck import GradcheckError, gradcheck
from .interfaces import Estimator, Noise, Schedule
from .noise import Gumbel, Normal, SumOfGamma
from .schedules import Adaptive, Fixed, LogGrid, LogUniform, Relative, Uniform
from .wrapping import perturbed_grad

__all__ = [
    "Adaptive",
    "Diagnosis",
    "Estimator",
    "Fixed",
    "GradcheckError",
    "Gumbel",
    "LogGrid",
    "LogUniform",
    "Noise",
    "Normal",
    "Relative",
    "Schedule",
    "SumOfGamma",
    "Uniform",
    "diagnose",
    "gradcheck",
    "perturbed_grad",
]
__all__ += estimators.__all__
