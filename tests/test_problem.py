"""Problems and solutions that users make themselves: kernels index with these arrays, so all of them are checked."""

import numpy as np
import pytest

from diffcomb import Graph, Problem
from diffcomb.problem import make_problem, make_solution

pytestmark = pytest.mark.nojit

GRAPH = Graph(3, [(0, 1), (1, 2)])
PROBLEM = make_problem(GRAPH, np.zeros((3, 2)), [1.0, -2.0], [0])


def test_solution_is_made_of_lists_as_of_arrays():
    found = make_solution(PROBLEM, [0, 0, 0], [7, 7, -9], lower_bound=-2.0)
    assert found.clusters.tolist() == [0, 0, 1]
    assert (found.objective, found.gap) == (-2.0, 0.0)


@pytest.mark.parametrize(
    ("node_labels", "clusters", "error", "message"),
    [
        ([0, 0], [0, 0, 0], ValueError, r"node_labels must have shape \(3,\), got \(2,\)"),
        ([0, 0, 2], [0, 0, 0], ValueError, r"node_labels must lie in 0\.\.1, got 0\.\.2"),
        ([0, 0, -1], [0, 0, 0], ValueError, r"node_labels must lie in 0\.\.1, got -1\.\.0"),
        ([0, 0, 0.5], [0, 0, 0], TypeError, "node_labels must be integers, got dtype float64"),
        ([0, 0, 0], [0, 0], ValueError, r"clusters must have shape \(n,\) = \(3,\), got \(2,\)"),
        ([0, 0, 0], [0, 0, 0.5], TypeError, "clusters must"),
    ],
)
def test_labels_that_no_kernel_may_index_with_are_an_error(node_labels, clusters, error, message):
    with pytest.raises(error, match=message):
        make_solution(PROBLEM, node_labels, clusters)


@pytest.mark.parametrize("mask", [np.zeros(1, bool), np.zeros(3, bool), np.zeros((1, 2), bool), np.zeros(2, int)])
def test_mask_of_another_number_of_classes_is_an_error(mask):
    with pytest.raises(ValueError, match=r"partitionable must be a boolean mask \(K,\) = \(2,\), got array"):
        Problem(GRAPH, np.zeros((3, 2)), np.zeros(2), mask)
