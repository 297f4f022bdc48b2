"""Oracles in plain Python, without any cleverness: the definitions of the paper, and the core of `multilevel`."""

import itertools
import math
from collections import deque
from typing import NamedTuple

import numpy as np

from diffcomb.solvers.limits import KERNELS, LIMITS


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


# The core of `multilevel`, as plain Python: local moving, contraction, ejection chains. The compiled code does the same
# moves in the same order, also among equals: whatever comes first wins.


class Costs(NamedTuple):
    """What is minimised: the ``(neighbour, cost)`` pairs of every node, class costs, and which classes may be divided."""

    neighbours: list[list[tuple[int, float]]]
    node_costs: list[list[float]]
    partitionable: list[bool]


class Clustering:
    """The cluster z[i] of every node i, and the class of every cluster.

    Cluster k < K is one of class k, and the only one if that class cannot be divided. K..K+n-1 are for the others.
    """

    def __init__(self, z, class_of):
        self.z, self.class_of = list(z), list(class_of)

    def copy(self):
        return Clustering(self.z, self.class_of)

    def is_alone(self, i, num_classes):
        """Whether node i has a divisible cluster to itself (that of an indivisible class is there without it)."""
        return self.z[i] >= num_classes and self.z.count(self.z[i]) == 1

    def move(self, costs, i, place):
        """Move node i to ``(cluster, class)``, where a cluster of None is a new one; returns whether it left its own."""
        K = len(costs.partitionable)
        target, k = place
        if target is None and not costs.partitionable[k]:
            target = k
        if target is None and self.is_alone(i, K):
            self.class_of[self.z[i]] = k  # only the class changes
            return False
        if target is None:
            target = next(c for c in range(K, len(self.class_of)) if c not in self.z)
            self.class_of[target] = k
        self.z[i] = target
        return True


def singletons(costs):
    """Every node is alone, in its cheapest class."""
    K = len(costs.partitionable)
    best = [row.index(min(row)) for row in costs.node_costs]
    z = [K + i if costs.partitionable[k] else k for i, k in enumerate(best)]
    return Clustering(z, [*range(K), *best])


def value(costs, clustering):
    """Eq. 2 of a clustering; every edge is listed at both of its ends."""
    z = clustering.z
    nodes = sum(row[clustering.class_of[z[i]]] for i, row in enumerate(costs.node_costs))
    return nodes + sum(c for i, edges in enumerate(costs.neighbours) for j, c in edges if z[i] != z[j]) / 2


def attraction(costs, clustering, i):
    """The summed costs of the edges from node i to every cluster that has any, in the order of the edges."""
    to = {}
    for j, c in costs.neighbours[i]:
        to[clustering.z[j]] = to.get(clustering.z[j], 0) + c
    return to


def look(costs, clustering, i):
    """The best place for node i other than its own as ``(cluster, class)``, and by how much it lowers the objective.

    The objective falls by [attraction there - class cost there] - [attraction here - class cost here]. Of all clusters
    without an edge to i, only a new one in the cheapest class matters.
    """
    to, row, K = attraction(costs, clustering, i), costs.node_costs[i], len(costs.partitionable)
    own = clustering.z[i]
    score, place = -math.inf, None
    for c, attracted in to.items():
        k = clustering.class_of[c]
        if c != own and attracted - row[k] > score:
            score, place = attracted - row[k], (c, k)
    k = row.index(min(row))
    if not costs.partitionable[k] and to.get(k, 0) < 0:  # that class is one cluster, and it repels the node
        k = min((k for k in range(K) if costs.partitionable[k] or to.get(k, 0) == 0), key=row.__getitem__, default=None)
    if k is not None and -row[k] > score:
        stays = k == clustering.class_of[own] and (not costs.partitionable[k] or clustering.is_alone(i, K))
        if not stays:
            score, place = -row[k], (None, k)
    return place, score - (to.get(own, 0) - row[clustering.class_of[own]])


