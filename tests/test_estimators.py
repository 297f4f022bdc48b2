"""Every estimator agrees with a closed form and with a second, independent computation."""

import itertools
import math

import numpy as np
import pytest
import torch
from routes import GRAPH, TRIALS, argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    IMLE,
    LPGD,
    Adaptive,
    Blackbox,
    CentralDifference,
    Gumbel,
    LiftedMWC,
    LogGrid,
    NegativeIdentity,
    Normal,
    PerturbedOptimizer,
    Relative,
    StraightThrough,
    SumOfGamma,
    amwc,
)
from diffcomb import perturbed_grad as pg

MANY = 12_000


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def argmin_rows(costs):
    """A vectorized solver: the arg-min of every row of a batch."""
    out = np.zeros_like(costs)
    out[np.arange(len(costs)), costs.argmin(1)] = 1
    return out


def identity(costs):
    """Not an arg-min, but a function whose Jacobian is known to be I: a missing factor shows."""
    return costs


def softmin(c, sigma=1.0):
    return torch.softmax(-c / sigma, -1)


@pytest.mark.nojit
class TestCentralDifference:
    def test_gradient_matches_the_closed_form(self):
        f = pg(argmin_one_hot, estimator=CentralDifference(4.0), cost_ndims=1)
        (grad,) = cost_gradient(f, [torch.tensor([0.0, 1.0, 5.0])], [torch.tensor([1.0, 0.0, 0.0])])
        assert grad.tolist() == [-0.125, 0.125, 0.0]  # c + 4g: item 1; c - 4g: item 0

    @pytest.mark.parametrize("seed", TRIALS)
    def test_gradient_is_the_mean_of_black_box_on_both_sides(self, seed):
        c, g = costs_and_gradient(seed, (6, 7), (6, 7))
        scales = (0.3, 2.0)

        def gradient(estimator, g):
            return cost_gradient(pg(argmin_one_hot, estimator=estimator, cost_ndims=1), [c], [g])[0]

        both = (gradient(Blackbox(scales), g) - gradient(Blackbox(scales), -g)) / 2
        assert torch.allclose(gradient(CentralDifference(scales), g), both)


@pytest.mark.nojit
class TestLPGD:
    @pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
    @pytest.mark.parametrize("rho", [None, 0.3, 1.0, 3.0])
    def test_gradient_agrees_with_brute_force(self, envelope, rho):
        tau, changed = 1.5, 0
        candidates = torch.eye(5, dtype=torch.float64)
        for seed in range(40):
            c, g = costs_and_gradient(seed, (5,), (5,))
            best = candidates[(candidates @ c).argmin()]

            def perturbed(sign, c=c, g=g, best=best):
                value = candidates @ (c + sign * tau * g)
                if rho is not None:
                    value = value + ((candidates - best) ** 2).sum(1) / (2 * rho)
                return candidates[value.argmin()]

            lower, upper = (perturbed(1) - best) / tau, (best - perturbed(-1)) / tau
            expected = {"lower": lower, "upper": upper, "average": (lower + upper) / 2}[envelope]
            f = pg(argmin_one_hot, estimator=LPGD(tau, rho=rho, envelope=envelope), cost_ndims=1)
            (grad,) = cost_gradient(f, [c], [g])
            assert torch.allclose(grad, expected)
            changed += bool(grad.any())
        assert changed > 0

    def test_without_rho_it_equals_black_box_and_central_difference(self):
        c, g = costs_and_gradient(0, (6, 7), (6, 7))
        for mine, theirs in ((LPGD(2.0, envelope="lower"), Blackbox(2.0)), (LPGD(2.0), CentralDifference(2.0))):
            grads = [cost_gradient(pg(argmin_one_hot, estimator=e, cost_ndims=1), [c], [g])[0] for e in (mine, theirs)]
            assert torch.equal(*grads)

    def test_bad_input_is_refused(self):
        f = pg(identity, estimator=LPGD(1.0, rho=1.0))
        c = torch.tensor([0.5], requires_grad=True)
        with pytest.raises(ValueError, match="zeros and ones"):
            f(c).sum().backward()
        with pytest.raises(ValueError, match="envelope must be one of"):
            LPGD(1.0, envelope="middle")
        with pytest.raises(ValueError, match="rho must be positive"):
            LPGD(1.0, rho=0)


