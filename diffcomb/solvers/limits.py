"""Every threshold of the solvers: its value, its unit, and the reason for it.

``LIMITS`` is one frozen object. Tests shrink it for a while with :func:`changed`, documents quote it
(``docs/hooks.py``). What kernels read is a constant of their compiled code, and cannot be changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Limits:
    """What decides how long and how closely solvers look; sizes in nodes unless another unit is named."""

    # Which form a graph takes
    min_stencil_nodes: int = 513
    """A grid of fewer nodes takes adjacency lists: it is nothing but searched, and searches need lists."""
    min_stencil_use: float = 0.5
    """Share of its slots that a grid must fill: offsets nearly as long as the grid leave most of them empty."""
    min_long_share: float = 2 / 3
    """Share of the edges of a grid that must be longer than a block for blocks to be the first coarse level."""

    # Descent
    undivided: float = 0.9
    """Share of the absolute costs of its short edges that a block must gain by being joined not to count as divided."""
    max_divided: float = 0.25
    """Share of the blocks: if no more are divided, their cells stay alone. Trained networks divide 8 %, noise 40 %."""
    min_shrink: float = 0.95
    """A coarser level that keeps more than this share of the nodes is not worth having."""
    max_coarse: int = 512
    """The first level of the descent with at most so many nodes is searched whole; so are that many clusters."""
    max_pieces: int = 2048
    """The first level of the descent with at most so many nodes divides the core graph into pieces."""
    isolated: float = 1 / 16
    """Share of the nodes: if more have no edges, these are no part of any search."""
    max_enumerated: int = 8
    """Graphs of at most so many nodes are solved by branch and bound."""
    max_steps: int = 2**17
    """Placements of a node in a branch and bound: about a millisecond."""
    max_greedy: int = 64
    """Up to so many nodes, greedy contraction is tried as a second start: it takes less than a millisecond."""

    # Rounds of search
    core_share: float = 1 / 16
    """Share of the nodes, the least decided ones, that the core graph of the first round keeps as they are."""
    core_nodes: int = 4096
    """Nodes that the core graph keeps as they are, at least."""
    core_half_edges: int = 3 * 2**16
    """Half-edges: it keeps at least as many nodes as have so many, of which a search takes some milliseconds."""
    undecided: float = 0.02
    """Share of the nodes that would lose at most a typical edge cost: clean grids have 0.5 %, networks 3 to 17 %."""
    large_core_share: float = 0.5
    """`core_share` where many nodes are undecided."""
    core_costs: float = 5.0
    """Typical edge costs: where few are undecided, the first core graph leaves out what would lose more."""
    min_core: int = 2**10
    """Nodes that it keeps then, at least."""
    max_repeats: int = 16
    """Times that a round repeats on a small graph, as long as it finds something."""
    tiny_half_edges: int = 2**14
    """Half-edges below which a round may also find nothing a few times, and a multiway cut is always tried."""

    # Annealing of whole graphs
    frustrated: float = 0.1
    """Share of the absolute edge costs that a labelling violates: from here on graphs are annealed if a trial gains,"""
    little: float = 0.2
    """and half of the nodes lose no larger share of their edges' absolute costs (regions: 0.5 to 0.9, grids 0.3),"""
    plateau: float = 0.1
    """or if that share of the nodes loses nothing, which few different costs make."""
    tried_sweeps: int = 30
    """Its sweeps over all nodes: a tenth of the time of the default."""
    sweeps: int = 120
    """Those of the first long one, twice as many in each further round,"""
    max_doublings: int = 4
    """up to so many times."""
    divisions: int = 3
    """Times that clusters are annealed for themselves after it, half as long as the first."""
    coldest: float = 0.1
    """Median loss of a node: the last temperature. The first is 1."""
    reheated: float = 0.6
    """The same: the first temperature of later rounds, which keep some of what is there."""
    cool: float = 0.3
    """The same of all rounds, where most nodes lose more than a little; from 0.4 on, short annealings make it worse."""
    cool_doublings: int = 6
    """`max_doublings` there."""
    annealed_grid: int = 2**22
    """Half-edges up to which grids are annealed, from the second round on; of larger ones 120 sweeps take seconds."""
    annealed_half_edges: int = 2**23
    """Half-edges between two looks at the clock: about a tenth of a second."""

    # Fusion of multicuts
    fused_half_edges: int = 3 * 2**17
    """Half-edges that the proposals of a round look at, all together."""
    min_proposals: int = 3
    """Proposals of a round at least, of large graphs."""
    max_proposals: int = 280
    """Proposals of the first rounds at most, of small graphs."""
    rounds_of_as_many: int = 2
    """Rounds after which there may be as many proposals more."""
    max_descents: int = 24
    """Descents of a round at most, where there is a cost of all pairs."""
    proposals_a_lineage: int = 12
    """Proposals for which another labelling is kept beside the incumbent."""
    stages: int = 3
    """Parts of a round, after each of which nodes that all lineages keep together are one node from then on,"""
    min_lineages: int = 8
    """if there are so many lineages at least: fewer agree by chance."""
    descended_half_edges: int = 2**21
    """Half-edges of a lifted problem above which the time of a descent is better spent on another proposal."""
    fused_noise: float = 0.8
    """Typical edge costs: what noise adds to or takes off an edge of a proposal, at most."""

    # Tabu search in dense multicuts
    max_dense: int = 3000
    """Larger graphs get no matrix: this one takes 36 MB, and the gain matrix up to as much."""
    min_density: float = 0.4
    """Share of all pairs of nodes that must be edges."""
    population: int = 10
    """Labellings that are crossed with each other."""
    generations: int = 30
    """Labellings of a round: those that fill a population, and twice as many crossings."""
    agreeing: int = 3
    """Searches from anywhere that end a round if they all find the same value."""
    tabu_patience: int = 5
    """Moves a node without a new best after which a tabu search ends."""
    max_patience: int = 5000
    """Of more moves the search of a graph of thousands of nodes would take many seconds."""
    patience_grows: int = 3
    """Times the patience of the first round that later ones may have, each a little more."""
    max_fruitless: int = 4
    """Populations of crossings that improve nothing after which all labellings but the best begin anew."""

    # Lower bounds
    path_lengths: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 12)
    """Edges of the paths of cycles that are packed, shortest first."""
    looks_an_edge: int = 80
    """Half-edges that all searches for cycles may look at, for each edge; noise takes all, clear costs up to 50."""
    least_violation: float = 1e-7
    """Share of the largest cost: what edges have left counts as 0 up to this."""
    bound_rounds: int = 4
    """Packings, each with message passing."""
    triplets_an_edge: float = 0.6
    """Triplets for each edge of the problem: if there are more, no further cycles are packed."""
    bound_sweeps: int = 10
    """Times that messages pass over all triplets, in each of them."""
    bound_gain: float = 1e-3
    """Share of the bound: a round that gains less is the last."""
    class_sweeps: int = 3
    """Times that messages of classes pass there and back."""
    class_shares: int = 2**25
    """Numbers that edges may hold for that, a quarter of a GiB; else only those do that lose something."""
    linear_variables: int = 4096
    """Of problems with no more variables the linear programme is solved."""
    linear_pairs: int = 2**17
    """Edges, times their mean degree: of denser problems it takes too long."""
    linear_rounds: int = 100
    """Times that it is, with more inequalities,"""
    linear_rows: int = 4500
    """as long as no more were added: with so many, it takes a second or two each time."""

    # Settling
    chain_starts: float = 3.0
    """Typical edge costs: nodes that lose no more by moving begin an ejection chain."""
    some_starts: float = 1 / 32
    """Share of the nodes, the least decided ones, from which chains begin if there is no search."""
    chain_slack: float = 1.0
    """Typical edge costs: how much more than the move before it helps it a node of a chain may lose."""
    min_chains: int = 2**10
    """Of more chains, all threads look first for those that gain, a quarter as many at a time,"""
    few_chains: float = 0.02
    """if no more than that share of a sample does; else it is looked for twice."""
    chains_a_sample: int = 16
    """Chains of which one is in the sample."""
    max_passes: int = 64
    """Passes of ejection chains; a few are usual."""
    max_splits: int = 64
    """Times that clusters that are not connected come apart; one or two are usual."""
    clear: float = 1e-9
    """Share of the objective: a larger difference of two objectives is no rounding."""

    # The multiway cut of the same costs
    near: float = 0.002
    """Share of all absolute edge costs: if a multiway cut costs less than this more, it is searched as well."""
    near_if_uncertain: float = 0.05
    """`near` for graphs that are searched whole, and for graphs in which many nodes are undecided."""
    uncertain: float = 1 / 20
    """Share of the nodes that would lose no more than a typical edge cost by moving: more are many."""

    # Local moving
    min_parallel: int = 2**13
    """Of more nodes to visit, all threads look for those that gain first."""
    enough: float = 6.0
    """Typical edge costs: of a node that loses more by any move it does not matter how much."""
    sample: int = 4096
    """Edge costs from which the typical one is taken, and losses that tell what a small one is."""

    # Threads
    min_part: int = 2**10
    """Nodes of a part that joins clusters on its own, at least: of fewer than eight such parts, none are made."""
    max_part: int = 2**12
    """The same at most; a power of two."""
    nodes_a_thread: int = 2**12
    """Nodes whose slots are worth a thread to fill."""
    look_nodes_a_thread: int = 2**13
    """Nodes that are worth a thread to look at."""
    edges_a_sum: int = 2**19
    """Edges whose costs are added up in one matrix of groups; their number decides in what order costs are added."""
    nodes_a_sum: int = 2**16
    """Nodes whose costs are added up for all groups in one go, likewise."""
    half_edges_a_thread: int = 2**16
    """Half-edges that are worth a thread to contract."""

    # Infinite and huge costs
    second_tries: tuple[int, ...] = (0, 4, 16)
    """Efforts of further searches where a labelling leaves cannot-links uncut."""
    max_exponent: int = 64
    """Costs up to 2^64 and down to 2^-64 are solved as they are, others scaled: kernels keep losses in float32."""

    # Kernighan-Lin
    patience: int = 20
    """Moves without a gain after which a chain between two clusters ends, doubled with every unit of effort."""
    max_rounds: int = 100
    """Rounds over all pairs of clusters."""
    chunk: int = 2**22
    """Half-edges that pairs look at between two looks at the clock: some milliseconds."""