def rounding(costs, clustering, i, place):
    """What rounding may make of the gain of a move; only costs that the move compares count."""
    own, row = clustering.z[i], costs.node_costs[i]
    edges = sum(abs(c) for j, c in costs.neighbours[i] if clustering.z[j] in (own, place[0]))
    return KERNELS.relative_tolerance * edges + KERNELS.few_roundings * (
        abs(row[clustering.class_of[own]]) + abs(row[place[1]])
    )


def loss_of(costs, clustering, i, gain):
    """At least what node i loses by any move, from the gain of its best place; where negative, nothing is known.

    A node in its cheapest class has not looked at new clusters of other classes: such a move costs it the edges inside
    its cluster, or, if it is alone, a difference of class costs that nobody knows.
    """
    K, own = len(costs.partitionable), clustering.z[i]
    row, k = costs.node_costs[i], clustering.class_of[own]
    loss = min(-gain, KERNELS.most)
    if K > 1 and k == row.index(min(row)):
        if clustering.is_alone(i, K):
            return -abs(loss)
        if not costs.partitionable[k]:
            return min(loss, attraction(costs, clustering, i).get(own, 0))
    return loss


def stays(losses, reached, i, reach):
    """Whether node i has more to lose than all that changed around it since its last visit, by `reach` more now."""
    if reached[i] + reach >= losses[i]:
        return False
    reached[i] += reach
    return True


def reach_of_move(clustering, old, i, j, c):
    """How much a move of node i from cluster `old` may help a move of node j, to which it has an edge of that cost."""
    here, there = clustering.z[j], clustering.z[i]
    if c == 0:
        return 0
    if old == there:  # another class
        return math.inf
    helped = here != there if c > 0 else here != old
    return helped * (2 * abs(c) if here in (old, there) else abs(c))


def local_moving(costs, clustering, nodes, losses, reached):
    """Visit nodes, first in, first out: each moves where it gains most, and neighbours that may gain by that queue up.

    `losses` takes `loss_of` of every visited node as it was before it moved. At the end those are visited whose losses
    are out of date. Returns the moves.
    """
    queue, stale = deque(nodes), []
    moves = []
    while queue or stale:
        if not queue:
            queue.extend(dict.fromkeys(j for j in stale if reached[j] > 0))
            stale.clear()
            continue
        i = queue.popleft()
        place, gain = look(costs, clustering, i)
        losses[i], reached[i] = loss_of(costs, clustering, i, gain), 0.0
        if place is None or not gain > max(rounding(costs, clustering, i, place), 0):
            continue
        old = clustering.z[i]
        clustering.move(costs, i, place)
        moves.append((i, clustering.z[i]))
        for j, c in costs.neighbours[i]:
            reach = 0 if j in queue else reach_of_move(clustering, old, i, j, c)
            if reach and not stays(losses, reached, j, reach):
                queue.append(j)
            elif reach == reached[j] > 0:
                stale.append(j)
    return moves


def contract(costs, group, num_groups):
    """Groups become nodes: parallel costs and class costs add up, edges inside go, and those that cancel go too."""
    between = [dict() for _ in range(num_groups)]
    node_costs = [[0.0] * len(costs.partitionable) for _ in range(num_groups)]
    for i, edges in enumerate(costs.neighbours):
        for k, c in enumerate(costs.node_costs[i]):
            node_costs[group[i]][k] += c
        for j, c in edges:
            if group[i] != group[j]:
                between[group[i]][group[j]] = between[group[i]].get(group[j], 0) + c
    neighbours = [sorted((h, c) for h, c in edges.items() if c != 0) for edges in between]
    return Costs(neighbours, node_costs, costs.partitionable)