class TestIMLE:
    @pytest.mark.parametrize("central", [False, True])
    def test_gumbel_noise_gives_differences_of_soft_minima(self, central):
        c, g = costs_and_gradient(0, (4,), (4,))
        lam, sigma = 0.8, 0.7
        estimator = IMLE(lam, sigma=sigma, samples=MANY, central=central)
        f = pg(argmin_rows, estimator=estimator, cost_ndims=1, vectorized=True, generator=gen())
        leaf = c.clone().requires_grad_()
        w = f(leaf)
        assert torch.allclose(w, softmin(c, sigma), atol=0.02)
        (grad,) = torch.autograd.grad(w, leaf, g)
        low = c - lam * g if central else c
        expected = (softmin(c + lam * g, sigma) - softmin(low, sigma)) / (2 * lam if central else lam)
        assert torch.allclose(grad, expected, atol=0.02)
        assert expected.abs().max() > 0.1

    @pytest.mark.nojit
    @pytest.mark.parametrize("forward", ["noisy", "clean"])
    def test_without_noise_it_equals_black_box(self, forward):
        c, g = costs_and_gradient(1, (6, 5), (6, 5))
        estimator = IMLE((0.5, 3.0), sigma=1e-9, samples=3, forward=forward)
        (grad,) = cost_gradient(pg(argmin_one_hot, estimator=estimator, cost_ndims=1), [c], [g])
        (expected,) = cost_gradient(pg(argmin_one_hot, estimator=Blackbox((0.5, 3.0)), cost_ndims=1), [c], [g])
        assert torch.allclose(grad, expected)

    @pytest.mark.nojit
    def test_same_noise_is_used_on_both_sides(self):
        """A tiny λ changes no solution, so the gradient is 0 unless the two solves use different draws of the noise."""
        c, g = costs_and_gradient(1, (50, 5), (50, 5))
        for forward in ("noisy", "clean"):
            f = pg(argmin_one_hot, estimator=IMLE(1e-9, samples=4, forward=forward), cost_ndims=1)
            assert not cost_gradient(f, [c], [g])[0].any()

    @pytest.mark.nojit
    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_sum_of_gamma_has_the_moments_of_gumbel(self, k):
        draws = -SumOfGamma(k, terms=100).sample(np.random.default_rng(0), (k, 20_000)).sum(0)
        assert draws.mean() == pytest.approx(np.euler_gamma, abs=0.05)
        assert draws.var() == pytest.approx(math.pi**2 / 6, abs=0.08)


