"""Losses agree with brute force, closed forms, finite differences, and torch's own derivatives."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from naive import brute_force
from routes import GRAPH, TRIALS, argmin_one_hot, costs_and_gradient

from diffcomb import (
    Contrastive,
    FenchelYoung,
    Gumbel,
    LiftedMWC,
    Ranking,
    SolutionPool,
    SPOPlus,
    StructuredSVM,
    amwc,
    multicut,
    solver_loss,
)
from diffcomb.losses import LOSSES

CASES = {
    "fenchel-young": FenchelYoung(0.5, 3),
    "spo+": SPOPlus(),
    "svm": StructuredSVM(0.7),
    "nce": Contrastive("nce"),
    "map": Contrastive("map"),
    "pointwise": Ranking("pointwise"),
    "pairwise": Ranking("pairwise"),
    "listwise": Ranking("listwise", temperature=2.0),
}
assert {type(loss) for loss in CASES.values()} == set(LOSSES)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def fresh(loss):
    """The same loss with a new pool, which holds all solutions of the arg-min over five items."""
    if not hasattr(loss, "pool"):
        return loss
    pool = SolutionPool()
    for row in np.eye(5):
        pool.add((row,))
    return dataclasses.replace(loss, pool=pool, share=0.0)


def argmin_loss(loss, c, true, **options):
    f = solver_loss(argmin_one_hot, fresh(loss), cost_ndims=1, generator=gen(), **options)
    target = torch.nn.functional.one_hot(true.argmin(-1), c.shape[-1])
    return f(c, target=target, true_costs=true)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", TRIALS)
def test_gradient_matches_finite_differences_of_the_value(name, seed):
    c, true, v = costs_and_gradient(seed, (4, 5), (4, 5), (4, 5))
    leaf = c.clone().requires_grad_()
    (grad,) = torch.autograd.grad(argmin_loss(CASES[name], leaf, true), leaf)
    h = 1e-6
    slope = (argmin_loss(CASES[name], c + h * v, true) - argmin_loss(CASES[name], c - h * v, true)) / (2 * h)
    assert float(slope) == pytest.approx(float((grad * v).sum()), abs=1e-6)
    assert grad.any()


@pytest.mark.parametrize("name", [n for n in CASES if n != "pointwise"])
def test_descent_finds_the_target(name):
    c, true = costs_and_gradient(0, (6, 5), (6, 5))
    leaf = c.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], 1.0)
    for _ in range(300):
        optimizer.zero_grad()
        argmin_loss(CASES[name], leaf, true, reduction="sum").backward()
        optimizer.step()
    assert torch.equal(leaf.argmin(1), true.argmin(1))


class TestClosedForms:
    def test_fenchel_young_with_gumbel_noise_matches_the_closed_form(self):
        (c,) = costs_and_gradient(0, (4,))
        sigma, leaf = 0.7, c.clone().requires_grad_()
        target = torch.tensor([0.0, 1.0, 0.0, 0.0])
        f = solver_loss(argmin_one_hot, FenchelYoung(sigma, 8000, Gumbel()), generator=gen())
        value = f(leaf, target=target)
        value.backward()
        log_partition = sigma * (torch.logsumexp(-c / sigma, 0) + np.euler_gamma)  # -E min(c - σ Gumbel)
        assert float(value.detach()) == pytest.approx(float(c[1] + log_partition), abs=0.05)
        assert torch.allclose(leaf.grad, target - torch.softmax(-c / sigma, 0), atol=0.03)

    @pytest.mark.parametrize("seed", TRIALS)
    def test_spo_plus_bounds_the_regret(self, seed):
        c, true = costs_and_gradient(seed, (5,), (5,))
        value = float(solver_loss(argmin_one_hot, SPOPlus())(c, true_costs=true))
        assert value == pytest.approx(float((true - 2 * c).max() + 2 * c[true.argmin()] - true.min()))
        assert value >= float(true[c.argmin()] - true.min()) - 1e-9
        assert float(solver_loss(argmin_one_hot, SPOPlus())(true, true_costs=true)) == pytest.approx(0)

    @pytest.mark.parametrize("seed", TRIALS)
    @pytest.mark.parametrize("lifted", [False, True])
    def test_structured_svm_agrees_with_brute_force(self, seed, lifted):
        """Brute force tries all labellings of a square; with a lift, all labellings with the labels of the target."""
        square, P, margin = [(0, 1), (0, 2), (1, 3), (2, 3)], [True, True], 0.9
        nodes, edges, *truth = costs_and_gradient(seed, (4, 2), (4,), (4, 2), (4,))
        _, x, y = brute_force(4, square, truth[0].numpy(), truth[1].numpy(), P)
        s = amwc(square, *(t.numpy() for t in truth), P, solver="exact")
        x, y, clusters = s.node_labels, s.edge_labels, s.clusters
        target = (np.eye(2)[x], y.astype(float), clusters)
        f = solver_loss(amwc, StructuredSVM(margin), lift=LiftedMWC() if lifted else None)
        leaves = [t.clone().requires_grad_() for t in (nodes, edges)]
        value = f(*leaves, target=target, graph=square, partitionable=P, solver="exact")
        if lifted:  # each cluster of the target is one label, and there are no other labels
            lift = LiftedMWC().bind(target, {"partitionable": P})
            costs, best, P = nodes[:, lift.classes].numpy(), np.eye(len(lift.classes))[lift.labels], [False] * 4
            P = [False] * len(lift.classes)
        else:
            costs, best = nodes.numpy(), np.eye(2)[x]
        at = costs - margin * (1 - 2 * best), edges.numpy() - margin * (1 - 2 * y.astype(float))
        lowest, *_ = brute_force(4, square, *at, P)
        expected = (best * at[0]).sum() + (y * at[1]).sum() - lowest
        assert float(value.detach()) == pytest.approx(expected)
        value.backward()
        assert leaves[0].grad.shape == nodes.shape
        step = 1e-6
        moved = [t - step * leaf.grad for t, leaf in zip((nodes, edges), leaves, strict=True)]
        after = f(*moved, target=target, graph=square, partitionable=[True, True], solver="exact")
        steep = sum(float((leaf.grad**2).sum()) for leaf in leaves)
        assert float(value.detach() - after) == pytest.approx(step * steep, abs=1e-9)

    @pytest.mark.parametrize("kind", ["nce", "map"])
    def test_contrastive_agrees_with_torch(self, kind):
        c, true = costs_and_gradient(1, (3, 5), (3, 5))
        leaf = c.clone().requires_grad_()
        target = torch.nn.functional.one_hot(true.argmin(-1), 5).double()
        gaps = (leaf * target).sum(1, keepdim=True) - leaf @ torch.eye(5, dtype=torch.float64)
        expected = (gaps.mean(1) if kind == "nce" else gaps.amax(1)).mean()
        (expected_grad,) = torch.autograd.grad(expected, leaf)
        other = c.clone().requires_grad_()
        value = argmin_loss(CASES[kind], other, true)
        value.backward()
        assert float(value.detach()) == pytest.approx(float(expected.detach()))
        assert torch.allclose(other.grad, expected_grad)

    def test_ranking_agrees_with_torch(self):
        c, true = costs_and_gradient(1, (3, 5), (3, 5))
        expected = {
            "pointwise": ((c - true) ** 2).mean(),
            "listwise": -(torch.softmax(-true / 2, 1) * torch.log_softmax(-c / 2, 1)).sum(1).mean(),
            "pairwise": torch.stack(
                [
                    sum(torch.relu(0.1 + row[t.argmin()] - row[j]) for j in range(5) if j != t.argmin()) / 4
                    for row, t in zip(c, true, strict=True)
                ]
            ).mean(),
        }
        for kind, value in expected.items():
            assert float(argmin_loss(CASES[kind], c, true)) == pytest.approx(float(value))


class TestInterface:
    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize("vectorized", [False, True])
    def test_batch_keeps_the_dtype_and_gives_the_gradients_of_its_instances(self, name, vectorized):
        def rows(costs):
            return np.eye(5)[costs.argmin(1)]

        c, true = costs_and_gradient(2, (6, 5), (6, 5))
        solver = rows if vectorized else argmin_one_hot
        f = solver_loss(
            solver, fresh(CASES[name]), cost_ndims=1, vectorized=vectorized, reduction="none", generator=gen()
        )
        leaf = c.float().requires_grad_()
        values = f(leaf, true_costs=true)
        assert values.shape == (6,)
        assert values.dtype == torch.float32
        weights = torch.arange(6.0)
        (values * weights).sum().backward()
        assert leaf.grad.shape == c.shape
        assert not leaf.grad[0].any()
        if name != "fenchel-young":
            single = solver_loss(argmin_one_hot, fresh(CASES[name]))
            one = c[3].float().requires_grad_()
            single(one, true_costs=true[3]).backward()
            assert torch.allclose(leaf.grad[3], 3 * one.grad, atol=1e-6)
        empty = f(c[:0].requires_grad_(), target=true[:0], true_costs=true[:0])
        assert empty.shape == (0,)

    def test_several_costs_and_a_heuristic_solver_are_supported(self):
        nodes, edges, tn, te = costs_and_gradient(3, (2, 6, 3), (2, 7), (2, 6, 3), (2, 7))
        for loss in (FenchelYoung(0.5, 4), SPOPlus(), StructuredSVM(), Contrastive(), Ranking()):
            for lift in (None, LiftedMWC()):
                leaves = [t.clone().requires_grad_() for t in (nodes, edges)]
                f = solver_loss(amwc, loss, lift=lift, generator=gen())
                if lift is not None and isinstance(loss, (Contrastive, Ranking)):
                    with pytest.raises(ValueError, match="a pool needs a key where solutions are lifted"):
                        f(*leaves, true_costs=(tn, te), graph=GRAPH, partitionable=[1])
                    continue
                f(*leaves, true_costs=(tn, te), graph=GRAPH, partitionable=[1]).backward()
                assert leaves[0].grad.any()
                assert leaves[1].grad.any()

    @pytest.mark.parametrize("name", CASES)
    def test_solver_that_changes_its_input_does_no_harm(self, name):
        def in_place(costs):
            k = costs.argmin()
            costs[:] = 0
            return np.eye(5)[k]

        c, true = costs_and_gradient(2, (6, 5), (6, 5))
        found = []
        for solver in (argmin_one_hot, in_place):
            loss = fresh(CASES[name])
            loss = dataclasses.replace(loss, share=1.0) if hasattr(loss, "share") else loss
            before = c.clone()
            found.append(float(solver_loss(solver, loss, cost_ndims=1, generator=gen())(c, true_costs=true)))
            assert torch.equal(c, before)
        assert found[0] == found[1]

    def test_torch_func_gives_the_same_gradient(self):
        c, true = costs_and_gradient(2, (6, 5), (6, 5))
        f = solver_loss(argmin_one_hot, SPOPlus(), cost_ndims=1)
        leaf = c.clone().requires_grad_()
        f(leaf, true_costs=true).backward()
        assert torch.equal(torch.func.grad(lambda c: f(c, true_costs=true))(c), leaf.grad)

    def test_pools_of_different_feasible_sets_are_kept_apart_by_key(self):
        def choose(costs, *, group):
            return np.eye(len(costs))[costs.argmin()]

        c, true = costs_and_gradient(0, (4, 5), (4, 5))
        loss = Contrastive(key="group")
        f = solver_loss(choose, loss, cost_ndims=1, per_instance=["group"])
        f(c, true_costs=true, group=["a", "a", "b", "b"])
        assert 2 <= len(loss.pool.solutions("a")) <= 4
        assert loss.pool.solutions("c") == []
        with pytest.raises(ValueError, match="names no keyword data"):
            solver_loss(argmin_one_hot, Contrastive(key="grup"), cost_ndims=1)(c, true_costs=true)
        with pytest.raises(TypeError, match="hashable"):
            f(c, true_costs=true, group=[np.zeros(1)] * 4)
        mixed = solver_loss(argmin_one_hot, Contrastive())
        mixed(c[0], true_costs=true[0])
        with pytest.raises(ValueError, match="of several sizes a key="):
            mixed(c[0, :3], true_costs=true[0, :3])

    def test_pool_of_two_graphs_is_refused(self):
        triangle, path = [(0, 1), (1, 2), (0, 2)], [(0, 1), (1, 2), (2, 3)]
        costs, target = torch.ones(2, 3), torch.zeros(2, 3)
        loss = solver_loss(multicut, Contrastive(), per_instance=["graph"])
        assert torch.isfinite(loss(costs, target=target, graph=[triangle, list(triangle)]))
        with pytest.raises(ValueError, match="graph"):
            loss(costs, target=target, graph=[triangle, path])

    @pytest.mark.parametrize("make", [Contrastive, Ranking])
    def test_a_key_need_not_be_data_of_the_solver(self, make):
        """Solvers of this package have no keyword for it; those of equal sizes share a pool only if their keys say so."""
        triangle, path = [(0, 1), (1, 2), (0, 2)], [(0, 1), (1, 2), (2, 3)]
        costs = torch.tensor([[1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]])
        loss = solver_loss(multicut, make(key="name"), per_instance=["graph", "name"])
        data = dict(graph=[triangle, path, path], name=["triangle", "path", "path"])
        value = loss(costs, true_costs=-costs, **data)
        assert torch.isfinite(value)
        pools = {name: {tuple(w[0]) for w in loss.loss.pool.solutions(name)} for name in ("triangle", "path")}
        assert (0, 1, 0) in pools["path"]  # which no triangle allows
        assert all(sum(y) != 1 for y in pools["triangle"])
        one = solver_loss(multicut, make(key="name"))(costs[0], true_costs=-costs[0], graph=triangle, name="one")
        assert torch.isfinite(one)
        with pytest.raises(ValueError, match="name must have one item for each of 3"):
            loss(costs, true_costs=-costs, graph=data["graph"], name=["triangle"])

    @pytest.mark.parametrize("make", [Contrastive, Ranking])
    def test_instances_with_different_data_need_a_key(self, make):
        def among(costs, *, allowed):
            return np.eye(5)[np.where(allowed, costs, 1e9).argmin()]

        c, true = costs_and_gradient(0, (4, 5), (4, 5))
        allowed = np.ones((4, 5), bool)
        f = solver_loss(among, make(), cost_ndims=1, per_instance=["allowed"])
        f(c, true_costs=true, allowed=allowed)  # all instances share their feasible set
        allowed[2, 0] = False
        for data in (allowed, torch.tensor(allowed), allowed.tolist()):
            fresh = solver_loss(among, make(), cost_ndims=1, per_instance=["allowed"])
            with pytest.raises(ValueError, match=r"different allowed= may have different feasible sets.*key="):
                fresh(c, true_costs=true, allowed=data)
        with pytest.raises(ValueError, match="different feasible sets"):  # different from those of an earlier call
            f(c[:1], true_costs=true[:1], allowed=allowed[2:3])
        with pytest.raises(ValueError, match="different feasible sets"):
            solver_loss(among, f.loss)(c[0], true_costs=true[0], allowed=allowed[2])
        names = [str(row) for row in allowed]

        def named(costs, *, allowed, key):
            return among(costs, allowed=allowed)

        keyed = solver_loss(named, make(key="key"), cost_ndims=1, per_instance=["allowed", "key"])
        keyed(c, true_costs=true, allowed=allowed, key=names)
        assert all(not s[0][0] for s in keyed.loss.pool.solutions(names[2]))

    def test_pool_forgets_the_oldest_solution(self):
        pool = SolutionPool(2)
        for row in np.eye(3):
            pool.add((row,))
        pool.add((np.eye(3)[1],))
        assert [int(s[0].argmax()) for s in pool.solutions()] == [2, 1]
        assert len(pool) == 2

    def test_bad_input_is_refused(self):
        c = torch.rand(3)
        with pytest.raises(TypeError, match="SPOPlus needs true_costs="):
            solver_loss(argmin_one_hot, SPOPlus())(c, target=c)
        with pytest.raises(TypeError, match="needs target or true_costs="):
            solver_loss(argmin_one_hot, FenchelYoung())(c)
        with pytest.raises(ValueError, match=r"target\[0\] must have shape \(3,\), got \(2,\)"):
            solver_loss(argmin_one_hot, FenchelYoung())(c, target=c[:2])
        with pytest.raises(ValueError, match="true_costs\\[0\\] must be finite"):
            solver_loss(argmin_one_hot, SPOPlus())(c, true_costs=c * math.nan)
        with pytest.raises(ValueError, match="zeros and ones"):
            solver_loss(argmin_one_hot, StructuredSVM())(c, target=c)
        with pytest.raises(TypeError, match="loss must be a loss"):
            solver_loss(argmin_one_hot, "SPO+")
        with pytest.raises(ValueError, match="reduction must be one of"):
            solver_loss(argmin_one_hot, SPOPlus(), reduction="max")
        for bad in (
            lambda: StructuredSVM(0),
            lambda: Ranking("x"),
            lambda: Contrastive("x"),
            lambda: Contrastive(share=2),
        ):
            with pytest.raises(ValueError, match="must"):
                bad()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", [StructuredSVM(), SPOPlus()])
def test_true_costs_are_not_rounded_to_the_half_precision_of_predictions(loss, dtype):
    true = torch.tensor([2049.0, 2048.0])
    found = []
    for kind in (torch.float32, dtype):
        costs = torch.zeros(2, dtype=kind, requires_grad=True)
        solver_loss(argmin_one_hot, loss, cost_ndims=1)(costs, true_costs=true).backward()
        found.append(costs.grad.float())
    assert torch.equal(*found)
    assert found[0].any()


def test_labelled_may_be_none_for_some_instances_of_a_list():
    loss = solver_loss(argmin_one_hot, StructuredSVM())
    costs, target = [torch.zeros(3), torch.ones(2)], [torch.eye(3)[0], torch.eye(2)[1]]
    whole = [torch.ones(3, dtype=torch.bool), torch.ones(2, dtype=torch.bool)]
    expected = loss(costs, target=target, labelled=whole)
    for labelled in ([whole[0], None], [None, whole[1]], [None, None]):
        assert torch.equal(loss(costs, target=target, labelled=labelled), expected)
