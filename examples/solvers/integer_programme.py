"""Set covering with HiGHS (through scipy), trained with a structured SVM loss; other integer programmes work alike.

python examples/solvers/integer_programme.py
"""

from __future__ import annotations

import numpy as np
from learn import learn
from scipy.optimize import Bounds, LinearConstraint, milp

from diffcomb import StructuredSVM, perturbed_grad, solver_loss


def cover(costs: np.ndarray, *, sets: np.ndarray) -> np.ndarray:
    """The cheapest choice of columns of `sets` (elements, columns) that covers every element."""
    found = milp(costs, integrality=np.ones(len(costs)), bounds=Bounds(0, 1), constraints=LinearConstraint(sets, lb=1))
    if not found.success:
        raise RuntimeError(f"HiGHS found no solution: {found.message}")
    return found.x.round().astype(costs.dtype)


SETS = (np.random.default_rng(0).random((8, 12)) < 0.35) | np.eye(8, 12, dtype=bool)
covering = perturbed_grad(cover, cost_ndims=1)
covering_loss = solver_loss(cover, StructuredSVM(0.3), cost_ndims=1)

if __name__ == "__main__":
    learn(covering, (12,), covering_loss, epochs=4, sets=SETS)
