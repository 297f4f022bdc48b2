"""Multilevel search: the default solver.

1. *Descent.* Coarsen in the relaxed problem in which every class may be partitioned (as Algorithm 2 does until
   its last lines): a grid first by blocks, then one pass of local moving a level. The coarsest nodes take labels
   of the true problem, and local moving at every level on the way back down repairs what coarsening decided wrongly.
2. *Rounds.* Most nodes are settled by then. Those that would lose least by moving stay single nodes, all others
   contract to pieces of their clusters; on that small kernel a :class:`Search` runs, and what it changes is
   refined in the full graph. Graphs below ``KERNEL_NODES`` nodes are their own kernel.
3. *Settling.* Ejection chains; then whole connected clusters are the nodes of a last level. Joins and changes of
   class of whole clusters alternate with chains and moves of single nodes until nothing gains.

A warm start skips the descent and begins with local moving from the given labelling, hence is never worse than it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from .._arrays import Array
from ..graph import Graph, GridGraph
from ..problem import Problem, Solution, cut_components, make_solution, solution_of_components
from ._blocks import block_groups
from ._budget import Budget
from ._contraction import compact, overlay
from ._labels import Labels, changed_nodes, from_labels, labels_of_groups, project, split
from ._level import Level, finest_level
from ._search import Search, coarsen, move_clusters, natural, refine
from ._tiny import MAX_NODES, enumerated
from .greedy import greedy

KERNEL_SHARE = 1 / 16  # of the nodes, the least decided ones, are searched in the first round
KERNEL_NODES = 4096  # but always so many nodes
KERNEL_HALF_EDGES = 3 * 2**16  # and as many as have so many half-edges
MAX_PIECES = 2048  # of the first kernel: the first level of the descent with at most so many nodes
MAX_COARSE = 512  # the first level of the descent with at most so many nodes is searched whole
ROUND = ("anneal", "cycle", "melt", "restart")
KERNEL_ROUND = ("restart",)  # what annealing and V-cycles find among these nodes, chains find for less
NEAR = 0.002  # of the sum of all absolute edge costs: how near a multiway cut makes it worth a search
NEAR_IF_UNCERTAIN = 0.05  # the same for graphs that are searched whole, and where many nodes are undecided:
UNCERTAIN = 1 / 20  # of the nodes would lose no more than a typical edge cost by moving
SMALL_NODES = 64  # up to so many, greedy contraction is tried as well
MAX_REPEATS = 16  # of a round, on small graphs and as long as it finds something
CLEAR = 1e-9  # of the objective: a larger difference of two objectives is no rounding
MAX_SPLITS = 64  # times that clusters come apart; one or two are usual
TINY_HALF_EDGES = 2**14  # below, it may also find nothing a few times, and a multiway cut is always tried


@dataclass
class Incumbent:
    """A labelling of the finest level.

    Attributes
    ----------
    losses : float32 array, shape (n,)
        As local moving leaves them: what each node loses at least by a move, small where the labelling is undecided.
    pieces : int32 array, shape (n,), optional
        A partition of the nodes that is finer than clusters need to be.
    reached : float32 array, shape (n,)
        How much of the losses changes since then may have taken.
    """

    level: Level
    labels: Labels
    losses: Array
    pieces: Array | None = None
    reached: Array = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has changed yet."""
        self.reached = np.zeros(len(self.losses), np.float32)


