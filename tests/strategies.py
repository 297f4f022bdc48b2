"""Hypothesis strategies: arbitrary instances, with loops, parallel edges, isolated nodes and empty graphs."""

import numpy as np
from hypothesis import strategies as st

from diffcomb import grid_graph


def numbers(integral):
    if integral:  # integers give many ties
        return st.integers(-3, 3).map(float)
    return st.floats(-100, 100, allow_subnormal=False, width=32)


@st.composite
def instances(draw, max_nodes=8, max_edges=20, max_classes=4, min_nodes=0):
    """Draw an instance: (n, edges, node costs, edge costs, partitionable)."""
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
    """A random instance without ties, a tuple as `instances` draws it."""
    edges = rng.integers(0, n, size=(m, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    return n, edges, noise * rng.normal(size=(n, K)), rng.normal(size=len(edges)), rng.random(K) < 0.5


def noisy_grid(shape=(12, 16), K=4, noise=1.5, seed=0, offsets=((0, 1), (1, 0), (0, 4), (4, 0))):
    """A grid of square regions with noisy costs: the four arguments of `amwc`."""
    rng = np.random.default_rng(seed)
    graph = grid_graph(shape, offsets)
    region = (np.arange(shape[0])[:, None] // 4 * 8 + np.arange(shape[1]) // 4).ravel()
    same = region[graph.edges[:, 0]] == region[graph.edges[:, 1]]
    edge_costs = np.where(same, 1.0, -1.0) + noise * rng.normal(size=graph.num_edges)
    node_costs = 0.5 * rng.normal(size=(graph.num_nodes, K)) - 0.5 * np.eye(K)[region % K]
    return graph, node_costs, edge_costs, np.arange(K) >= K // 2


def hubs_in_turn(rng, hubs, leaves):
    """Edges and costs of a graph in which each leaf prefers a hub, and the hubs take their leaves in turn."""
    u, v = np.divmod(np.arange(hubs * leaves), hubs)
    preferred = rng.integers(0, hubs, leaves)[u] == v
    costs = np.where(preferred, rng.uniform(1, 2, len(u)), rng.normal(-0.1, 0.3, len(u)))
    return np.stack([v, hubs + u], axis=1), costs
