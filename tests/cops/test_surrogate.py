"""The surrogate against golden numbers, its gradient against finite differences, and its matching against brute force."""

import itertools

import numpy as np
import pytest
import torch
from cops.surrogate import PanopticQualitySurrogate, _match, slope_of_threshold, soft_threshold


def loss_of(masks, classes, truth, thresholds=(0.0, 0.0), variant="paper", slope=1000.0, **options):
    surrogate = PanopticQualitySurrogate(
        torch.tensor(thresholds, dtype=torch.float64), 1.0, weight=1.0, slope=slope, variant=variant, **options
    )
    return surrogate(masks[None], torch.tensor([classes]), torch.as_tensor(truth)[None])


def boxes(*parts, size=20):
    masks = torch.zeros(len(parts), size, size, dtype=torch.float64)
    for mask, (rows, columns) in zip(masks, parts, strict=True):
        mask[slice(*rows), slice(*columns)] = 1
    return masks


def test_slope_of_the_threshold_is_its_derivative():
    iou = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(soft_threshold(iou).sum(), iou)
    np.testing.assert_allclose(slope_of_threshold(iou.detach().numpy()), slope.numpy(), atol=1e-12)


def test_soft_threshold():
    h = soft_threshold(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    assert h.tolist() == pytest.approx([0.012195, 0.5, 0.987805], abs=1e-6)


def test_soft_rejection():
    sigma = torch.sigmoid(0.1 * (torch.tensor([210.0, 170.0]) - 200))
    assert sigma.tolist() == pytest.approx([0.731059, 0.047426], abs=1e-6)


@pytest.mark.parametrize(("variant", "pq"), [("paper", 0.6), ("reference", 0.591281)])
def test_loss_of_one_pair_with_iou_six_tenths(variant, pq):
    truth = np.full((20, 20), -1)
    truth[2:12, 2:12] = 1 + 2 * 1
    prediction = boxes(((2, 8), (2, 12)))
    assert 1 - float(loss_of(prediction, [1], truth, variant=variant)) == pytest.approx(pq, abs=1e-6)


@pytest.mark.parametrize(("variant", "pq"), [("paper", 0.461477), ("reference", 0.490962)])
def test_loss_of_two_segments_merged_into_one(variant, pq):
    truth = np.full((20, 20), -1)
    truth[2:9, 2:12] = 1 + 2 * 1
    truth[9:12, 2:12] = 1 + 2 * 2
    prediction = boxes(((2, 12), (2, 12)))
    assert 1 - float(loss_of(prediction, [1], truth, variant=variant)) == pytest.approx(pq, abs=1e-4)


@pytest.mark.parametrize(("variant", "pq"), [("paper", 0.909091), ("reference", 0.916667)])
def test_a_perfect_match_and_a_small_false_positive(variant, pq):
    truth = np.full((20, 20), -1)
    truth[2:12, 2:12] = 1 + 2 * 1
    truth[14:18, 14:18] = 0  # a false positive of 16 cells there, on stuff
    masks = boxes(((2, 12), (2, 12)), ((14, 18), (14, 18)), ((14, 18), (14, 18)))
    # The slope and threshold put sigma of the small one at .2 and that of the large one at 1.
    slope = np.log(4) / (17 - 16)
    surrogate = PanopticQualitySurrogate(torch.tensor([-1e9, 17.0], dtype=torch.float64), 1.0, 1.0, slope, variant)
    quality = surrogate.quality(masks[None], torch.tensor([[1, 1, 0]]), torch.as_tensor(truth)[None])
    assert float(quality[1]) == pytest.approx(pq, abs=1e-6)
    assert float(quality[0]) == pytest.approx(1.0)


def test_numerators_and_denominators_are_summed_over_the_batch():
    truth = np.full((2, 20, 20), -1)
    truth[:, 2:12, 2:12] = 1 + 2 * 1
    hit, miss = boxes(((2, 12), (2, 12))), boxes(((14, 18), (14, 18)))
    truth[1, 14:18, 14:18] = 0
    surrogate = PanopticQualitySurrogate(torch.zeros(2), 1.0, 1.0, slope=1000.0)
    quality = surrogate.quality(torch.stack([hit, miss]), torch.tensor([[1], [1]]), torch.as_tensor(truth))
    # thing: one TP of IoU 1, one FP, one FN -> 1 / (1 + .5 + .5); stuff: one FN -> 0
    assert quality.tolist() == pytest.approx([0.0, 0.5])


def test_void_padding_and_empty_labels_do_not_count():
    truth = np.full((20, 20), -1)
    truth[2:12, 2:12] = 1 + 2 * 1
    masks = boxes(((2, 12), (2, 20)), ((0, 0), (0, 0)), ((0, 20), (0, 20)))
    assert float(loss_of(masks, [1, 0, -1], truth)) == pytest.approx(0.0, abs=1e-9)
    everything_void = np.full((20, 20), -1)
    assert float(loss_of(masks, [1, 0, -1], everything_void)) == 0.0


@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_gradient_against_finite_differences(variant):
    g = torch.Generator().manual_seed(0)
    masks = torch.rand(3, 6, 6, generator=g, dtype=torch.float64, requires_grad=True)
    truth = np.arange(36).reshape(6, 6) // 12 % 2 + 2 * (np.arange(36).reshape(6, 6) // 18)
    assert torch.autograd.gradcheck(
        lambda m: loss_of(m, [0, 1, 1], truth, thresholds=(5.0, 8.0), variant=variant, slope=0.1), masks
    )


def test_descent_on_masks_raises_the_quality():
    truth = np.zeros((20, 20), int)
    truth[2:12, 2:12] = 1 + 2 * 1
    masks = torch.cat([1 - boxes(((2, 10), (2, 12))), boxes(((2, 10), (2, 12)))]).requires_grad_()
    loss = loss_of(masks, [0, 1], truth, thresholds=(20.0, 20.0), slope=0.1)
    (gradient,) = torch.autograd.grad(loss, masks)
    missing = boxes(((10, 12), (2, 12)))[0].bool()
    assert (gradient[1][missing] < 0).all()  # the thing should grow there
    assert (gradient[0][missing] > 0).all()  # and the stuff should shrink


def test_matching_is_the_best_of_all_matchings():
    rng = np.random.default_rng(0)
    for _ in range(30):
        iou = torch.tensor(rng.random((3, 4)))
        classes, truth_classes = torch.tensor(rng.integers(0, 2, 3)), torch.tensor(rng.integers(0, 2, 4))
        weight = torch.where(classes[:, None] == truth_classes, iou, 0.0).numpy()
        rows, columns = _match(iou, iou, classes, truth_classes)
        assert (classes[rows] == truth_classes[columns]).all()
        best = max(sum(weight[i, c] for i, c in enumerate(chosen)) for chosen in itertools.permutations(range(4), 3))
        assert float(weight[rows, columns].sum()) == pytest.approx(best)


def test_unknown_variant_of_the_surrogate_is_refused():
    with pytest.raises(ValueError, match="'paper', 'reference'"):
        PanopticQualitySurrogate(torch.zeros(2), 1.0, variant="mine")


def test_loss_of_empty_batches_is_zero():
    surrogate = PanopticQualitySurrogate(torch.tensor([4.0, 4.0]), 1.0)
    for shape in ((0, 3, 4, 4), (2, 3, 0, 4)):
        z = torch.zeros(shape, requires_grad=True)
        loss = surrogate(
            z, torch.zeros(shape[:2], dtype=torch.int64), torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
        )
        loss.backward()
        assert loss == 0