class KernelLimits(NamedTuple):
    """Constants of compiled code."""

    few_groups: int = 256
    """Up to so many groups, a dense matrix of their pairs fits a cache."""
    nodes_at_once: int = 512
    """Nodes whose slots stay in a cache while they are filled."""
    max_visits: int = 64
    """Visits of a node by local moving, on average; a few are usual, but huge costs that cancel may never end it."""
    never: float = 16.0
    """A loss of this many temperatures is accepted once in 9 million visits: annealing does not draw for it."""
    max_chain: int = 24
    """Moves of an ejection chain."""
    max_waiting: int = 16
    """Neighbours that may follow in an ejection chain."""
    max_work: int = 16
    """Passes over the graph that all ejection chains may take: hubs could follow every leaf."""
    chain_patience: int = 3
    """Moves after its best prefix with which an ejection chain ends."""
    min_degree: int = 4096
    """In Kernighan-Lin, nodes of a larger degree only move in pairs with a quarter as many edges."""
    max_unlike: int = 64
    """In Kernighan-Lin, a cluster this many times as large does not take the class of the other one."""
    relative_tolerance: float = 1e-12
    """Of sums over many edges: what rounding may make of them."""
    few_roundings: float = 4e-15
    """Relative: what some additions make of a single cost."""
    min_tenure: int = 10
    """Moves during which a node may not move again, at least."""
    nodes_a_tenure: int = 8
    """Nodes for which that may be one more, by chance."""
    nodes_a_block: int = 64
    """Nodes that are searched for a gain at once."""
    max_search: int = 512
    """Nodes after which a search for what connects a cluster of a lifted problem gives up."""
    max_path_search: int = 256
    """Nodes after which a search for an attractive path between the ends of a repulsive edge gives up."""
    walked_an_edge: int = 16
    """Steps along lists for each edge after which contraction takes a table of pairs; region graphs take 2 to 4."""
    half_edges_a_join: int = 800
    """Half-edges that a round of reciprocal joins may look at for each of its joins: a join by itself takes as long."""
    plain_nodes: int = 2048
    """Nodes up to which fusion contracts graphs without hubs, and fairly."""
    matrix_nodes: int = 256
    """Nodes of an overlay up to which it is searched as a matrix."""
    overlay_patience: int = 16
    """Moves without a new best after which that search ends."""
    least_cost: float = 64.0
    """Integer that the median cost becomes at least: else huge costs leave nothing of the others."""
    most: float = 3e38
    """Losses are float32: larger ones are as good as this."""


LIMITS = Limits()
KERNELS = KernelLimits()


@contextmanager
def changed(**values: Any) -> Iterator[None]:
    """Other limits for the length of a ``with`` block, for tests: small instances then take the ways of large ones."""
    before = vars(LIMITS).copy()
    after = vars(replace(LIMITS, **values)).copy()  # which refuses unknown names
    for name, value in after.items():
        object.__setattr__(LIMITS, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(LIMITS, name, value)
