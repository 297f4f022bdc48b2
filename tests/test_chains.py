"""Ejection chains find better labellings, never a worse one, and undo moves that they do not keep without a trace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import noisy_grid, random_instance

from diffcomb import Graph, amwc, make_problem, set_num_threads
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.labels import from_labels
from diffcomb.solvers.levels.slack import new_slack
from diffcomb.solvers.limits import changed as limits
from diffcomb.solvers.moves.ejection_chains import Chains, eject


def settled(edges, node_costs, edge_costs, P, x, z):
    """The level, and a labelling that is a local optimum under single moves, with its slack."""
    problem = make_problem(Graph(len(x), edges), node_costs, edge_costs, P)
    level = finest_level(problem)
    labels = from_labels(np.asarray(x), np.asarray(z), problem.partitionable)
    slack = new_slack(len(x))
    moves = level.move(labels, slack=slack)
    return level, labels, slack, moves


def random_problem(seed, grid):
    """What `settled` takes, with a random labelling."""
    rng = np.random.default_rng(seed)
    if grid:
        graph, *rest = noisy_grid((6, 7), K=3, seed=seed, noise=2.0)
        edges = graph.edges
    else:
        _, edges, *rest = random_instance(rng, n=14, m=40)
    n = len(rest[0])
    return edges, *rest, rng.integers(0, len(rest[2]), n), rng.integers(0, n, n)


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("edges", "costs", "before", "after"),
    [
        # two nodes of two clusters gain by moving to a new cluster together; neither gains by leaving alone
        ([(0, 1), (1, 2), (2, 3), (0, 3), (0, 2), (1, 3)], [1.0, 2.5, 1.0, -9, -9, -9], [0, 0, 1, 1], [0, 1, 1, 2]),
        # two nodes that attract each other have to change their cluster together
        ([(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], [5.0, 1.0, 1.0, 1.5, 1.5, -9.0], [0, 0, 0, 1], [0, 0, 1, 0]),
    ],
)
def test_chains_move_two_nodes_that_must_move_together(edges, costs, before, after):
    n = len(before)
    level, labels, slack, moves = settled(edges, np.zeros((n, 1)), np.array(costs), [0], np.zeros(n, int), before)
    assert moves == 0
    assert level.chains(labels, slack) > 0
    assert same_partition(labels.z.tolist(), after)


@pytest.mark.nojit
def test_chains_swap_two_nodes_that_must_change_places():
    node_costs = np.array([[0.0, 1.0], [1.0, 0.0]])
    level, labels, slack, moves = settled([(0, 1)], node_costs, np.array([-2.0]), [], [1, 0], [0, 0])
    assert moves == 0
    assert level.value(labels) == 0
    assert level.chains(labels, slack) == 1
    assert labels.node_labels().tolist() == [0, 1]
    assert level.value(labels) == -2


@pytest.mark.nojit
@given(seed=st.integers(0, 10_000), grid=st.booleans(), allowance=st.floats(0, 3), apart=st.booleans())
def test_chains_lower_the_objective_or_leave_no_trace(seed, grid, allowance, apart):
    level, labels, slack, _ = settled(*random_problem(seed, grid))
    n = len(labels.z)
    before, value = labels.copy(), level.value(labels)
    changed = np.zeros(n, np.int8)
    chains = Chains(np.arange(n, dtype=np.int32), slack.losses, allowance, apart, changed)
    found = eject(level.costs, labels, chains)
    if found:
        assert level.value(labels) < value
        assert changed.any()
    else:
        assert labels.z.tolist() == before.z.tolist()
        used = before.cluster_class[before.z]
        assert labels.cluster_class[labels.z].tolist() == used.tolist()
    kept = changed == 0
    assert labels.z[kept].tolist() == before.z[kept].tolist()
    own = labels.z < len(level.partitionable)
    assert (labels.cluster_class[labels.z[own]] == labels.z[own]).all()
    assert level.partitionable[labels.cluster_class[labels.z[~own]]].all()


@pytest.mark.nojit
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.integers(3, 12), st.sampled_from([1, 2]))
def test_of_many_chains_those_begin_that_would_gain_alone(seed, grid, apart, least, threads):
    level, labels, slack, _ = settled(*random_problem(seed, grid))
    n = len(labels.z)
    nodes = np.arange(n, dtype=np.int32)

    def tried(starts):
        after, changed = labels.copy(), np.zeros(n, np.int8)
        found = eject(level.costs, after, Chains(starts, slack.losses, 2.0, apart, changed))
        return found, after.z.tolist(), changed.tolist()

    alone = [tried(nodes[i : i + 1])[0] for i in range(n)]
    expected = tried(np.flatnonzero(alone).astype(np.int32))
    set_num_threads(threads)
    with limits(min_chains=least, few_chains=1.0):
        assert tried(nodes) == expected
    set_num_threads(None)


@pytest.mark.nojit
@given(seed=st.integers(0, 10_000))
def test_no_single_move_gains_after_chains(seed):
    _, edges, *rest = random_instance(np.random.default_rng(seed), n=14, m=40)
    n = len(rest[0])
    level, labels, slack, _ = settled(edges, *rest, np.zeros(n, int), np.arange(n))
    level.chains(labels, slack)
    assert level.move(labels) == 0


def test_chains_reach_the_optimum_more_often_than_single_moves():
    """On small instances, local moving alone misses the optimum more often than local moving with chains."""
    missed = np.zeros(2, int)
    for seed in range(40):
        n, edges, *rest = random_instance(np.random.default_rng(seed), n=12, m=30, K=3)
        best = amwc(Graph(n, edges), *rest, solver="exact").objective
        level, labels, slack, _ = settled(edges, *rest, np.zeros(n, int), np.arange(n))
        missed[0] += level.value(labels) > best + 1e-6
        level.chains(labels, slack)
        missed[1] += level.value(labels) > best + 1e-6
        assert level.value(labels) >= best - 1e-6
    assert missed[1] < 0.8 * missed[0]


def test_search_terminates_for_costs_of_all_magnitudes():
    rng = np.random.default_rng(0)
    for scale in (1e-30, 1e-3, 1e3, 1e30):
        n, edges, node_costs, edge_costs, P = random_instance(rng, n=30, m=120)
        s = amwc(Graph(n, edges), scale * node_costs, scale * edge_costs, P)
        assert np.isfinite(s.objective)