def multilevel(
    problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Solution:
    """Solve by multilevel search; see the module's docstring.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        A labelling to improve.
    rng : numpy.random.Generator
        Draws visiting orders and the moves of annealing.
    budget : Budget
        ``effort`` rounds, or as many as the time allows. Round r searches a kernel 2^r times as large.

    Returns
    -------
    Solution
        A local optimum under moves of single nodes; with any effort but 0 also under joins of two clusters and
        changes of class of a whole connected cluster. Each pass takes O(n K + m), and there are few.
    """
    n = problem.graph.num_nodes
    if n == 0:
        return make_solution(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    level = finest_level(problem)
    again = copy.deepcopy(rng)
    if init is None:
        state = _descend(problem, level, rng, budget)
        if n <= SMALL_NODES and _is_solved_small(problem, state, rng, budget):
            return _improve(problem, state, rng, Budget(0))[0]
    else:
        state = Incumbent(level, from_labels(*init, problem.partitionable), np.empty(n, np.float32))
        level.move(state.labels, losses=state.losses)
    solution, whole = _improve(problem, state, rng, budget)
    if init is None and not budget.spent() and _multiway_cut_is_worth_a_try(problem, state, whole, budget):
        multiway = replace(problem, partitionable=np.zeros_like(problem.partitionable))
        other = multilevel(multiway, init=None, rng=again, budget=budget)
        if other.objective < solution.objective:
            labels = from_labels(other.node_labels, other.clusters, problem.partitionable)
            state = Incumbent(level, labels, np.empty(n, np.float32))
            level.move(labels, losses=state.losses)
            return _improve(problem, state, rng, budget)[0]
    return solution


def _improve(
    problem: Problem, state: Incumbent, rng: np.random.Generator, budget: Budget
) -> tuple[Solution, Callable[[], Incumbent]]:
    """All rounds of the budget; each ends settled, so that one more never makes it worse.

    Returns the solution, and how to get it as a labelling of the level whose nodes are its clusters.
    """
    if not budget.searches:
        y, component = _connect(problem, state)
        solution = solution_of_components(problem, state.labels.node_labels(), y, component)
        return solution, lambda: _whole_clusters(problem, state, y, component)[0]
    settled = None
    for round_ in budget.rounds():
        _search_kernel(problem, state, round_, rng, budget)
        settled = _settle(problem, state, rng, budget)
    solution, whole = settled or _settle(problem, state, rng, budget)
    return solution, lambda: whole


def _is_solved_small(problem: Problem, state: Incumbent, rng: np.random.Generator, budget: Budget) -> bool:
    """Improve the first labelling of a small graph by other means than moves; returns whether it is an optimum now.

    What greedy contraction finds is never missed: it can bring two clusters into a class that neither of them has.
    """
    level = state.level
    if level.num_nodes <= MAX_NODES:
        state.labels, complete = enumerated(level, state.labels)
        if complete:
            return True
    contracted = greedy(problem, init=None, rng=rng, budget=budget)
    labels = from_labels(contracted.node_labels, contracted.clusters, problem.partitionable)
    if level.improvement(state.labels, labels) > 0:
        state.labels = labels
    level.move(state.labels, losses=state.losses)
    state.reached[:] = 0
    return False


def _multiway_cut_is_worth_a_try(
    problem: Problem, state: Incumbent, whole: Callable[[], Incumbent], budget: Budget
) -> bool:
    """Whether to have one cluster a class would cost little; of tiny graphs, always.

    A multiway cut is feasible here, and where class costs are weak the search for it sometimes ends lower. After a
    first pass alone it is only tried where many nodes are undecided.
    """
    if state.level.num_classes == 1 or not state.level.partitionable.any():
        return False
    half_edges = 2 * problem.graph.num_edges
    if half_edges <= TINY_HALF_EDGES:
        return True
    uncertain = np.mean(np.abs(state.losses) <= state.level.typical_cost) > UNCERTAIN
    if not uncertain and not budget.searches:
        return False
    clusters = whole()
    level, labels = clusters.level, clusters.labels
    undivided = Labels(labels.cluster_class[labels.z], labels.cluster_class)
    multiway = replace(level, partitionable=np.zeros_like(level.partitionable))
    multiway.move(undivided)
    cost = multiway.value(undivided) - level.value(labels)
    near = NEAR_IF_UNCERTAIN if uncertain or half_edges <= KERNEL_HALF_EDGES else NEAR
    return cost < near * float(np.abs(problem.edge_costs).sum(dtype=np.float64))


def _descend(problem: Problem, level: Level, rng: np.random.Generator, budget: Budget) -> Incumbent:
    """Coarsen, label the coarsest nodes, refine; remember a middle level as pieces."""
    group, count = np.empty(0, np.int32), level.num_nodes
    if isinstance(problem.graph, GridGraph):
        group, count = block_groups(problem, level.best)
    if count < level.num_nodes:
        levels, groups = coarsen(level.contract(group, count), natural, budget.spent)
        levels, groups = [level, *levels], [group, *groups]
    else:
        levels, groups = coarsen(level, natural, budget.spent)
    pieces = natural(level.num_nodes)
    coarse = 0
    while levels[coarse].num_nodes > MAX_COARSE and coarse < len(groups):
        if levels[coarse].num_nodes > MAX_PIECES:
            pieces = groups[coarse][pieces]
        coarse += 1
    search = Search(levels[coarse], refine(levels[coarse:], groups[coarse:], levels[-1].singletons()), rng)
    budget.interrupt.labelled = True  # from here on there is something to keep
    if level.num_classes > 1 and level.partitionable.any():
        undivided = levels[-1].singletons(np.zeros_like(level.partitionable))  # as the multiway cut begins
        search.offer(refine(levels[coarse:], groups[coarse:], undivided))
    if coarse > 0:
        few = levels[coarse].num_nodes <= MAX_COARSE  # where nothing attracts, coarsening ends with many
        budget.run(search, ROUND, MAX_REPEATS if few else _repeats(levels[coarse]))
    labels = search.labels
    losses = np.empty(level.num_nodes, np.float32)
    return Incumbent(level, refine(levels[: coarse + 1], groups[:coarse], labels, losses), losses, pieces)


def _kernel_size(num_nodes: int, half_edges: int) -> float:
    return max(num_nodes * KERNEL_SHARE, KERNEL_NODES, num_nodes * KERNEL_HALF_EDGES / max(half_edges, 1))


def _repeats(level: Level) -> int:
    """How often a level may be searched in the time that a kernel takes once; 0 where that is too long."""
    return min(KERNEL_HALF_EDGES // max(len(level.adjacency.weights), 1), MAX_REPEATS)


def is_searched_whole(graph: Graph) -> bool:
    """Whether the first round searches all nodes; kernels that search are compiled for adjacency lists only."""
    return _kernel_size(graph.num_nodes, 2 * graph.num_edges) >= graph.num_nodes


def _search_kernel(problem: Problem, state: Incumbent, round_: int, rng: np.random.Generator, budget: Budget) -> None:
    """One round: search among the undecided nodes and the pieces of the others, refine the whole graph."""
    level, labels = state.level, state.labels
    n = level.num_nodes
    half_edges = len(level.adjacency.weights)
    size = int(_kernel_size(n, half_edges) * 2 ** min(round_, 40))
    if size >= n:
        repeats = max(_repeats(level), 1)
        search = Search(level.in_rows(problem), labels, rng)
        budget.run(search, ROUND, repeats, patience=min(max(TINY_HALF_EDGES // max(half_edges, 1), 1), 4))
        state.labels = search.labels
        level.move(state.labels, losses=state.losses)
        state.reached[:] = 0
        return
    group, count = _kernel_groups(state, size)
    kernel = level.contract(group, count)
    before = labels_of_groups(labels, group, count, level.num_classes)
    search = Search(kernel, before.copy(), rng)
    budget.run(search, KERNEL_ROUND)
    after = move_clusters(kernel, search.labels)  # here it is cheaper than in the full graph
    changed = _changed(before, after, group, level.num_classes)
    state.labels = project(after, group, level.num_classes)
    level.move(state.labels, level.frontier(group, changed, state.losses, state.reached), state.losses)


def _kernel_groups(state: Incumbent, size: int) -> tuple[Array, int]:
    """The `size` least decided nodes stay alone; all others go with those of the same cluster and piece."""
    labels = state.labels
    losses = np.abs(state.losses)
    undecided = np.flatnonzero(losses <= np.partition(losses, size)[size])[:size]
    if state.pieces is None:
        ids, count = labels.z.copy(), labels.num_ids
    else:
        ids, count = overlay(labels.z, labels.num_ids, state.pieces, int(state.pieces.max()) + 1)
    ids[undecided] = count + np.arange(len(undecided))
    return compact(ids, count + len(undecided))


def _connect(problem: Problem, state: Incumbent) -> tuple[Array, Array]:
    """Take clusters that are not connected apart, and let nodes move that gain by that; returns y and components.

    Where a cluster attracts a node with one part and repels it with another, it may join the one without the other.
    """
    level = state.level
    everything = np.arange(level.num_nodes, dtype=np.int32)
    for _ in range(MAX_SPLITS):
        y, component = cut_components(problem.graph.edges, state.labels.z)
        *labels, left = split(state.labels, component, level.partitionable)
        if not left.any():
            return y, component
        state.labels = Labels(*labels)
        nodes = level.frontier(everything, left, state.losses, state.reached)
        if level.move(state.labels, nodes, state.losses) == 0:
            return y, component
    return cut_components(problem.graph.edges, state.labels.z)


def _whole_clusters(problem: Problem, state: Incumbent, y: Array, component: Array) -> tuple[Incumbent, Array]:
    """The labelling of the level whose nodes are the connected clusters; and the number of each node's cluster."""
    group, count = compact(component, state.level.num_nodes)
    level = state.level.contract_cut(problem, y, group, count)
    labels = labels_of_groups(state.labels, group, count, level.num_classes)
    return Incumbent(level, labels, np.empty(0, np.float32)), group


def _settle(problem: Problem, state: Incumbent, rng: np.random.Generator, budget: Budget) -> tuple[Solution, Incumbent]:
    """Alternate moves of whole connected clusters and of single nodes until neither gains.

    Returns the solution, and the same as a labelling of the level whose nodes are the clusters.
    """
    level, K = state.level, state.level.num_classes
    best = None
    best_labels = state.labels
    while True:
        level.chains(state.labels, state.losses, state.reached, budget.spent)
        y, component = _connect(problem, state)
        clusters, group = _whole_clusters(problem, state, y, component)
        whole, before = clusters.level, clusters.labels
        solution = solution_of_components(problem, state.labels.node_labels(), y, component)
        if best is not None:
            gain = best[0].objective - solution.objective
            plain = gain > CLEAR * abs(solution.objective)  # beside huge costs it may be lost in the objectives
            if not plain and not level.improvement(best_labels, state.labels) > 0:
                return best  # what the last moves gained was rounding
        best, best_labels = (solution, clusters), state.labels
        after = before.copy()
        moves = whole.move(after)
        if whole.num_nodes <= MAX_COARSE:
            search = Search(whole, after, rng)
            moves += budget.run(search, ROUND, MAX_REPEATS)
            after = search.labels
        if moves == 0 or budget.spent():
            return best
        state.labels = project(after, group, K)
        changed = _changed(before, after, group, K)
        level.move(state.labels, level.frontier(group, changed, state.losses, state.reached), state.losses)


def _changed(before: Labels, after: Labels, group: Array, num_classes: int) -> Array:
    heaviest_first = np.argsort(-np.bincount(group), kind="stable")
    return changed_nodes(before, after, heaviest_first, num_classes)
