"""The example solvers are right on small instances, and training through them lowers the regret."""

import itertools

import numpy as np
import pytest
import torch
from assignment import assign
from integer_programme import SETS, cover, covering, covering_loss
from knapsack import WEIGHTS, knapsack, knapsack_loss, pack
from learn import learn
from ranking import rank, rank_loss, ranks, smallest, top_k, top_k_loss
from shortest_path import dijkstra, path
from spanning_tree import EDGES, spanning_tree
from tsp import tour, tsp

from diffcomb import gradcheck, perturbed_grad

RNG = np.random.default_rng(0)


def test_shortest_paths_agree_with_bellman_ford():
    for _ in range(10):
        costs = RNG.random((4, 5))
        value = np.full((4, 5), np.inf)
        value[0, 0] = costs[0, 0]
        for _ in range(20):
            padded = np.pad(value, 1, constant_values=np.inf)
            near = [padded[i : i + 4, j : j + 5] for i in range(3) for j in range(3)]
            value = np.minimum(value, np.min(near, axis=0) + costs)
        assert (dijkstra(costs[None])[0] * costs).sum() == pytest.approx(value[-1, -1])


def test_all_other_solvers_agree_with_brute_force():
    for _ in range(10):
        c = RNG.random((4, 4))
        assert (assign(c) * c).sum() == pytest.approx(
            min(c[range(4), p].sum() for p in itertools.permutations(range(4)))
        )
        row = RNG.normal(size=(1, 4))
        orders = [np.array(p) + 1.0 for p in itertools.permutations(range(4))]
        assert (ranks(row) @ row[0])[0] == pytest.approx(min(p @ row[0] for p in orders))
        assert (smallest(row, k=2) @ row[0])[0] == pytest.approx(min(sum(s) for s in itertools.combinations(row[0], 2)))
        choices = [np.array(x) for x in itertools.product((0.0, 1.0), repeat=6)]
        costs, weights = RNG.normal(size=6), RNG.integers(1, 5, 6)
        feasible = [x for x in choices if x @ weights <= 7]
        assert pack(costs, weights, 7) @ costs == pytest.approx(min(x @ costs for x in feasible))
        sets = SETS[:4, :6] | np.eye(4, 6, dtype=bool)
        covers = [x for x in choices if (sets @ x >= 1).all()]
        assert cover(costs, sets=sets) @ costs == pytest.approx(min(x @ costs for x in covers))
        square = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
        trees = [
            x
            for x in choices
            if x.sum() == 3 and not any(x[list(t)].all() for t in [(0, 1, 3), (0, 2, 4), (1, 2, 5), (3, 4, 5)])
        ]
        assert spanning_tree(costs, edges=square) @ costs == pytest.approx(min(x @ costs for x in trees))


def test_tour_visits_every_node_once():
    edges, order = tsp(RNG.random((9, 9)))
    assert sorted(order) == list(range(9))
    assert edges.sum() == 9
    assert ((edges + edges.T).sum(0) == 2).all()


@pytest.mark.parametrize(
    ("solver", "shape", "data"),
    [
        (perturbed_grad(assign, cost_ndims=2), (2, 5, 5), {}),
        (perturbed_grad(smallest, cost_ndims=1), (3, 8), {"k": 3}),
        (perturbed_grad(ranks, cost_ndims=1), (3, 6), {}),
        (perturbed_grad(spanning_tree, cost_ndims=1), (2, len(EDGES)), {"edges": EDGES}),
        (perturbed_grad(pack, cost_ndims=1), (2, 16), {"weights": WEIGHTS, "capacity": 30}),
        (perturbed_grad(cover, cost_ndims=1), (1, 12), {"sets": SETS}),
    ],
)
def test_solvers_pass_gradcheck(solver, shape, data):
    from diffcomb import Blackbox

    costs = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert gradcheck(solver, costs, estimator=Blackbox((0.3, 3.0)), directions=3, **data)


@pytest.mark.parametrize(
    ("solver", "shape", "loss", "data"),
    [
        (path, (5, 5), None, {}),
        (top_k, (10,), top_k_loss, {"k": 2}),
        (rank, (6,), rank_loss, {}),
        (knapsack, (16,), knapsack_loss, {"sign": -1.0, "weights": WEIGHTS, "capacity": 30}),
        (tour, (6, 6), None, {}),
        (covering, (12,), covering_loss, {"sets": SETS}),
    ],
)
def test_training_lowers_the_regret(solver, shape, loss, data):
    before, after = learn(solver, shape, loss, epochs=2, size=128, **data)
    assert after < 0.9 * before
