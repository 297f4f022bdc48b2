"""`gradcheck` accepts right solvers and estimators and rejects wrong ones; `diagnose` agrees with a naive count."""

import numpy as np
import pytest
import torch
from routes import GRAPH, argmin_one_hot, costs_and_gradient
from strategies import noisy_grid

from diffcomb import (
    LPGD,
    Blackbox,
    CentralDifference,
    LiftedMWC,
    PerturbedOptimizer,
    amwc,
    diagnose,
    gradcheck,
    multicut,
    mwc,
    perturbed_grad,
)
from diffcomb.gradients import GradcheckError

SCALES = (0.1, 1.0, 10.0)
CHECKED = [Blackbox(SCALES), CentralDifference(SCALES), LPGD(SCALES, envelope="upper"), LPGD(SCALES, envelope="lower")]


class TestGradcheck:
    @pytest.mark.parametrize("estimator", CHECKED)
    def test_exact_solvers_pass(self, estimator):
        nodes, edges = costs_and_gradient(0, (6, 2), (7,))
        data = dict(graph=GRAPH, solver="exact")
        assert gradcheck(argmin_one_hot, nodes[0], estimator=estimator)
        assert gradcheck(mwc, nodes, edges, estimator=estimator, **data)
        assert gradcheck(multicut, edges, estimator=estimator, **data)
        lifted = perturbed_grad(amwc, estimator=estimator, lift=LiftedMWC())
        assert gradcheck(lifted, nodes, edges, partitionable=[1], **data)

    @pytest.mark.nojit
    def test_exact_solver_passes_on_a_batch(self):
        (c,) = costs_and_gradient(0, (5, 6))
        assert gradcheck(perturbed_grad(argmin_one_hot, cost_ndims=1), c, estimator=Blackbox(2.0))

    @pytest.mark.nojit
    @pytest.mark.parametrize("estimator", CHECKED)
    def test_wrong_solvers_fail(self, estimator):
        (c,) = costs_and_gradient(0, (8,))

        def maximises(costs):
            return np.eye(len(costs))[costs.argmax()]

        def ignores_a_cost(costs):
            return np.eye(len(costs))[1 + costs[1:].argmin()]

        def not_linear(costs):
            return np.exp(-costs) / np.exp(-costs).sum()

        g = torch.zeros(8).double()
        g[int(c.argmin())] = 1
        assert gradcheck(ignores_a_cost, c, estimator=estimator)  # exact on a smaller feasible set
        for wrong in (maximises, not_linear):
            with pytest.raises(GradcheckError, match=r"not exact|slope"):
                gradcheck(wrong, c, estimator=estimator)
            assert not gradcheck(wrong, c, estimator=estimator, raise_exception=False)

    @pytest.mark.nojit
    def test_wrong_estimators_fail(self):
        (c,) = costs_and_gradient(0, (8,))

        class Halved(Blackbox):
            def gradients(self, oracle, grads, generator):
                return [tuple(p / 2 for p in parts) for parts in super().gradients(oracle, grads, generator)]

        with pytest.raises(GradcheckError, match="slope"):
            gradcheck(argmin_one_hot, c, estimator=Halved(10.0))

    @pytest.mark.nojit
    def test_heuristic_fails(self):
        graph, nodes, edges, P = noisy_grid((5, 5), K=3)
        with pytest.raises(GradcheckError, match="solver is not exact"):
            gradcheck(
                amwc, nodes, edges, graph=graph, partitionable=P, solver="greedy", estimator=Blackbox((0.1, 0.3, 1, 3))
            )

    @pytest.mark.nojit
    def test_what_cannot_be_checked_is_refused(self):
        (c,) = costs_and_gradient(0, (8,))
        for bad in (PerturbedOptimizer(), LPGD(1.0, rho=1.0)):
            with pytest.raises(TypeError, match="gradcheck knows"):
                gradcheck(argmin_one_hot, c, estimator=bad)
        for option in (dict(normalize=True), dict(radial=False)):
            with pytest.raises(TypeError, match="no normalize=True and no radial=False"):
                gradcheck(perturbed_grad(argmin_one_hot, estimator=Blackbox(1.0), **option), c)
        with pytest.raises(TypeError, match="fixed scales"):
            gradcheck(argmin_one_hot, c, estimator=Blackbox())
        with pytest.raises(TypeError, match=r"fixed scales, got Relative.*pass estimator=Blackbox\(\[0.1, 1, 10\]\)"):
            gradcheck(perturbed_grad(argmin_one_hot), c)
        assert gradcheck(perturbed_grad(argmin_one_hot), c, estimator=Blackbox([0.1, 1, 10]))


