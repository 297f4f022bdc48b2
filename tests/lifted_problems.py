"""Lifted problems: random instances, the optimum of small ones by trying all labellings, grids with noise."""

import itertools

import numpy as np
from hypothesis import strategies as st
from naive import components
from strategies import noisy_grid, numbers

from diffcomb import Graph, lifted_amwc, lifted_multicut

SOLVERS = ["multilevel", "greedy", "exact"]


@st.composite
def lifted_instances(draw, max_nodes=5, max_edges=7, max_lifted=5, max_classes=1):
    """(n, edges, edge costs, lifted edges, lifted costs, node costs, partitionable); loops and parallel edges happen."""
    n = draw(st.integers(1, max_nodes))
    node, number = st.integers(0, n - 1), numbers(draw(st.booleans()))

    def some(count):
        pairs = draw(st.lists(st.tuples(node, node), max_size=count))
        costs = draw(st.lists(number, min_size=len(pairs), max_size=len(pairs)))
        return np.array(pairs, np.int64).reshape(-1, 2), np.array(costs, np.float64)

    K = draw(st.integers(1, max_classes))
    node_costs = np.array(draw(st.lists(number, min_size=n * K, max_size=n * K)), np.float64).reshape(n, K)
    partitionable = np.array(draw(st.lists(st.booleans(), min_size=K, max_size=K)))
    return n, *some(max_edges), *some(max_lifted), node_costs, partitionable


def optimum(instance):
    """The least objective over all classes and all clusters that base edges connect."""
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    best = np.inf
    for x in itertools.product(range(len(partitionable)), repeat=n):
        for z in itertools.product(range(n), repeat=n):
            if any(z[i] > max(z[:i], default=-1) + 1 for i in range(n)):
                continue  # another numbering of the same clusters
            split = [x[u] != x[v] or (partitionable[x[u]] and z[u] != z[v]) for u, v in edges]
            part = components(n, edges, split)
            label = [part[i] + n if partitionable[x[i]] else -1 - x[i] for i in range(n)]
            cost = sum(node_costs[i, k] for i, k in enumerate(x))
            for pairs, costs in ((edges, edge_costs), (lifted, lifted_costs)):
                cost += sum(c for (u, v), c in zip(pairs, costs, strict=True) if label[u] != label[v])
            best = min(best, cost)
    return best


def multicut_of(instance, **options):
    n, edges, edge_costs, lifted, lifted_costs, _, _ = instance
    return lifted_multicut(Graph(n, edges), edge_costs, lifted, lifted_costs, **options)


def amwc_of(instance, **options):
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    return lifted_amwc(Graph(n, edges), node_costs, edge_costs, partitionable, lifted, lifted_costs, **options)


def as_multicut(instance):
    return *instance[:5], np.zeros((instance[0], 1)), np.array([True])


def grid_instance(shape=(12, 16), noise=1.0, seed=0):
    graph, _, edge_costs, _ = noisy_grid(shape, noise=noise, seed=seed, offsets=((0, 1), (1, 0)))
    lifted, _, lifted_costs, _ = noisy_grid(shape, noise=noise, seed=seed + 1, offsets=((0, 4), (4, 0), (3, 3)))
    return graph, edge_costs, lifted, lifted_costs
