"""Minimum spanning tree with scipy, trained with an I-MLE gradient with sum-of-Gamma noise.

python examples/solvers/spanning_tree.py
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from learn import learn
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from diffcomb import IMLE, Adaptive, SumOfGamma, perturbed_grad


def spanning_tree(costs: np.ndarray, *, edges: np.ndarray) -> np.ndarray:
    """1 for the edges of the cheapest spanning tree of a connected graph with distinct edges u < v, shape (m, 2)."""
    n = int(edges.max()) + 1
    lift = 1 - costs.min()  # scipy reads 0 as "no edge"; a shift keeps the best tree, as all have n - 1 edges
    graph = csr_array((costs + lift, edges.T), shape=(n, n))
    u, v = minimum_spanning_tree(graph).nonzero()
    return np.isin(edges @ [n, 1], np.minimum(u, v) * n + np.maximum(u, v)).astype(costs.dtype)


EDGES = np.array(nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 5)).edges)
tree = perturbed_grad(
    spanning_tree,
    estimator=IMLE(Adaptive(target=2.0, initial=0.1), noise=SumOfGamma(24), sigma=0.3, forward="clean"),
    cost_ndims=1,
)

if __name__ == "__main__":
    learn(tree, (len(EDGES),), edges=EDGES)