class TestPerturbedOptimizer:
    @pytest.mark.parametrize("baseline", ["leave-one-out", "solution", "none"])
    def test_gumbel_arg_min_is_soft_min_in_value_and_gradient(self, baseline):
        c, g = costs_and_gradient(0, (4,), (4,))
        sigma = 0.7
        estimator = PerturbedOptimizer(sigma, MANY, Gumbel(), baseline=baseline)
        f = pg(argmin_rows, estimator=estimator, cost_ndims=1, vectorized=True, generator=gen())
        leaf, reference = c.clone().requires_grad_(), c.clone().requires_grad_()
        w = f(leaf)
        assert torch.allclose(w, softmin(c, sigma), atol=0.02)
        (grad,) = torch.autograd.grad(w, leaf, g)
        (expected,) = torch.autograd.grad(softmin(reference, sigma), reference, g)
        assert torch.allclose(grad, expected, atol=0.05)
        assert expected.abs().max() > 0.1

    @pytest.mark.parametrize("multiplicative", [False, True])
    @pytest.mark.parametrize("sigma", [0.25, 0.5])
    def test_jacobian_of_the_identity_is_the_identity(self, sigma, multiplicative):
        c = torch.tensor([1.0, 2.0, -1.5], dtype=torch.float64)
        estimator = PerturbedOptimizer(sigma, MANY, multiplicative=multiplicative)
        f = pg(identity, estimator=estimator, cost_ndims=1, vectorized=True, generator=gen())
        assert torch.allclose(torch.func.jacrev(f)(c), torch.eye(3).double(), atol=0.08)

    def test_control_variate_lowers_the_variance_and_keeps_the_mean(self):
        c, g = costs_and_gradient(3, (5,), (5,))
        found = {}
        for baseline in ("none", "leave-one-out", "solution"):
            estimator = PerturbedOptimizer(1.0, 8, baseline=baseline)
            f = pg(argmin_rows, estimator=estimator, cost_ndims=1, vectorized=True, generator=gen())
            # Every solution has a single 1, so adding a constant to g changes the loss by a constant only.
            grads = torch.stack([cost_gradient(f, [c], [g + 3])[0] for _ in range(600)])
            found[baseline] = grads.mean(0), float(grads.var(0).sum())
        assert found["leave-one-out"][1] < 0.5 * found["none"][1]
        assert found["solution"][1] < 0.5 * found["none"][1]
        assert torch.allclose(found["leave-one-out"][0], found["solution"][0], atol=0.06)

    @pytest.mark.nojit
    def test_small_noise_finds_the_solution(self):
        c, _ = costs_and_gradient(0, (6, 5), (6, 5))
        w = pg(argmin_one_hot, estimator=PerturbedOptimizer(1e-9, 2), cost_ndims=1)(c)
        assert torch.equal(w, pg(argmin_one_hot, cost_ndims=1)(c))

    @pytest.mark.nojit
    def test_bad_options_are_refused(self):
        for bad, message in (
            (dict(sigma=0), "sigma must be positive"),
            (dict(samples=0), "samples must be a positive integer"),
            (dict(baseline="mean"), "baseline must be one of"),
            (dict(noise=Gumbel(), multiplicative=True), "multiplicative noise must be"),
        ):
            with pytest.raises(ValueError, match=message):
                PerturbedOptimizer(**bad)
        with pytest.raises(TypeError, match="must have a density"):
            PerturbedOptimizer(noise=SumOfGamma(3))
        f = pg(argmin_one_hot, estimator=PerturbedOptimizer(1.0, 2, multiplicative=True))
        with pytest.raises(ValueError, match="at a cost of 0"):
            f(torch.tensor([0.0, 1.0], requires_grad=True)).sum().backward()


@pytest.mark.nojit
class TestWithoutSolves:
    @pytest.mark.parametrize("axis", [None, -1, (0, 1)])
    @pytest.mark.parametrize("projection", ["none", "mean", "norm", "std"])
    def test_negative_identity_is_the_derivative_of_the_projection(self, projection, axis):
        c, g = costs_and_gradient(0, (4, 5), (4, 5))

        def P(c):
            dim = (0, 1) if axis is None else axis
            if projection in ("mean", "std"):
                c = c - c.mean(dim, keepdim=True)
            if projection == "norm":
                c = c / (c**2).sum(dim, keepdim=True).sqrt()
            if projection == "std":
                c = c / (c**2).mean(dim, keepdim=True).sqrt()
            return c

        f = pg(argmin_rows, estimator=NegativeIdentity(projection, axis))
        (grad,) = cost_gradient(f, [c], [g])
        expected = torch.autograd.functional.vjp(P, c, g)[1]
        assert torch.allclose(grad, -expected)

    def test_constant_costs_get_a_centred_gradient(self):
        f = pg(argmin_one_hot, estimator=NegativeIdentity("std"))
        (grad,) = cost_gradient(f, [torch.ones(3)], [torch.tensor([3.0, 0.0, 0.0])])
        assert grad.tolist() == [-2.0, 1.0, 1.0]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_rounding_does_not_blow_up_gradients_of_constant_rows(self, dtype):
        for K in range(2, 20):
            c = torch.full((4, K), 0.1, dtype=dtype)
            f = pg(argmin_rows, estimator=NegativeIdentity("std", axis=-1))
            (grad,) = cost_gradient(f, [c], [torch.arange(float(K), dtype=dtype).expand(4, K).contiguous()])
            assert grad.abs().max() < K

    def test_gradient_is_the_derivative_of_the_relaxation(self):
        c, g = costs_and_gradient(0, (4, 5), (4, 5))
        expected = torch.autograd.functional.vjp(lambda c: softmin(c, 0.5), c, g)[1]
        (grad,) = cost_gradient(pg(argmin_rows, estimator=StraightThrough(temperature=0.5)), [c], [g])
        assert torch.allclose(grad, expected)
        (grad,) = cost_gradient(pg(argmin_rows, estimator=StraightThrough(lambda c: -2 * c)), [c], [g])
        assert torch.allclose(grad, -2 * g)
        f = pg(argmin_rows, estimator=StraightThrough(lambda c: c.sum()))
        with pytest.raises(ValueError, match="shapes"):
            cost_gradient(f, [c], [g])


