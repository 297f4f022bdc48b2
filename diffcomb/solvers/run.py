"""The state of a multilevel search, and what it does in turn: descent, rounds of search, settling.

The best labelling of the finest level, and how sure each of its nodes is, is handed from one to the next. See
:mod:`.multilevel` for the story.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import Array
from ..graph import Graph
from ..grid import GridGraph
from ..labelling import sum_of_sizes
from ..problem import Problem, Solution, solution_of_components
from .annealing import Annealer, annealer_for
from .budget import Budget
from .fusion import Fuser, is_fused
from .hierarchy import Hierarchy, natural
from .level import Level
from .levels.costs import Stencil
from .levels.grid_coarsening import block_groups
from .levels.labels import Labels, changed_nodes, from_labels, labels_of_groups, project, split
from .levels.partition import compact, cut_components, gathered, overlay
from .levels.slack import Slack, new_slack
from .limits import LIMITS
from .search import Search, move_clusters

ROUND = ("anneal", "cycle", "melt", "restart")


def is_searched_whole(graph: Graph) -> bool:
    """Whether the first round searches all nodes; kernels that search are compiled for adjacency lists only."""
    return _core_size(graph.num_nodes, 2 * graph.num_edges) >= graph.num_nodes


@dataclass
class _Clusters:
    """The connected clusters of a labelling: cut edges, a root and a number for each node's, and the level of them.

    The labelling of the level whose nodes are the clusters is `labels`.
    """

    y: Array
    component: Array
    group: Array
    level: Level
    labels: Labels


class Run:
    """The state of a search: the best labelling of the finest level, and how sure each of its nodes is.

    Attributes
    ----------
    labels : Labels
    slack : Slack
        As local moving leaves it: small losses where the labelling is undecided.
    pieces : int32 array, shape (n,), optional
        A partition of the nodes that is finer than clusters need to be.
    """

    def __init__(self, problem: Problem, level: Level, rng: np.random.Generator, budget: Budget) -> None:
        self.problem, self.level, self.rng, self.budget = problem, level, rng, budget
        self.labels: Labels
        self.slack: Slack
        self.pieces: Array | None = None
        self.annealer: Annealer | None = None
        self.fuser = Fuser(level.in_rows(problem), rng) if budget.searches and is_fused(problem) else None
        self._connected: tuple[Array, Array] | None = None
        self._settled: _Clusters | None = None

    def take(self, labels: Labels) -> None:
        """Take another labelling, and visit all nodes."""
        self.labels = labels
        self.level.move(self.labels, slack=self.slack)

    # 1. Descent

    def begin_at(self, node_labels: Array, clusters: Array) -> None:
        """Take a labelling, and move single nodes, and some in chains, until hardly any gains."""
        self.labels, self.pieces = from_labels(node_labels, clusters, self.problem.partitionable), None
        self.slack = new_slack(self.level.num_nodes)
        self.level.move(self.labels, slack=self.slack)
        self.level.some_chains(self.labels, self.slack)

    def descend(self) -> None:
        """Make a first labelling, move some nodes in chains, and take what greedy contraction does better."""
        self._descend()  # the hierarchy takes as much memory as all else, and is gone here
        self.level.some_chains(self.labels, self.slack)
        if self.fuser:
            self.take(self.fuser.begin(self.labels))

    def _descend(self) -> None:
        """Coarsen, label the coarsest nodes, search the first level that is small, refine."""
        hierarchy = Hierarchy(self.level)
        if isinstance(self.problem.graph, GridGraph):
            group, count = block_groups(self.problem, self.level.best)
            if count < self.level.num_nodes:
                hierarchy.contract(group, count)
        hierarchy.coarsen(check=self.budget.spent)
        middle = self._divide(hierarchy)
        coarsest = hierarchy.coarsest
        search = Search(hierarchy.levels[middle], hierarchy.refine(coarsest.singletons(), middle), self.rng)
        self.budget.interrupt.labelled = True  # from here on there is something to keep
        if coarsest.num_classes > 1 and coarsest.partitionable.any():
            undivided = coarsest.singletons(np.zeros_like(coarsest.partitionable))  # as the multiway cut begins
            search.offer(hierarchy.refine(undivided, middle))
        if middle > 0:
            few = search.level.num_nodes <= LIMITS.max_coarse  # where nothing attracts, coarsening ends with many
            self.budget.run(search, ROUND, LIMITS.max_repeats if few else _repeats(search.level))
        self.slack = new_slack(self.level.num_nodes)
        self.labels = hierarchy.part(middle).refine(search.labels, slack=self.slack)

    def _divide(self, hierarchy: Hierarchy) -> int:
        """Remember a middle level as pieces; returns the first level that is small enough to be searched whole."""
        pieces = natural(self.level.num_nodes)
        at = 0
        while hierarchy.levels[at].num_nodes > LIMITS.max_coarse and at < len(hierarchy.groups):
            if self.budget.searches and hierarchy.levels[at].num_nodes > LIMITS.max_pieces:
                pieces = gathered(hierarchy.groups[at], pieces)
            at += 1
        self.pieces = pieces
        return at

    # 2. Rounds

    def improve(self, budget: Budget) -> Solution:
        """All rounds of the budget; each ends settled, so that one more never makes it worse."""
        if not budget.searches:
            return self.solution()
        solution = None
        for round_ in budget.rounds():
            self._search(round_, budget)
            solution = self._settle(budget)
        return solution or self._settle(budget)

    def solution(self) -> Solution:
        """The labelling as a solution, its clusters connected."""
        y, component = self._connected = self._connect()
        return solution_of_components(self.problem, self.labels.node_labels(), y, component)

    def _search(self, round_: int, budget: Budget) -> None:
        """Anneal where that pays; fuse in multicuts; in large ones that are no grids, search core graphs in turn."""
        first = int(isinstance(self.level.adjacency, Stencil))  # the first round of a grid has no time for it
        if round_ == first and not (self.fuser and self.fuser.population):
            self.annealer = annealer_for(self.problem, self.level, self.labels, self.slack, self.rng, budget)
        cool = self.annealer is not None and self.annealer.cool
        if self.annealer and (not cool or (round_ - first) % 2 == 0):
            self.take(self.annealer.round(self.labels, budget))
            if round_ > 0 and self.level.num_nodes > LIMITS.max_coarse:
                return
        round_ = (round_ + 1 - first) // 2 if cool else round_  # all else takes turns in the other rounds
        if self.fuser is None:
            self._search_core(round_, budget)
        elif self.fuser.alone or (round_ % 2 == 0) == self.fuser.first:
            self.take(self.fuser.round(self.labels, budget))
        else:
            self._search_core(round_ // 2, budget)

    def _search_core(self, round_: int, budget: Budget) -> None:
        """Search among the undecided nodes and the pieces of the others, and refine the whole graph."""
        level, half_edges = self.level, len(self.level.adjacency.weights)
        size = self._num_core_nodes(round_)
        if size >= level.num_nodes:
            search = Search(level.in_rows(self.problem), self.labels, self.rng)
            patience = min(max(LIMITS.tiny_half_edges // max(half_edges, 1), 1), 4)
            budget.run(search, ROUND, max(_repeats(level), 1), patience=patience)
            self.take(search.labels)
            return
        group, count = self._core_groups(size)
        core = level.contract(group, count)
        before = labels_of_groups(self.labels, group, count, level.num_classes)
        search = Search(core, before.copy(), self.rng)
        if not budget.spent():
            # What annealing and V-cycles find in a core graph, chains find for less. Small ones leave time for two.
            search.restart(2 if size < int(_core_size(level.num_nodes, half_edges)) else 1)
        after = move_clusters(core, search.labels)  # here it is cheaper than in the full graph
        self._take(before, after, group)

    def _num_core_nodes(self, round_: int) -> int:
        """How many nodes the core graph of a round keeps as they are: more in every round, and more if undecided."""
        level, num_nodes = self.level, self.level.num_nodes
        least = _core_size(num_nodes, len(level.adjacency.weights))
        if self.fuser is None and self.slack.share_within(level.typical_cost) > LIMITS.undecided:
            least = max(least, LIMITS.large_core_share * num_nodes)
        elif round_ == 0 and least < num_nodes:
            within = num_nodes * self.slack.share_within(LIMITS.core_costs * level.typical_cost)
            least = min(least, max(within, LIMITS.min_core))
        return int(least * 2 ** min(round_, 40))

    def _core_groups(self, size: int) -> tuple[Array, int]:
        """The `size` least decided nodes stay alone; all others go with those of the same cluster and piece."""
        undecided = self.slack.undecided(size)
        if self.pieces is None:
            ids, count = self.labels.z.copy(), self.labels.num_ids
        else:
            ids, count = overlay(self.labels.z, self.labels.num_ids, self.pieces, int(self.pieces.max()) + 1)
        ids[undecided] = count + np.arange(len(undecided))
        return compact(ids, count + len(undecided))

    def _take(self, before: Labels, after: Labels, group: Array) -> None:
        """Carry what changed among groups of nodes to the nodes, and let those move that may want to because of it."""
        heaviest_first = np.argsort(-np.bincount(group), kind="stable")
        changed = changed_nodes(before, after, heaviest_first, self.level.num_classes)
        self.labels = project(after, group, self.level.num_classes)
        self.level.move(self.labels, self.level.frontier(group, changed, self.slack), self.slack)

    # 3. Settling

    def _settle(self, budget: Budget) -> Solution:
        """Alternate moves of whole connected clusters and of single nodes until neither gains."""
        best, best_labels = None, self.labels
        while True:
            self.level.chains(self.labels, self.slack, budget.spent)
            clusters = self._whole_clusters(*self._connect())
            node_labels = self.labels.node_labels()
            solution = solution_of_components(self.problem, node_labels, clusters.y, clusters.component)
            if best is not None:
                gain = best.objective - solution.objective
                plain = gain > LIMITS.clear * abs(solution.objective)  # huge costs may hide it
                if not plain and not self.level.improvement(best_labels, self.labels) > 0:
                    return best  # what the last moves gained was rounding
            best, best_labels, self._settled = solution, self.labels, clusters
            after = clusters.labels.copy()
            moves = clusters.level.move(after)
            if clusters.level.num_nodes <= LIMITS.max_coarse and not (self.fuser and self.fuser.alone):
                search = Search(clusters.level, after, self.rng)
                moves += budget.run(search, ROUND, LIMITS.max_repeats)
                after = search.labels
            if moves == 0 or budget.spent():
                return best
            self._take(clusters.labels, after, clusters.group)

    def _connect(self) -> tuple[Array, Array]:
        """Take clusters that are not connected apart, and let nodes move that gain by that; returns y and components.

        Where a cluster attracts a node with one part and repels it with another, it may join the one without the other.
        """
        edges = self.problem.graph.edges
        everything = natural(self.level.num_nodes)
        for _ in range(LIMITS.max_splits):
            y, component = cut_components(edges, self.labels.z)
            *labels, left = split(self.labels, component, self.level.partitionable)
            if not left.any():
                return y, component
            self.labels = Labels(*labels)
            nodes = self.level.frontier(everything, left, self.slack)
            if self.level.move(self.labels, nodes, self.slack) == 0:
                return y, component
        return cut_components(edges, self.labels.z)

    def _whole_clusters(self, y: Array, component: Array) -> _Clusters:
        """The level whose nodes are the connected clusters, with its labelling."""
        group, count = compact(component, self.level.num_nodes)
        level = self.level.contract_cut(self.problem, y, group, count)
        labels = labels_of_groups(self.labels, group, count, level.num_classes)
        return _Clusters(y, component, group, level, labels)

    # 4. The multiway cut

    def multiway_cut_may_be_better(self) -> bool:
        """Whether to have one cluster a class would cost little; of tiny graphs, always.

        Where class costs are weak the search for the multiway cut sometimes ends lower. After a first pass alone it is
        only tried where many nodes are undecided.
        """
        if self.level.num_classes == 1 or not self.level.partitionable.any():
            return False
        half_edges = 2 * self.problem.graph.num_edges
        if half_edges <= LIMITS.tiny_half_edges:
            return True
        uncertain = self.slack.share_within(self.level.typical_cost) > LIMITS.uncertain
        if not uncertain and not self.budget.searches:
            return False
        clusters = self._settled if self._connected is None else self._whole_clusters(*self._connected)
        assert clusters is not None  # the labelling has been improved
        level, labels = clusters.level, clusters.labels
        undivided = Labels(labels.cluster_class[labels.z], labels.cluster_class)
        multiway = level.with_partitionable(np.zeros_like(level.partitionable))
        multiway.move(undivided)
        cost = multiway.value(undivided) - level.value(labels)
        near = LIMITS.near_if_uncertain if uncertain or half_edges <= LIMITS.core_half_edges else LIMITS.near
        return cost < near * sum_of_sizes(self.problem.edge_costs)


def _core_size(num_nodes: int, half_edges: int) -> float:
    """How many nodes the first round searches at most, unless many are undecided."""
    as_many_half_edges = num_nodes * LIMITS.core_half_edges / max(half_edges, 1)
    return max(num_nodes * LIMITS.core_share, LIMITS.core_nodes, as_many_half_edges)


def _repeats(level: Level) -> int:
    """How often a level may be searched in the time that a core graph takes once; 0 where that is too long."""
    return min(LIMITS.core_half_edges // max(len(level.adjacency.weights), 1), LIMITS.max_repeats)
