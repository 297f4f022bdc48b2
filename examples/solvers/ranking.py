"""Top-k and ranking: sorting as a solver (Rolinek et al., CVPR 2020), trained with a perturbed Fenchel-Young loss.

    python examples/solvers/ranking.py

The k cheapest items minimise a linear objective over 0/1 vectors with k ones. Ranks minimise a linear objective over
permutations of 1..n: the most expensive item gets rank 1 (rearrangement inequality).
"""

from __future__ import annotations

import numpy as np
from learn import learn

from diffcomb import Blackbox, FenchelYoung, perturbed_grad, solver_loss


def smallest(costs: np.ndarray, *, k: int) -> np.ndarray:
    """1 for the k cheapest items of every row (B, n), 0 for the others."""
    taken = np.zeros_like(costs)
    np.put_along_axis(taken, np.argpartition(costs, k - 1, axis=-1)[..., :k], 1, axis=-1)
    return taken


def ranks(costs: np.ndarray) -> np.ndarray:
    """Ranks 1..n of the items of every row; the most expensive item has rank 1, which makes <costs, ranks> smallest."""
    order = np.argsort(-costs, axis=-1, kind="stable")
    found = np.empty_like(costs)
    np.put_along_axis(found, order, np.arange(1, costs.shape[-1] + 1, dtype=costs.dtype), axis=-1)
    return found


top_k = perturbed_grad(smallest, estimator=Blackbox(1.0), cost_ndims=1, vectorized=True)
top_k_loss = solver_loss(smallest, FenchelYoung(0.5, 5), cost_ndims=1, vectorized=True)
rank = perturbed_grad(ranks, estimator=Blackbox(1.0), cost_ndims=1, vectorized=True)
rank_loss = solver_loss(ranks, FenchelYoung(0.5, 5), cost_ndims=1, vectorized=True)

if __name__ == "__main__":
    learn(top_k, (20,), top_k_loss, k=4)
    learn(rank, (10,), rank_loss)
