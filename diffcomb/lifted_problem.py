"""The lifted problem: clusters are connected along base edges, and lifted edges only cost (Keuper et al. 2015).

minimise the objective of eq. 2 over base and lifted edges together, such that base edges alone connect every cluster of
a partitionable class. A lifted edge says what it costs to separate two nodes that no base edge joins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array
from .graph import Graph
from .labelling import cut_edges, number_clusters, uncut_components
from .problem import Problem, Solution


@dataclass(frozen=True, eq=False)
class LiftedProblem:
    """One instance of the lifted asymmetric multiway cut problem.

    Attributes
    ----------
    problem : Problem
        Over all edges: base edges first, then lifted edges.
    num_base : int
        Number of base edges m.
    """

    problem: Problem
    num_base: int

    def contracted(self, problem: Problem, group: Array | None) -> LiftedProblem:
        """The lifted problem of groups of nodes, of which `problem` has the costs, without edges inside a group."""
        if group is None:
            return LiftedProblem(problem, self.num_base)
        u, v = group[self.problem.graph.edges[: self.num_base]].T
        return LiftedProblem(problem, int(np.count_nonzero(u != v)))

    def solution(self, node_labels: Array, clusters: Array, lower_bound: float | None = None) -> LiftedSolution:
        """Make the feasible solution of a (class, cluster id) labelling: what base edges connect. In O(n + m)."""
        problem, m = self.problem, self.num_base
        edges = problem.graph.edges
        x = np.ascontiguousarray(node_labels, dtype=np.int64)
        y = cut_edges(edges[:m], x, np.ascontiguousarray(clusters), problem.partitionable)
        component = uncut_components(edges[:m], y, x, problem.partitionable)
        z = number_clusters(component, x, problem.partitionable)
        labels = (z[edges[:, 0]] != z[edges[:, 1]]).astype(np.uint8)
        return LiftedSolution(x, labels[:m], z, problem.value(x, labels), lower_bound, labels[m:])


@dataclass(frozen=True, eq=False)
class LiftedSolution(Solution):
    """A solution of a lifted problem; `objective` counts base and lifted edges.

    Attributes
    ----------
    lifted_labels : uint8, shape (m',) or (B, m')
        1 where the ends of a lifted edge are in different clusters.
    """

    lifted_labels: Any = None


def joined_graph(graph: Graph, lifted: Array) -> Graph:
    """The graph of base and lifted edges."""
    return Graph(graph.num_nodes, np.concatenate([graph.edges, lifted]))