def ejection_chains(costs, clustering, starts, losses, slack, apart):
    """Try a chain from every start; returns how many stand, and which nodes moved (1) or only changed class (2).

    A chain begins with a move that loses least (or, `apart`, into a cluster of its own). Then of the neighbours that a
    move made movable the one that gains most follows, also at a loss; the best prefix of the moves stands.
    """
    changed = {}
    standing = 0
    work = KERNELS.max_work * (
        sum(map(len, costs.neighbours)) + len(costs.neighbours)
    )  # half-edges that chains may look at
    for start in starts:
        if work < 0:
            break
        best, best_moves = clustering.copy(), {}
        moves, gain, most = {}, 0.0, 0.0
        waiting, seen, known = [start], {start}, {}
        while waiting and len(moves) < KERNELS.max_chain and len(moves) - len(best_moves) <= KERNELS.chain_patience:
            for i in (i for i in waiting if i not in known):
                known[i] = (first_move if apart and not moves else careful_look)(costs, clustering, i)
                work -= len(costs.neighbours[i])
            i = max(waiting, key=lambda j: known[j][1])
            place, gained = known.pop(i)
            if not -math.inf < gained < math.inf:
                break
            waiting[waiting.index(i)] = waiting[-1]
            waiting.pop()
            old = clustering.z[i]
            moves[i] = 1 if clustering.move(costs, i, place) else 2
            gain += gained
            if gain > most:
                most, best, best_moves = gain, clustering.copy(), moves.copy()
            if moves[i] == 2:
                known.clear()
                continue
            for j, c in costs.neighbours[i]:
                known.pop(j, None)
                if (
                    j not in seen
                    and len(waiting) < KERNELS.max_waiting
                    and may_follow(clustering, i, old, j, c, losses[j] - slack)
                ):
                    seen.add(j)
                    waiting.append(j)
        standing += len(best_moves) > 0
        for i, how in best_moves.items():
            changed[i] = max(changed.get(i, 0), how)
        clustering.z, clustering.class_of = best.z, best.class_of
    return standing, changed


def careful_look(costs, clustering, i):
    """The best place for node i and what it gains there, less what rounding may make of that."""
    place, gain = look(costs, clustering, i)
    return place, gain - rounding(costs, clustering, i, place) if place else -math.inf


def first_move(costs, clustering, i):
    """The same for a new cluster in the class of node i."""
    k = clustering.class_of[clustering.z[i]]
    if not costs.partitionable[k] or clustering.is_alone(i, len(costs.partitionable)):
        return None, -math.inf
    here = attraction(costs, clustering, i).get(clustering.z[i], 0) - costs.node_costs[i][k]
    return (None, k), -costs.node_costs[i][k] - here - rounding(costs, clustering, i, (None, k))


def may_follow(clustering, i, old, j, c, limit):
    """Whether node j, whose edge to i costs c, may gain enough by what i did: who attracts is followed, who repels fled."""
    here, there = clustering.z[j], clustering.z[i]
    helped = here != there if c > 0 else here != old
    reach = 2 * abs(c) if here in (old, there) else abs(c)
    return helped and reach > limit


def frontier(costs, changed, losses, reached):
    """The nodes that changed, and those neighbours of theirs for which that may have used up their losses.

    If a neighbour moves, the difference of two places of a node changes by no more than twice the cost of their edge.
    """
    reach = dict.fromkeys(changed, math.inf)
    for i, how in changed.items():
        for j, c in costs.neighbours[i]:
            reach[j] = reach.get(j, 0) + (2 * abs(c) if how == 1 else math.inf)
    return [i for i in sorted(reach) if reach[i] > 0 and not stays(losses, reached, i, reach[i])]


def chains(costs, clustering, losses, reached):
    """Chains of both kinds and local moving after them, until no chain stands any more; returns how many stood."""
    sizes = sorted(abs(c) for edges in costs.neighbours for _, c in edges if c != 0)
    unit = sizes[len(sizes) // 2] if sizes else 0.0  # a typical cost of an edge
    total = 0
    for apart in (False, True):
        near = range(len(costs.neighbours))
        while True:
            starts = [i for i in near if abs(losses[i]) <= LIMITS.chain_starts * unit]
            standing, changed = ejection_chains(costs, clustering, starts, losses, LIMITS.chain_slack * unit, apart)
            if not standing:
                break
            total += standing
            near = frontier(costs, changed, losses, reached)
            local_moving(costs, clustering, near, losses, reached)
    return total
