"""Gradients through black-box solvers: independent of what is solved.

``perturbed_grad`` wraps a solver, an estimator says how to differentiate, a schedule says at which scales.
"""

from .blackbox import Blackbox
from .perturbed import perturbed_grad
from .schedules import Fixed, LogGrid, LogUniform, Relative, Schedule, Uniform

__all__ = [
    "Blackbox",
    "Fixed",
    "LogGrid",
    "LogUniform",
    "Relative",
    "Schedule",
    "Uniform",
    "perturbed_grad",
]
