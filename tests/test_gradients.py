"""Gradients against closed forms, the value function, and a second route written down independently."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from naive import brute_force

from diffcomb import Blackbox, Fixed, LiftedMWC, LogGrid, LogUniform, Relative, Uniform, amwc, grid_graph, multicut, mwc
from diffcomb import perturbed_grad as pg

GRAPH = grid_graph((2, 3))
TRIALS = range(8)


def argmin_one_hot(costs):
    return np.eye(len(costs))[costs.argmin()]


def costs_and_gradient(seed, *shapes):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes]


def cost_gradient(f, costs, grads, **data):
    costs = [c.clone().requires_grad_() for c in costs]
    outputs = f(*costs, **data)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward(outputs[: len(grads)], grads)
    return [c.grad for c in costs]


class TestEquation3:
    def test_closed_form(self):
        # w* = e_i, w*(c + λ g) = e_j: the gradient is (e_j - e_i) / λ.
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=4.0), cost_ndims=1)
        (grad,) = cost_gradient(f, [torch.tensor([0.0, 1.0, 5.0])], [torch.tensor([1.0, 0.0, 0.0])])
        assert grad.tolist() == [-0.25, 0.25, 0.0]
        (grad,) = cost_gradient(f, [torch.tensor([0.0, 1.0, 5.0])], [torch.tensor([0.2, 0.0, 0.0])])
        assert grad.tolist() == [0.0, 0.0, 0.0]

    @pytest.mark.parametrize("seed", TRIALS)
    def test_value_function_of_an_exact_solver(self, seed):
        """For L = <g, w> the interpolated loss is (V(c + λ g) - V(c)) / λ; its derivative is the gradient."""
        P, lam, h = [1], 3.0, 1e-6
        nodes, edges, gx, gy = costs_and_gradient(seed, (6, 2), (7,), (6, 2), (7,))
        solve = pg(amwc, estimator=Blackbox(lambdas=lam))
        gn, ge = cost_gradient(solve, [nodes, edges], [gx, gy], graph=GRAPH, partitionable=P, solver="exact")

        def value(cv, ce):
            def V(a, b):
                return amwc(GRAPH, a, b, P, solver="exact").objective

            return (V(cv + lam * gx, ce + lam * gy) - V(cv, ce)) / lam

        rng = np.random.default_rng(seed)
        for _ in range(6):
            dv, de = torch.tensor(rng.normal(size=(6, 2))), torch.tensor(rng.normal(size=7))
            slope = (value(nodes + h * dv, edges + h * de) - value(nodes - h * dv, edges - h * de)) / (2 * h)
            assert slope == pytest.approx(float((gn * dv).sum() + (ge * de).sum()), abs=1e-6)

    @pytest.mark.parametrize("seed", TRIALS)
    def test_second_route_by_brute_force(self, seed):
        nodes, edges, gx, gy = costs_and_gradient(seed, (4, 2), (4,), (4, 2), (4,))
        square = [(0, 1), (0, 2), (1, 3), (2, 3)]
        gn, ge = cost_gradient(
            pg(amwc, estimator=Blackbox(lambdas=2.0)), [nodes, edges], [gx, gy],
            graph=square, partitionable=[True, False], solver="exact",
        )  # fmt: skip
        eye = np.eye(2)
        _, x, y = brute_force(4, square, nodes.tolist(), edges.tolist(), [True, False])
        moved = ((nodes + 2 * gx).tolist(), (edges + 2 * gy).tolist())
        _, xp, yp = brute_force(4, square, *moved, [True, False])
        assert np.allclose(gn, (eye[list(xp)] - eye[list(x)]) / 2, atol=1e-12)
        assert np.allclose(ge, (np.array(yp) - np.array(y)) / 2, atol=1e-12)


class TestEquation4:
    def test_mean_over_scales_is_the_mean_of_equation_3(self):
        c, g = costs_and_gradient(0, (6,), (6,))
        g[c.argmin()] = 2.0  # so that the solution moves at some scale
        scales = (0.3, 1.0, 5.0, 50.0)
        (grad,) = cost_gradient(pg(argmin_one_hot, estimator=Blackbox(lambdas=scales)), [c], [g])
        single = [cost_gradient(pg(argmin_one_hot, estimator=Blackbox(lambdas=s)), [c], [g])[0] for s in scales]
        assert torch.allclose(grad, torch.stack(single).mean(0))
        assert any(s.abs().sum() > 0 for s in single)

    def test_scales_are_drawn_from_the_generator_for_every_instance(self):
        c, g = costs_and_gradient(1, (4, 6), (4, 6))
        estimator = Blackbox(lambdas=Uniform(0.5, 5.0, 3))
        f = pg(argmin_one_hot, estimator=estimator, generator=torch.Generator().manual_seed(3), cost_ndims=1)
        (grad,) = cost_gradient(f, [c], [g])
        scales = Uniform(0.5, 5.0, 3).sample(np.ones(4), np.ones(4), torch.Generator().manual_seed(3))
        for b, i in itertools.product(range(4), range(6)):
            expected = np.mean(
                [(argmin_one_hot((c[b] + s * g[b]).numpy()) - argmin_one_hot(c[b].numpy()))[i] / s for s in scales[b]]
            )
            assert float(grad[b, i]) == pytest.approx(expected, abs=1e-12)

    def test_the_default_generator_is_torchs(self):
        c, g = costs_and_gradient(2, (5, 9), (5, 9))
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=Uniform(0.1, 5, 2)), cost_ndims=1)
        grads = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            grads.append(cost_gradient(f, [c], [g])[0])
        assert torch.equal(grads[0], grads[1])
        assert not torch.equal(grads[0], grads[2])


class TestLift:
    def test_adjoint_identity(self):
        rng = np.random.default_rng(0)
        for classes in ([0, 1, 1, 2, 1], [2, 0], [], [1, -1, 0]):
            lift = LiftedMWC(classes, 3)
            c, z = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 7, len(classes)))
            assert np.vdot(lift.lift(c), z) == pytest.approx(np.vdot(c, lift.project(z)))
            assert torch.allclose(lift.lift(torch.tensor(c)), torch.tensor(lift.lift(c)))
            assert torch.allclose(lift.project(torch.tensor(z)), torch.tensor(lift.project(z)))

    @pytest.mark.parametrize("seed", TRIALS)
    def test_is_algorithm_1(self, seed):
        """Lines 1-5 written down for one λ, with fixed labels, against the wrapped solver."""
        P, lam = [1], 2.5
        nodes, edges = costs_and_gradient(seed, (6, 2), (7,))
        s = amwc(GRAPH, nodes, edges, P, solver="exact")
        f = pg(amwc, estimator=Blackbox(lambdas=lam), lift=LiftedMWC())
        data = dict(graph=GRAPH, partitionable=P, solver="exact")
        z, _, clusters, m = f(nodes, edges, **data)
        assert clusters.tolist() == s.clusters.tolist()
        assert m.tolist() == [0] + [1] * (s.num_clusters - int((s.node_labels == 0).any()))
        assert (LiftedMWC(m, 2).project(z).argmax(1) == s.node_labels).all()
        gz, gy = costs_and_gradient(seed + 100, tuple(z.shape), (7,))
        gn, ge = cost_gradient(f, [nodes, edges], [gz, gy], **data)
        lifted = nodes[:, m] + lam * gz
        p = mwc(GRAPH, lifted, edges + lam * gy, solver="exact")
        xp = torch.eye(2, dtype=torch.float64)[m[p.node_labels]]
        x = torch.eye(2, dtype=torch.float64)[s.node_labels]
        assert torch.allclose(gn, (xp - x) / lam)
        assert torch.allclose(ge, (p.edge_labels.double() - s.edge_labels.double()) / lam)

    def test_a_fixed_map_gives_clusters_the_labels_of_their_class_in_order(self):
        nodes = torch.tensor([[0.0, 9], [9, 0], [9, 0], [0, 9]], dtype=torch.float64)
        edges = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
        path = [(0, 1), (1, 2), (2, 3)]
        f = pg(amwc, lift=LiftedMWC([1, 0, 1, 1], 2))
        z, *_ = f(nodes, edges, graph=path, partitionable=[1])
        assert z.argmax(1).tolist() == [1, 0, 2, 1]
        with pytest.raises(ValueError, match=r"1 label\(s\) of class 1, but the solution has 2"):
            pg(amwc, lift=LiftedMWC([0, 1], 2))(nodes, edges, graph=path, partitionable=[1])

    def test_spare_labels_let_a_new_cluster_open(self):
        # Both nodes lie in one cluster; the gradient wants node 1 out of it, and only a spare label can take it.
        nodes, edges = torch.tensor([[0.0], [0.0]]), torch.tensor([1.0])
        data = dict(graph=[(0, 1)], partitionable=[0])
        for spare, expected in ((0, 0.0), (1, 0.1)):
            f = pg(amwc, estimator=Blackbox(lambdas=10.0), lift=LiftedMWC(spare=spare))
            gz = torch.zeros(2, 1 + spare)
            gz[1, 0] = 1.0
            gz[0, 1:] = 1.0
            _, ge = cost_gradient(f, [nodes, edges], [gz], **data)
            assert float(ge[0]) == pytest.approx(expected)

    def test_a_batch_is_padded_and_padding_gets_no_gradient(self):
        nodes, edges = costs_and_gradient(0, (5, 6, 3), (5, 7))
        f = pg(amwc, estimator=Blackbox(lambdas=3.0), lift=LiftedMWC())
        data = dict(graph=GRAPH, partitionable=[1, 2])
        z, _, _, m = f(nodes, edges, **data)
        assert (m == -1).any()
        (gz,) = costs_and_gradient(9, tuple(z.shape))
        gn, ge = cost_gradient(f, [nodes, edges], [gz], **data)
        for b in range(5):
            J = int((m[b] >= 0).sum())
            assert not z[b, :, J:].any()
            one = cost_gradient(f, [nodes[b], edges[b]], [gz[b, :, :J]], **data)
            assert torch.equal(gn[b], one[0])
            assert torch.equal(ge[b], one[1])

    def test_a_fixed_map_of_a_lift_has_no_padding(self):
        with pytest.raises(ValueError, match=r"must not hold padding \(-1\), got \[0, -1, 1\]"):
            pg(mwc, lift=LiftedMWC([0, -1, 1], 2))(torch.zeros(6, 2), torch.zeros(7), graph=GRAPH)

    @pytest.mark.parametrize(
        "bad", [dict(label_classes=[0, 5], num_classes=2), dict(label_classes=[0.5]), dict(spare=-1)]
    )
    def test_bad_maps(self, bad):
        with pytest.raises(ValueError, match=r"label_classes|spare"):
            LiftedMWC(**bad)

    def test_wrong_axes(self):
        with pytest.raises(ValueError, match="2 classes on the last axis"):
            LiftedMWC([0, 1]).lift(np.zeros((4, 3)))
        with pytest.raises(ValueError, match="2 labels on the last axis"):
            LiftedMWC([0, 1]).project(np.zeros((4, 3)))
        with pytest.raises(ValueError, match="no map yet"):
            LiftedMWC().lift(np.zeros((4, 3)))


class TestStarts:
    def instance(self, seed=0):
        graph = grid_graph((8, 8), [(0, 1), (1, 0), (0, 3), (3, 0)])
        nodes, edges = costs_and_gradient(seed, (64, 3), (graph.num_edges,))
        return graph, 0.3 * nodes, edges

    def test_repair_gives_exactly_zero_as_lambda_vanishes_where_a_cold_start_need_not(self):
        found = {}
        for seed in TRIALS:
            graph, nodes, edges = self.instance(seed)
            for start, repair in itertools.product(("warm", "cold", "best"), (False, True)):
                estimator = Blackbox(lambdas=(1e-9, 1e-8), start=start, repair=repair)
                f = pg(amwc, estimator=estimator, lift=LiftedMWC())
                z, *_ = f(nodes, edges, graph=graph, partitionable=[1, 2])
                (gz,) = costs_and_gradient(1, tuple(z.shape))
                gn, ge = cost_gradient(f, [nodes, edges], [gz], graph=graph, partitionable=[1, 2])
                found[start, repair] = found.get((start, repair), 0) + int((gn != 0).sum() + (ge != 0).sum())
        assert [found[start, True] for start in ("warm", "cold", "best")] == [0, 0, 0]
        assert found["cold", False] > found["warm", False]  # the restlessness of a heuristic

    @pytest.mark.parametrize("start", ["cold", "warm", "best"])
    def test_a_repaired_gradient_never_points_uphill(self, start):
        uphill = 0
        for seed in range(20):
            graph, nodes, edges = self.instance(seed)
            gx, gy = costs_and_gradient(seed + 50, (64, 3), (graph.num_edges,))
            for repair in (False, True):
                f = pg(amwc, estimator=Blackbox(lambdas=(0.01, 0.1, 1.0), start=start, repair=repair))
                gn, ge = cost_gradient(f, [nodes, edges], [gx, gy], graph=graph, partitionable=[1], solver="greedy")
                slope = float((gx * gn).sum() + (gy * ge).sum())
                if repair:
                    assert slope <= 1e-9
                uphill += slope > 1e-9
        assert uphill > 0 or start != "cold"  # without the repair it does

    def test_repair_changes_nothing_for_an_exact_solver(self):
        nodes, edges, gx, gy = costs_and_gradient(3, (6, 2), (7,), (6, 2), (7,))
        data = dict(graph=GRAPH, partitionable=[1], solver="exact")
        for start in ("cold", "best"):
            pairs = [
                cost_gradient(
                    pg(amwc, estimator=Blackbox(lambdas=(0.5, 3.0), start=start, repair=repair)),
                    [nodes, edges],
                    [gx, gy],
                    **data,
                )
                for repair in (False, True)
            ]
            assert torch.allclose(pairs[0][0], pairs[1][0])
            assert torch.allclose(pairs[0][1], pairs[1][1])

    def test_best_is_never_worse_for_the_perturbed_costs(self):
        lam = 4.0
        for seed in TRIALS:
            graph, nodes, edges = self.instance(seed)
            gx, gy = costs_and_gradient(seed + 50, (64, 3), (graph.num_edges,))
            x, y, _ = pg(amwc)(nodes, edges, graph=graph, partitionable=[1])
            values = {}
            for start in ("cold", "warm", "best"):
                f = pg(amwc, estimator=Blackbox(lambdas=lam, start=start))
                gn, ge = cost_gradient(f, [nodes, edges], [gx, gy], graph=graph, partitionable=[1])
                moved = (nodes + lam * gx) * (x + lam * gn)
                values[start] = float(moved.sum() + ((edges + lam * gy) * (y + lam * ge)).sum())
            assert values["best"] == pytest.approx(min(values["cold"], values["warm"]))
            assert values["warm"] <= float(((nodes + lam * gx) * x).sum() + ((edges + lam * gy) * y).sum()) + 1e-9

    @pytest.mark.parametrize("lift", [None, LiftedMWC()])
    @pytest.mark.parametrize("start", ["cold", "warm"])
    def test_an_init_of_the_forward_solve_does_not_reach_the_perturbed_ones(self, start, lift):
        graph = grid_graph((4, 4))
        nodes, edges = costs_and_gradient(0, (16, 6), (graph.num_edges,))
        init = (np.full(16, 5), np.zeros(16, int))
        f = pg(amwc, estimator=Blackbox(lambdas=3.0, start=start), lift=lift)
        data = {"graph": graph, "partitionable": [1], "solver": "exact"}
        z, *_ = f(nodes, edges, **data)
        (gz,) = costs_and_gradient(1, tuple(z.shape))
        plain = cost_gradient(f, [nodes, edges], [gz], **data)
        with_init = cost_gradient(f, [nodes, edges], [gz], init=init, **data)
        assert all(torch.equal(a, b) for a, b in zip(plain, with_init, strict=True))

    def test_unknown_start(self):
        with pytest.raises(ValueError, match="'cold', 'warm', 'best', got 'hot'"):
            Blackbox(start="hot")


class TestCallables:
    """Any callable: several costs, auxiliary outputs, keyword data, batches, kinds of arrays."""

    def test_decorator_bare_and_with_options(self):
        @pg
        def bare(costs):
            return argmin_one_hot(costs)

        @pg(estimator=Blackbox(lambdas=2.0))
        def with_options(costs):
            """Keep me."""
            return argmin_one_hot(costs)

        assert with_options.__doc__ == "Keep me."
        assert with_options.__name__ == "with_options"
        c = torch.tensor([3.0, 1.0])
        assert bare(c).tolist() == with_options(c).tolist() == [0.0, 1.0]

    def test_two_costs_auxiliary_outputs_and_data(self):
        def solver(a, b, *, scale, name):
            return (a < 0) * 1.0, (b < 0) * 1.0, np.array([scale]), {"name": name}

        f = pg(solver, estimator=Blackbox(lambdas=1.0))
        a, b = torch.tensor([-1.0, 2.0], requires_grad=True), torch.tensor([[0.5]], requires_grad=True)
        x, y, scale, info = f(a, b, scale=7, name="me")
        assert (x.tolist(), y.tolist(), scale.tolist(), info) == ([1.0, 0.0], [[0.0]], [7], {"name": "me"})
        assert x.requires_grad
        assert not scale.requires_grad
        (x @ torch.tensor([3.0, 1.0]) - y.sum()).backward()
        assert a.grad.tolist() == [-1.0, 0.0]
        assert b.grad.tolist() == [[1.0]]

    def test_partial_requires_grad_and_unused_outputs(self):
        def solver(a, b):
            return (a < 0) * 1.0, (b < 0) * 1.0

        f = pg(solver, estimator=Blackbox(lambdas=1.0))
        a, b = torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.0])
        x, y = f(a, b)
        (x * 5).sum().backward()
        assert a.grad.tolist() == [-1.0]
        assert b.grad is None
        a, b = torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.0], requires_grad=True)
        x, y = f(a, b)
        y.sum().backward()
        assert a.grad.tolist() == [0.0]

    def test_a_zero_gradient_is_not_solved(self):
        calls = []

        def solver(c):
            calls.append(1)
            return (c < 0) * 1.0

        c = torch.ones(3, requires_grad=True)
        (pg(solver)(c) * 0).sum().backward()
        assert c.grad.tolist() == [0, 0, 0]
        assert len(calls) == 1

    def test_batch_axis_equals_a_loop_with_and_without_vectorization(self):
        c, g = costs_and_gradient(5, (6, 4), (6, 4))
        estimator = Blackbox(lambdas=(0.5, 3.0))
        loop = torch.stack(
            [cost_gradient(pg(argmin_one_hot, estimator=estimator), [a], [b])[0] for a, b in zip(c, g, strict=True)]
        )
        (threaded,) = cost_gradient(pg(argmin_one_hot, estimator=estimator, cost_ndims=1), [c], [g])

        def together(costs):
            assert costs.ndim == 2
            return np.eye(4)[costs.argmin(1)]

        (stacked,) = cost_gradient(pg(together, estimator=estimator, cost_ndims=1, vectorized=True), [c], [g])
        (alone,) = cost_gradient(pg(together, estimator=estimator, cost_ndims=1, vectorized=True), [c[0]], [g[0]])
        assert torch.allclose(loop, threaded)
        assert torch.allclose(loop, stacked)
        assert torch.allclose(loop[0], alone)

    def test_torch_solvers_and_per_instance_data(self):
        def solver(c, *, offset):
            assert isinstance(c, torch.Tensor)
            assert not c.requires_grad
            return (c + offset < 0).float()

        f = pg(solver, arrays="torch", cost_ndims=1, per_instance=["offset"])
        assert f(torch.zeros(2, 3), offset=[-1.0, 1.0]).tolist() == [[1, 1, 1], [0, 0, 0]]
        with pytest.raises(ValueError, match="one item for each of 2"):
            f(torch.zeros(2, 3), offset=[-1.0])
        named = pg(solver, arrays="torch", cost_ndims=np.int64(1), per_instance="offset")
        assert named(torch.zeros(2, 3), offset=[-1.0, 1.0]).tolist() == [[1, 1, 1], [0, 0, 0]]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    def test_dtypes_and_non_contiguous_costs(self, dtype):
        c = torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=dtype).T.requires_grad_()
        w = pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=4.0))(c)
        assert w.dtype == dtype
        w.sum().backward()
        assert c.grad.dtype == dtype
        assert c.grad.tolist() == [[-0.25, 0.0], [0.0, -0.25]]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    def test_cuda(self):
        c = torch.tensor([-1.0, 2.0], device="cuda", requires_grad=True)
        pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=4.0))(c).sum().backward()
        assert c.grad.is_cuda
        assert c.grad.tolist() == [-0.25, 0.0]

    def test_numpy_in_numpy_out(self):
        w = pg(argmin_one_hot)(np.array([2.0, 1.0]))
        assert isinstance(w, np.ndarray)
        assert w.tolist() == [0.0, 1.0]

    def test_an_empty_batch(self):
        c = torch.zeros(0, 4, requires_grad=True)
        w = pg(argmin_one_hot, cost_ndims=1)(c)
        w.sum().backward()
        assert w.shape == c.grad.shape == (0, 4)

    def test_no_grad_costs_no_extra_solve_and_there_is_no_second_derivative(self):
        c = torch.tensor([1.0, 2.0], requires_grad=True)
        f = pg(argmin_one_hot)
        with torch.no_grad():
            assert not f(c).requires_grad
        (grad,) = torch.autograd.grad((f(c) * c).sum(), c, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            grad.sum().backward()

    def test_solvers_of_this_package(self):
        edges = torch.randn(4, GRAPH.num_edges, requires_grad=True)
        y, clusters = pg(multicut)(edges, graph=GRAPH)
        assert (y.shape, clusters.shape) == ((4, 7), (4, 6))
        y.sum().backward()
        x, y, clusters = pg(mwc)(torch.randn(6, 3), torch.randn(7), graph=GRAPH)
        assert (x.sum(1) == 1).all()

    @pytest.mark.parametrize("shape", [(3,), (2, 3)])
    def test_a_solver_that_works_in_place_does_no_harm(self, shape):
        def rude(costs):
            costs -= 5
            return (costs < 0) * 1.0

        c = torch.ones(shape, requires_grad=True)
        for vectorized in (False, True):
            pg(rude, cost_ndims=1, vectorized=vectorized)(c).sum().backward()
            assert (c == 1).all()

    def test_changing_an_output_in_place_does_not_change_the_gradient(self):
        f = pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=10.0))
        for in_place in (False, True):
            c = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
            w = f(c)
            w = w.mul_(2.0) if in_place else w * 2.0
            (w * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
            assert c.grad.tolist() == pytest.approx([-0.1, 0.1, 0.0])

    def test_changing_the_costs_before_backward_is_noticed(self):
        p = torch.tensor([-1.0, 2.0], requires_grad=True)
        c = p * 1
        w = pg(lambda c: (c < 0) * 1.0)(c)
        with torch.no_grad():
            c.mul_(10)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            w.sum().backward()

    def test_a_solver_with_threads_of_its_own_does_not_deadlock(self):
        from concurrent.futures import ThreadPoolExecutor

        def solver(c):
            with ThreadPoolExecutor(1) as pool:
                batch = np.stack([c, c, c])
                return pool.submit(lambda: multicut([(0, 1), (1, 2), (0, 2)], batch).edge_labels[0]).result()

        assert pg(solver, cost_ndims=1)(torch.randn(12, 3)).shape == (12, 3)

    def test_odd_arrays(self):
        reverse = pg(lambda c: ((c < 0) * 1.0, np.arange(len(c))[::-1]))
        assert reverse(torch.ones(3))[1].tolist() == [2, 1, 0]
        mixed = pg(lambda c: (c * 0, np.array([1]) if c[0] > 0 else np.array([1.5])), cost_ndims=1)
        assert mixed(torch.tensor([[1.0], [-1.0]]))[1].tolist() == [[1.0], [1.5]]
        costs = np.ones(3, ">f8")
        costs.flags.writeable = False
        assert pg(argmin_one_hot)(costs).tolist() == [1.0, 0.0, 0.0]
        with pytest.raises(TypeError, match="numeric solutions, got dtype"):
            pg(lambda c: np.array(["a", "b"]))(torch.ones(2))

    def test_wrapped_solvers_can_be_copied_and_pickled(self):
        f = pickle.loads(pickle.dumps(copy.deepcopy(pg(multicut, estimator=Blackbox(lambdas=3.0)))))
        assert "Fixed(values=(3.0,))" in repr(f)
        assert f(torch.ones(7), graph=GRAPH)[0].tolist() == [0] * 7


class TestBadInput:
    @pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), [1.0, 0.0]])
    def test_lambda_must_be_positive(self, value):
        with pytest.raises(ValueError, match="λ must be positive"):
            Blackbox(lambdas=value)

    @pytest.mark.parametrize("schedule", [Uniform, LogUniform, LogGrid])
    def test_ranges(self, schedule):
        with pytest.raises(ValueError, match="low <= high"):
            schedule(5, 1, 3)
        with pytest.raises(ValueError, match="positive integer"):
            schedule(1, 5, 0)
        with pytest.raises(ValueError, match="λ must be positive"):
            schedule(0, 5, 3)
        with pytest.raises(ValueError, match="at least one"):
            Fixed([])
        with pytest.raises(TypeError, match="lambdas must be a schedule"):
            Blackbox(lambdas="many")

    def test_wrong_shapes_and_values_from_the_solver(self):
        c = torch.zeros(3)
        with pytest.raises(ValueError, match=r"shapes of its costs: expected \(3,\) for output 0, got \(2,\)"):
            pg(lambda c: c[:2])(c)
        with pytest.raises(ValueError, match="one solution for each of its 2 costs, got 1"):
            pg(lambda a, b: a)(c, c)
        with pytest.raises(ValueError, match="returned NaN"):
            pg(lambda c: c * np.nan)(c)

    def test_an_error_of_the_solver_tells_how_it_was_called(self):
        with pytest.raises(TypeError) as caught:
            pg(torch.sort)(torch.zeros(3))
        assert "numpy arrays of shape (3,)" in caught.value.__notes__[0]

    @pytest.mark.parametrize(
        ("costs", "options", "error", "message"),
        [
            ([], {}, TypeError, "at least one positional"),
            ([torch.zeros(3, dtype=torch.int64)], {}, TypeError, "floating-point"),
            ([[1.0, 2.0]], {}, TypeError, r"instance data such as graph= go by keyword; got \(list\)"),
            ([torch.tensor([1.0, float("nan")])], {}, ValueError, r"costs\[0\] must be finite"),
            ([torch.zeros(2, 3, 4)], {"cost_ndims": 1}, ValueError, "axes, or all one batch axis more"),
            ([torch.zeros(2), torch.zeros(2)], {"cost_ndims": (1, 1, 1)}, ValueError, "takes 3 cost tensor"),
            ([torch.zeros(2, 3), torch.zeros(4, 3)], {"cost_ndims": 1}, ValueError, "same batch size"),
            ([torch.zeros(2), np.zeros(2)], {}, ValueError, "one kind and on one device"),
        ],
    )
    def test_bad_costs(self, costs, options, error, message):
        with pytest.raises(error, match=message):
            pg(lambda *c: c, **options)(*costs)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"estimator": 5}, "estimator"),
            ({"arrays": "jax"}, "arrays"),
            ({"generator": 3}, "generator"),
            ({"vectorized": True}, "cost_ndims"),
            ({"vectorized": True, "cost_ndims": 1, "lift": LiftedMWC()}, "lifted"),
            ({"solver": 3}, "callable"),
        ],
    )
    def test_bad_options(self, options, message):
        with pytest.raises((TypeError, ValueError), match=message):
            pg(options.pop("solver", argmin_one_hot), **options)

    def test_a_gradient_with_nan_is_refused(self):
        c = torch.tensor([1.0, 2.0], requires_grad=True)
        with pytest.raises(ValueError, match="gradient with respect to solution 0 holds NaN"):
            (pg(argmin_one_hot)(c) * float("nan")).sum().backward()

    def test_vectorized_solvers_cannot_be_warm_started(self):
        f = pg(lambda c: (c < 0) * 1.0, cost_ndims=1, vectorized=True, estimator=Blackbox(start="warm"))
        c = torch.ones(2, 3, requires_grad=True)
        with pytest.raises(ValueError, match="start='cold'"):
            f(c).sum().backward()


class TestSchedules:
    ONES = np.ones(2000)

    def sample(self, schedule, costs=None, grads=None, seed=0):
        costs = self.ONES if costs is None else costs
        return schedule.sample(costs, self.ONES if grads is None else grads, torch.Generator().manual_seed(seed))

    def test_shapes_ranges_and_distributions(self):
        for schedule in (Uniform(2, 200, 4), LogUniform(2, 200, 4), LogGrid(2, 200, 4)):
            s = self.sample(schedule)
            assert s.shape == (2000, 4)
            assert s.min() >= 2 * (1 - 1e-12)
            assert s.max() <= 200 * (1 + 1e-12)
        assert self.sample(Uniform(2, 200, 4)).mean() == pytest.approx(101, rel=0.03)
        assert np.log(self.sample(LogUniform(2, 200, 4))).mean() == pytest.approx(np.log(20), rel=0.03)
        assert self.sample(LogGrid(2, 200, 3))[0].tolist() == pytest.approx([2, 20, 200])
        assert (self.sample(Fixed([1, 3])) == [1.0, 3.0]).all()

    def test_relative_is_invariant_to_the_scale_of_loss_and_batch(self):
        c, g = costs_and_gradient(7, (5, 8), (5, 8))
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=Relative(LogGrid(0.1, 10, 4))), cost_ndims=1)
        (a,) = cost_gradient(f, [c], [g])
        (b,) = cost_gradient(f, [c], [g / 1000])
        assert a.abs().sum() > 0
        assert torch.allclose(a / 1000, b)
        absolute = pg(argmin_one_hot, estimator=Blackbox(lambdas=1.0), cost_ndims=1)
        assert not torch.allclose(
            cost_gradient(absolute, [c], [g])[0] / 1000, cost_gradient(absolute, [c], [g / 1000])[0]
        )

    @pytest.mark.parametrize("scale", [1e-25, 1e-30, 1e20, 1e30])
    def test_relative_is_invariant_at_any_scale_of_float32(self, scale):
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=Relative(1.0)))
        c, g = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])
        (expected,) = cost_gradient(f, [c], [g])
        (grad,) = cost_gradient(f, [c], [g * scale])
        assert expected.abs().sum() > 0
        assert torch.allclose(grad / scale, expected, rtol=1e-4)

    def test_a_scale_that_the_dtype_cannot_hold_is_refused(self):
        with pytest.raises(ValueError, match="not finite: the scales λ are too small"):
            cost_gradient(
                pg(lambda c: (c < 1) * 1.0, estimator=Blackbox(1e-40)), [torch.ones(1)], [-1e30 * torch.ones(1)]
            )

    def test_numbers_of_numpy_are_numbers(self):
        assert Blackbox(np.float32(2)).lambdas == Fixed(2.0)
        assert Blackbox(np.array([1.0, 2.0])).lambdas == Fixed([1.0, 2.0])
        assert Uniform(np.float64(1), 2, np.int64(3)).n == 3
        with pytest.raises(TypeError, match="lambdas"):
            Blackbox(lambdas="5")

    def test_relative_scales_each_instance_by_its_norms(self):
        s = self.sample(Relative([0.5, 2.0]), np.array([3.0, 0.0, 1.0]), np.array([6.0, 2.0, 0.0]))
        assert s.tolist() == [[0.25, 1.0], [0.25, 1.0], [0.5, 2.0]]
