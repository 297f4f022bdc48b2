"""Schedules draw λ from the right range and distribution, and relative ones are invariant to scale."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import Blackbox, Fixed, LogGrid, LogUniform, Relative, Uniform
from diffcomb import perturbed_grad as pg


class TestSchedules:
    ONES = np.ones(2000)

    def sample(self, schedule, costs=None, grads=None, seed=0):
        costs = self.ONES if costs is None else costs
        return schedule.sample(costs, self.ONES if grads is None else grads, torch.Generator().manual_seed(seed))

    @pytest.mark.nojit
    def test_scales_have_the_expected_shape_range_and_distribution(self):
        for schedule in (Uniform(2, 200, 4), LogUniform(2, 200, 4), LogGrid(2, 200, 4)):
            s = self.sample(schedule)
            assert s.shape == (2000, 4)
            assert s.min() >= 2 * (1 - 1e-12)
            assert s.max() <= 200 * (1 + 1e-12)
        assert self.sample(Uniform(2, 200, 4)).mean() == pytest.approx(101, rel=0.03)
        assert np.log(self.sample(LogUniform(2, 200, 4))).mean() == pytest.approx(np.log(20), rel=0.03)
        assert self.sample(LogGrid(2, 200, 3))[0].tolist() == pytest.approx([2, 20, 200])
        assert (self.sample(Fixed([1, 3])) == [1.0, 3.0]).all()

    @pytest.mark.nojit
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

    @pytest.mark.nojit
    @pytest.mark.parametrize("scale", [1e-25, 1e-30, 1e20, 1e30])
    def test_relative_is_invariant_at_any_scale_of_float32(self, scale):
        f = pg(argmin_one_hot, estimator=Blackbox(lambdas=Relative(1.0)))
        c, g = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])
        (expected,) = cost_gradient(f, [c], [g])
        (grad,) = cost_gradient(f, [c], [g * scale])
        assert expected.abs().sum() > 0
        assert torch.allclose(grad / scale, expected, rtol=1e-4)

    def test_scale_that_the_dtype_cannot_hold_is_refused(self):
        with pytest.raises(ValueError, match="not finite: the scales λ are too small"):
            cost_gradient(
                pg(lambda c: (c < 1) * 1.0, estimator=Blackbox(1e-40)), [torch.ones(1)], [-1e34 * torch.ones(1)]
            )

    @pytest.mark.nojit
    def test_numpy_numbers_are_accepted(self):
        assert Blackbox(np.float32(2)).lambdas == Fixed(2.0)
        assert Blackbox(np.array([1.0, 2.0])).lambdas == Fixed([1.0, 2.0])
        assert Uniform(np.float64(1), 2, np.int64(3)).n == 3
        with pytest.raises(TypeError, match="lambdas"):
            Blackbox(lambdas="5")

    @pytest.mark.nojit
    def test_relative_scales_each_instance_by_its_norms(self):
        s = self.sample(Relative([0.5, 2.0]), np.array([3.0, 0.0, 1.0]), np.array([6.0, 2.0, 0.0]))
        assert s.tolist() == [[0.25, 1.0], [0.25, 1.0], [0.5, 2.0]]