@pytest.mark.nojit
class TestDiagnose:
    def test_counts_agree_with_a_naive_count(self, capsys):
        c, g = costs_and_gradient(0, (50, 6), (50, 6))
        alphas = (1e-4, 0.3, 3.0, 1e3)
        f = perturbed_grad(argmin_one_hot, cost_ndims=1)
        found = diagnose(f, c, grads=g, scales=alphas)
        assert "unchanged" in capsys.readouterr().out
        for n, alpha in enumerate(alphas):
            lam = alpha * c.norm(dim=1) / g.norm(dim=1)
            changed = (c + lam[:, None] * g).argmin(1) != c.argmin(1)
            assert found.unchanged[n] == pytest.approx(1 - float(changed.double().mean()))
            assert found.nonzeros[n] == pytest.approx(2 * float(changed.double().mean()))
        assert found.unchanged[0] == 1
        assert found.unchanged[3] < 0.5
        assert not found.uphill.any()
        assert not found.inversions.any()
        assert (found.radial[1:] > 0).all()
        assert np.isnan(found.radial[0])
        assert found.count == 50

    def test_heuristic_shows_its_instability(self):
        rng = np.random.default_rng(0)
        nodes, edges = (torch.from_numpy(rng.normal(size=(30, *shape))) for shape in ((6, 2), (7,)))
        found = {
            solver: diagnose(
                perturbed_grad(amwc), nodes, edges, grads=lambda x, y, _: (x * nodes.sin()).sum() + (y**3).sum(),
                scales=(0.1, 1.0), verbose=False, graph=GRAPH, partitionable=[1], solver=solver,
            )
            for solver in ("exact", "greedy")
        }  # fmt: skip
        assert not found["exact"].inversions.any()
        assert not found["exact"].uphill.any()
        assert found["greedy"].inversions.any()

    def test_inversions_and_uphill_steps_of_a_bad_solver_are_counted(self):
        """The solver chooses the worst item unless the first cost is large, so its perturbed solutions are better."""

        def lazy(costs):
            return np.eye(3)[costs.argmax() if costs[0] < 5 else costs.argmin()]

        c, g = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 2.0]])
        found = diagnose(perturbed_grad(lazy, cost_ndims=1), c, grads=g, scales=[1e-3, 3.0], verbose=False)
        assert found.inversions.tolist() == [0, 1]  # from item 2, cost 3, to item 1, cost 2
        uphill = torch.tensor([[2.0, 0.5, 0.4]])  # at c + 2.5 g item 1 is cheapest, though its g exceeds item 2's
        alpha = 2.5 * float(uphill.norm() / c.norm())
        worse = diagnose(perturbed_grad(lazy, cost_ndims=1), c, grads=uphill, scales=[alpha], verbose=False)
        assert worse.uphill.tolist() == [1]

    def test_forbidden_entries_count_neither_in_norms_nor_in_perturbed_costs(self):
        allowed = [True, True, True, False]
        c, g = torch.tensor([0.0, 1.0, 2.0, 1e6]), torch.tensor([1.0, 0.0, 0.0, -100.0])
        masked = diagnose(perturbed_grad(argmin_one_hot, mask=allowed), c, grads=g, verbose=False)
        small = diagnose(argmin_one_hot, c[:3], grads=g[:3], verbose=False)
        np.testing.assert_array_equal(masked.unchanged, small.unchanged)
        assert 0 < masked.unchanged.sum() < len(masked.unchanged)

    def test_plot_is_drawn_and_bad_input_is_refused(self):
        pytest.importorskip("matplotlib")
        c, g = costs_and_gradient(0, (6,), (6,))
        found = diagnose(argmin_one_hot, c, grads=g, verbose=False)
        assert len(found.plot().axes) == 3
        assert len(str(found).splitlines()) == 15
        with pytest.raises(ValueError, match="grads must not be zero"):
            diagnose(argmin_one_hot, c, grads=torch.zeros(6))
        with pytest.raises(ValueError, match="scales must be positive"):
            diagnose(argmin_one_hot, c, grads=g, scales=[0.0])
        with pytest.raises(ValueError, match=r"grads\[0\] must have shape \(6,\), got \(3,\)"):
            diagnose(argmin_one_hot, c, grads=g[:3])
        with pytest.raises(ValueError, match="grads must be finite"):
            diagnose(argmin_one_hot, c, grads=g * np.nan)
        with pytest.raises(ValueError, match="a scalar that depends on the solutions"):
            diagnose(argmin_one_hot, c, grads=lambda w: torch.tensor(1.0))
        with pytest.raises(ValueError, match="one tensor for each of the 1 costs"):
            diagnose(argmin_one_hot, c, grads=[g, g])
        for start in ("auto", "best"):
            with pytest.raises(ValueError, match=f"start must be 'cold' or 'warm', got '{start}'"):
                diagnose(argmin_one_hot, c, grads=g, start=start)
