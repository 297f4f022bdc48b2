"""Hypothesis strategies: arbitrary instances, with loops, parallel edges, isolated nodes and empty graphs."""

import numpy as np
from hypothesis import strategies as st


def numbers(integral):
    if integral:  # many ties
        return st.integers(-3, 3).map(float)
    return st.floats(-100, 100, allow_subnormal=False, width=32)


@st.composite
def instances(draw, max_nodes=8, max_edges=20, max_classes=4, min_nodes=0):
    """(n, edges, node costs, edge costs, partitionable)."""
    n = draw(st.integers(min_nodes, max_nodes))
    m = draw(st.integers(0, max_edges)) if n else 0
    K = draw(st.integers(1, max_classes))
    node = st.integers(0, max(n - 1, 0))
    edges = np.array(draw(st.lists(st.tuples(node, node), min_size=m, max_size=m)), np.int64).reshape(m, 2)
    number = numbers(draw(st.booleans()))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    node_costs = np.array(draw(st.lists(number, min_size=n * K, max_size=n * K)), dtype).reshape(n, K)
    edge_costs = np.array(draw(st.lists(number, min_size=m, max_size=m)), dtype)
    partitionable = np.array(draw(st.lists(st.booleans(), min_size=K, max_size=K)))
    return n, edges, node_costs, edge_costs, partitionable


def random_instance(rng, n=30, m=80, K=4, noise=1.0):
    """A tie-free random instance as a tuple, as `instances` draws it."""
    edges = rng.integers(0, n, size=(m, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    return n, edges, noise * rng.normal(size=(n, K)), rng.normal(size=len(edges)), rng.random(K) < 0.5
