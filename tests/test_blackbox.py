"""Black-box gradients agree with closed forms, with the derivative of the value function, and with brute force."""

import itertools

import numpy as np
import pytest
import torch
from naive import brute_force
from routes import GRAPH, TRIALS, argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import Blackbox, LiftedMWC, Uniform, amwc, grid_graph
from diffcomb import perturbed_grad as pg


class TestEquation3:
    def test_gradient_matches_the_closed_form(self):
        # w* = e_i, w*(c + λ g) = e_j: the gradient is (e_j - e_i) / λ.
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=4.0), cost_ndims=1)
        (grad,) = cost_gradient(f, [torch.tensor([0.0, 1.0, 5.0])], [torch.tensor([1.0, 0.0, 0.0])])
        assert grad.tolist() == [-0.25, 0.25, 0.0]
        (grad,) = cost_gradient(f, [torch.tensor([0.0, 1.0, 5.0])], [torch.tensor([0.2, 0.0, 0.0])])
        assert grad.tolist() == [0.0, 0.0, 0.0]

    @pytest.mark.parametrize("seed", TRIALS)
    def test_gradient_is_the_derivative_of_the_interpolated_loss(self, seed):
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
    def test_gradient_agrees_with_brute_force(self, seed):
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


@pytest.mark.nojit
class TestEquation4:
    def test_gradient_of_several_scales_is_the_mean_over_scales(self):
        c, g = costs_and_gradient(0, (6,), (6,))
        g[c.argmin()] = 2.0  # so that the solution changes at some scale
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

    def test_default_generator_is_the_global_one_of_torch(self):
        c, g = costs_and_gradient(2, (5, 9), (5, 9))
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=Uniform(0.1, 5, 2)), cost_ndims=1)
        grads = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            grads.append(cost_gradient(f, [c], [g])[0])
        assert torch.equal(grads[0], grads[1])
        assert not torch.equal(grads[0], grads[2])


class TestStarts:
    def instance(self, seed=0):
        graph = grid_graph((8, 8), [(0, 1), (1, 0), (0, 3), (3, 0)])
        nodes, edges = costs_and_gradient(seed, (64, 3), (graph.num_edges,))
        return graph, 0.3 * nodes, edges

    def test_repaired_gradient_is_exactly_zero_for_tiny_lambda(self):
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
        assert found["cold", False] > found["warm", False]  # a heuristic is unstable

    @pytest.mark.parametrize("start", ["cold", "warm", "best"])
    def test_repaired_gradient_never_points_uphill(self, start):
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
        assert uphill > 0 or start != "cold"  # without the repair, some gradients do point uphill

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

    def test_start_best_keeps_the_better_of_cold_and_warm(self):
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
    def test_init_of_the_forward_solve_is_not_used_by_perturbed_solves(self, start, lift):
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

    def test_unknown_start_is_refused(self):
        with pytest.raises(ValueError, match="'cold', 'warm', 'best', got 'hot'"):
            Blackbox(start="hot")
