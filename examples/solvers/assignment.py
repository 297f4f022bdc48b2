"""Linear assignment with scipy, trained with the SPO+ loss on the costs of all pairs.

python examples/solvers/assignment.py
"""

from __future__ import annotations

import numpy as np
from learn import learn
from scipy.optimize import linear_sum_assignment

from diffcomb import SPOPlus, perturbed_grad, solver_loss


def assign(costs: np.ndarray) -> np.ndarray:
    """The permutation matrix of the cheapest assignment of rows to columns."""
    matrix = np.zeros_like(costs)
    matrix[linear_sum_assignment(costs)] = 1
    return matrix


assignment = perturbed_grad(assign, cost_ndims=2)
assignment_loss = solver_loss(assign, SPOPlus(), cost_ndims=2)

if __name__ == "__main__":
    learn(assignment, (6, 6), assignment_loss)
