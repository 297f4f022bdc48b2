"""Oracles in plain Python: the definitions of the paper, written down again without any cleverness."""

import itertools
import math

import numpy as np


def components(n, edges, y):
    """Component number of every node in the graph of uncut edges."""
    label = list(range(n))
    changed = True
    while changed:
        changed = False
        for (u, v), cut in zip(edges, y, strict=True):
            low = min(label[u], label[v])
            if not cut and (label[u] != low or label[v] != low):
                label[u] = label[v] = low
                changed = True
    return label


def is_feasible(n, edges, x, y, partitionable):
    """Eq. 1 and the constraints of eq. 2, word for word."""
    part = components(n, edges, y)
    for (i, j), cut in zip(edges, y, strict=True):
        if cut == (part[i] == part[j]):  # eq. 1
            return False
        if x[i] == x[j] and not partitionable[x[i]] and cut:
            return False
        if x[i] != x[j] and not cut:
            return False
    return True


def objective(node_costs, edge_costs, x, y):
    total = sum(node_costs[i][k] for i, k in enumerate(x))
    return total + sum(c for c, cut in zip(edge_costs, y, strict=True) if cut)


def brute_force(n, edges, node_costs, edge_costs, partitionable):
    """The optimum of eq. 2 over all x and all y, and one solution that attains it."""
    best = (math.inf, None, None)
    for y in itertools.product((0, 1), repeat=len(edges)):
        for x in itertools.product(range(len(partitionable)), repeat=n):
            if is_feasible(n, edges, x, y, partitionable):
                value = objective(node_costs, edge_costs, x, y)
                if value < best[0]:
                    best = (value, x, y)
    return best


def algorithm_2(n, edges, node_costs, edge_costs, partitionable):
    """COPS Algorithm 2 to the letter: every round recomputes every similarity."""
    node_costs = {i: np.array(node_costs[i], float) for i in range(n)}
    between = {}
    for (i, j), c in zip(edges, edge_costs, strict=True):
        if i != j:
            key = (min(i, j), max(i, j))
            between[key] = between.get(key, 0.0) + c
    label = {i: int(node_costs[i].argmin()) for i in range(n)}
    cluster = {i: i for i in range(n)}
    while between:

        def similarity(edge):
            i, j = edge
            k = int((node_costs[i] + node_costs[j]).argmin())
            separate = between[edge] + node_costs[i][label[i]] + node_costs[j][label[j]]
            return separate - (node_costs[i][k] + node_costs[j][k])

        best = max(between, key=similarity)
        if similarity(best) < 0:
            break
        i, j = best
        del between[best]
        node_costs[i] = node_costs[i] + node_costs.pop(j)
        label[i] = int(node_costs[i].argmin())
        cluster = {v: i if c == j else c for v, c in cluster.items()}
        for edge in [e for e in between if j in e]:
            other = edge[0] if edge[1] == j else edge[1]
            key = (min(i, other), max(i, other))
            between[key] = between.get(key, 0.0) + between.pop(edge)
    x = [label[cluster[v]] for v in range(n)]
    y = [int(x[i] != x[j] or (partitionable[x[i]] and cluster[i] != cluster[j])) for i, j in edges]
    return x, y
