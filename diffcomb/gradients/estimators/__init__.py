"""How to differentiate: one file for each estimator.

To add one, write its file: a subclass of :class:`Estimator` with ``gradients``, or of :class:`MultiScale` with
``points``. Then enter it below.
"""

from .blackbox import Blackbox
from .central import CentralDifference
from .imle import IMLE
from .lpgd import LPGD
from .negative_identity import NegativeIdentity
from .perturbed_optimizer import PerturbedOptimizer
from .straight_through import StraightThrough

ESTIMATORS = (Blackbox, CentralDifference, LPGD, IMLE, PerturbedOptimizer, NegativeIdentity, StraightThrough)

__all__ = [
    "ESTIMATORS",
    "IMLE",
    "LPGD",
    "Blackbox",
    "CentralDifference",
    "NegativeIdentity",
    "PerturbedOptimizer",
    "StraightThrough",
]
