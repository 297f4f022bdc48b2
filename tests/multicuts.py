"""Multicuts for tests: random ones, their adjacency lists, values and optima."""

import numpy as np

from diffcomb import Graph, make_problem, multicut
from diffcomb.solvers.levels.costs import Rows

MULTICUT = np.ones(1, bool)


def problem_of(n, edges, costs):
    return make_problem(Graph(n, edges), np.zeros((n, 1)), costs, MULTICUT)


def optimum(n, edges, costs):
    return multicut(Graph(n, edges), costs, solver="exact").objective


def random_multicut(rng, n, m):
    edges = rng.integers(0, n, (m, 2))
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    return edges, rng.normal(size=len(edges))


def rows_of(n, edges, costs):
    indptr, neighbours, ids = Graph(n, edges).csr
    return Rows(indptr, neighbours, np.asarray(costs, float)[ids])


def value(edges, costs, z):
    return float(np.sum(costs[z[edges[:, 0]] != z[edges[:, 1]]]))
