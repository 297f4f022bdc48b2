"""Nodes without edges take their cheapest class, cost no search, and change nothing for all others."""

import numpy as np
import pytest
from strategies import random_instance

from diffcomb import Graph, amwc, make_problem, multicut, mwc


@pytest.mark.nojit
@pytest.mark.parametrize("effort", [0, 1])
@pytest.mark.parametrize("verb", ["multicut", "mwc", "amwc"])
def test_nodes_without_edges_change_nothing_for_the_others(verb, effort):
    rng = np.random.default_rng(3)
    n, edges, nodes, costs, partitionable = random_instance(rng, n=30, m=60, K=3)
    alone = 100
    place = rng.permutation(n + alone)[:n]
    more = rng.normal(size=(n + alone, 3)).astype(nodes.dtype)
    more[place] = nodes
    small, large = Graph(n, edges), Graph(n + alone, place[edges])

    def solved(graph, class_costs):
        if verb == "multicut":
            return multicut(graph, costs, effort=effort)
        return (mwc if verb == "mwc" else amwc)(
            graph, class_costs, costs, *([partitionable] if verb == "amwc" else []), effort=effort
        )

    others = np.setdiff1d(np.arange(n + alone), place)
    few, many = solved(small, nodes), solved(large, more)
    rest = 0.0 if verb == "multicut" else more[others].min(1).sum(dtype=np.float64)
    assert many.objective == pytest.approx(few.objective + rest, abs=1e-4)
    if verb != "multicut":
        assert (many.node_labels[others] == more[others].argmin(1)).all()
    problem = make_problem(large, more if verb != "multicut" else None, costs,
                           {"multicut": [0], "mwc": [], "amwc": partitionable}[verb])  # fmt: skip
    assert problem.violations(many.node_labels, many.edge_labels, many.clusters) == []


def test_million_nodes_of_which_few_have_edges_take_no_search():
    found = multicut(Graph(10**6, [(0, 1), (1, 1), (5, 5)]), [1.0, -1.0, 2.0])  # 30 seconds if they did
    assert found.num_clusters == 10**6 - 1
    assert found.objective == 0