class TestAdaptive:
    def test_alpha_moves_both_ways_and_reaches_its_target(self):
        c, g = costs_and_gradient(0, (64, 20), (64, 20))
        for initial in (1e-6, 1e4):
            # A solution that changes has two nonzero entries: at this target, half of the instances change.
            schedule = Adaptive(target=1.0, initial=initial, rate=0.3)
            f = pg(argmin_one_hot, estimator=Blackbox(schedule), cost_ndims=1)
            for _ in range(120):
                (grad,) = cost_gradient(f, [c], [g])
            assert 0.3 < float((grad != 0).sum()) / 64 < 1.7
        assert 1e-4 < schedule.alpha < 100

    def test_samples_are_counted_one_by_one(self):
        c, g = costs_and_gradient(0, (64, 20), (64, 20))
        alphas = []
        for samples in (1, 10):
            schedule = Adaptive(target=1.0, initial=1.0, rate=0.3)
            estimator = IMLE(schedule, samples=samples, central=True)
            f = pg(argmin_one_hot, estimator=estimator, cost_ndims=1, generator=gen())
            for _ in range(40):
                cost_gradient(f, [c], [g])
            alphas.append(schedule.alpha)
        assert 1 / 4 < alphas[1] / alphas[0] < 4  # although the mean of ten samples has more nonzero entries

    @pytest.mark.nojit
    def test_instances_without_gradient_do_not_count(self):
        schedule = Adaptive(target=2.0, initial=1.0)
        f = pg(argmin_one_hot, estimator=Blackbox(schedule), cost_ndims=1)
        c, g = costs_and_gradient(0, (10, 5), (10, 5))
        cost_gradient(f, [c], [0 * g])
        assert schedule.alpha == 1.0

    @pytest.mark.nojit
    def test_state_can_be_saved_and_loaded(self):
        schedule = Adaptive(initial=0.5)
        schedule.observe(3.0)
        assert schedule.alpha < 0.5
        other = Adaptive()
        other.load_state_dict(schedule.state_dict())
        assert other.alpha == schedule.alpha
        assert other.state_dict() == schedule.state_dict()

    @pytest.mark.nojit
    def test_scales_are_relative(self):
        schedule = Adaptive(initial=0.5, factors=(1.0, 10.0))
        scales = schedule.sample(np.array([2.0, 4.0]), np.array([1.0, 8.0]), None)
        assert scales.tolist() == [[1.0, 10.0], [0.25, 2.5]]


@pytest.mark.nojit
class TestRelativeScales:
    """Scaling the loss, or averaging it over a larger batch, must not change the direction of the gradient."""

    @pytest.mark.parametrize("estimator", [Blackbox(Relative(LogGrid(0.01, 10, 4))), CentralDifference(Relative(1.0))])
    def test_gradient_is_proportional_to_the_loss(self, estimator):
        c, g = costs_and_gradient(0, (8, 6), (8, 6))
        f = pg(argmin_one_hot, estimator=estimator, cost_ndims=1)
        (one,) = cost_gradient(f, [c], [g])
        (scaled,) = cost_gradient(f, [c], [1000 * g])
        assert torch.allclose(scaled, 1000 * one)
        (twice,) = cost_gradient(f, [torch.cat([c, c])], [torch.cat([g, g]) / 2])
        assert torch.allclose(twice, torch.cat([one, one]) / 2)
        assert one.any()

    def test_gradient_of_an_absolute_scale_is_not(self):
        c, g = costs_and_gradient(0, (8, 6), (8, 6))
        f = pg(argmin_one_hot, estimator=Blackbox(1.0), cost_ndims=1)
        one, scaled = (cost_gradient(f, [c], [s * g])[0] for s in (1, 1000))
        assert not torch.allclose(scaled, 1000 * one)


@pytest.mark.nojit
class TestNormalisation:
    @pytest.mark.parametrize(
        "estimator",
        [Blackbox((0.3, 2.0)), CentralDifference(1.0), Blackbox(1.0, start="warm"), NegativeIdentity("none")],
    )
    def test_normalize_equals_normalising_in_torch(self, estimator):
        nodes, edges, gx, gy = costs_and_gradient(2, (6, 2), (7,), (6, 2), (7,))
        data = dict(graph=GRAPH, partitionable=[1])
        own = cost_gradient(pg(amwc, estimator=estimator, normalize=True), [nodes, edges], [gx, gy], **data)

        def by_hand(n, e, **data):
            length = torch.sqrt((n**2).sum() + (e**2).sum())
            return pg(amwc, estimator=estimator)(n / length, e / length, **data)

        expected = cost_gradient(by_hand, [nodes, edges], [gx, gy], **data)
        assert all(torch.allclose(a, b) for a, b in zip(own, expected, strict=True))
        assert any(a.any() for a in own)

    @pytest.mark.parametrize("lift", [None, LiftedMWC()])
    @pytest.mark.parametrize("options", [dict(radial=False), dict(normalize=True)])
    def test_gradient_has_no_component_along_the_costs(self, options, lift):
        nodes, edges = costs_and_gradient(2, (6, 2), (7,))
        data = dict(graph=GRAPH, partitionable=[1])
        slopes = []
        for chosen in (options, {}):
            f = pg(amwc, estimator=Blackbox(5.0), lift=lift, **chosen)
            g = costs_and_gradient(1, tuple(f(nodes, edges, **data)[0].shape))[0]
            gn, ge = cost_gradient(f, [nodes, edges], [g], **data)
            assert gn.any()
            slopes.append(float((gn * nodes).sum() + (ge * edges).sum()))
        assert abs(slopes[0]) < 1e-9 < slopes[1]


@pytest.mark.nojit
@pytest.mark.parametrize(
    "estimator",
    [
        CentralDifference((0.01, 0.1), repair=True),
        CentralDifference((0.01, 0.1), start="warm"),
        LPGD((0.01, 0.1), start="best"),
        LPGD(0.1, rho=1.0, repair=True),
        IMLE((0.01, 0.1), sigma=0.1, samples=2, start="best", repair=True),
        IMLE(0.1, sigma=0.1, samples=2, start="warm", central=True),
    ],
)
def test_starts_and_repair_change_nothing_for_an_exact_solver(estimator):
    nodes, edges, gx, gy = costs_and_gradient(3, (6, 2), (7,), (6, 2), (7,))
    data = dict(graph=GRAPH, partitionable=[1], solver="exact")
    f = pg(amwc, estimator=estimator, generator=gen(5))
    with_options = cost_gradient(f, [nodes, edges], [gx, gy], **data)
    fields = {name: getattr(estimator, name) for name in estimator.__dataclass_fields__}
    plain = type(estimator)(**{**fields, "start": "cold", "repair": False})
    expected = cost_gradient(pg(amwc, estimator=plain, generator=gen(5)), [nodes, edges], [gx, gy], **data)
    assert all(torch.allclose(a, b) for a, b in zip(with_options, expected, strict=True))


@pytest.mark.nojit
def test_scores_of_noise_have_the_expected_moments():
    for noise, seed in itertools.product((Normal(), Gumbel()), range(3)):
        xi = noise.sample(np.random.default_rng(seed), (200_000,))
        assert noise.score(xi).mean() == pytest.approx(0, abs=0.02)  # the expectation of a score is 0
        assert (noise.score(xi) * xi).mean() == pytest.approx(1, abs=0.05)  # by parts, that of <score, ξ> is 1
