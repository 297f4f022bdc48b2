"""Exact PQ against golden cases that panopticapi itself produced: 20×20 pixels, a square thing on stuff."""

import math

import numpy as np
import pytest
from cops.data.samples import Category, Sample, Segment
from cops.scores.quality import BoundaryPanopticQuality, PanopticQuality

CATEGORIES = (
    Category(1, "stuff", False, (0, 0, 0)),
    Category(2, "thing", True, (0, 0, 0)),
    Category(3, "other", True, (0, 0, 0)),
)
STUFF, THING, OTHER = 0, 1, 2


def canvas(*boxes):
    """Ids: 1 everywhere, then (id, rows, columns) painted over."""
    ids = np.ones((20, 20), np.int64)
    for value, rows, columns in boxes:
        ids[slice(*rows), slice(*columns)] = value
    return ids


def score(truth, real, found, predicted):
    quality = PanopticQuality(CATEGORIES)
    sample = Sample("x", np.zeros((20, 20, 3), np.uint8), truth, tuple(Segment(*s) for s in real))
    quality.add(found, tuple(Segment(*s) for s in predicted), sample)
    return quality


SQUARE = canvas((2, (2, 12), (2, 12)))
BOTH = [(1, STUFF), (2, THING)]
STUFF_ONLY = [(1, STUFF)]


@pytest.mark.parametrize(
    ("truth", "real", "found", "predicted", "pq", "classes"),
    [
        pytest.param(SQUARE, BOTH, SQUARE, BOTH, 1.0, 2, id="perfect"),
        pytest.param(SQUARE, BOTH, canvas((2, (2, 7), (2, 12))), BOTH, 0.428571, 2, id="IoU exactly .5"),
        pytest.param(SQUARE, BOTH, canvas((2, (2, 8), (2, 12))), BOTH, 0.741176, 2, id="IoU .6"),
        pytest.param(
            SQUARE, BOTH, canvas((0, (2, 12), (2, 12)), (2, (2, 8), (2, 12))), BOTH, 0.8, 2, id="IoU .6, rest void"
        ),
        pytest.param(SQUARE, BOTH, canvas((0, (2, 12), (2, 12))), STUFF_ONLY, 0.5, 2, id="thing predicted void"),
        pytest.param(canvas((0, (2, 12), (2, 12))), STUFF_ONLY, SQUARE, BOTH, 1.0, 1, id="FP on void is ignored"),
        pytest.param(
            canvas((0, (2, 12), (2, 10))), STUFF_ONLY, canvas((2, (2, 12), (2, 18))), BOTH, 0.375, 2,
            id="FP half on void counts",
        ),
        pytest.param(
            canvas((0, (12, 18), (2, 12)), (2, (2, 12), (2, 12))), BOTH, canvas((2, (2, 18), (2, 12))), BOTH, 1.0, 2,
            id="void beside a TP leaves the union",
        ),
        pytest.param(
            SQUARE, [(1, STUFF), (2, THING, True)], SQUARE, BOTH, 1.0, 1, id="prediction on a crowd of its class"
        ),
        pytest.param(
            SQUARE, [(1, STUFF), (2, OTHER, True)], SQUARE, BOTH, 0.5, 2, id="prediction on a crowd of another class"
        ),
        pytest.param(SQUARE, BOTH, SQUARE, [(1, STUFF), (2, OTHER)], 0.333333, 3, id="right mask, wrong class"),
        pytest.param(
            canvas((2, (2, 7), (2, 12)), (3, (7, 12), (2, 12))), [*BOTH, (3, THING)], SQUARE, BOTH, 0.5, 2,
            id="two instances merged",
        ),
        pytest.param(
            canvas((2, (2, 9), (2, 12)), (3, (9, 12), (2, 12))), [*BOTH, (3, THING)], SQUARE, BOTH, 0.733333, 2,
            id="70/30 merge",
        ),
    ],
)  # fmt: skip
def test_golden_cases(truth, real, found, predicted, pq, classes):
    quality = score(truth, real, found, predicted)
    assert quality.result()["PQ"] == pytest.approx(100 * pq, abs=1e-4)
    assert len(quality.per_class()) == classes


def test_details_of_the_golden_cases():
    half = score(SQUARE, BOTH, canvas((2, (2, 7), (2, 12))), BOTH)
    stuff, thing = half.per_class()
    assert stuff["PQ"] == pytest.approx(85.7143, abs=1e-4)
    assert (thing["TP"], thing["FP"], thing["FN"]) == (0, 1, 1)
    truth = canvas((2, (2, 9), (2, 12)), (3, (9, 12), (2, 12)))
    merged = score(truth, [*BOTH, (3, THING)], SQUARE, BOTH)
    assert merged.per_class()[1]["PQ"] == pytest.approx(46.6667, abs=1e-4)
    result = merged.result()
    assert (result["SQ"], result["RQ"]) == (pytest.approx(85.0), pytest.approx(83.3333, abs=1e-4))
    assert (result["PQ_th"], result["PQ_st"]) == (pytest.approx(46.6667, abs=1e-4), pytest.approx(100.0))


def test_areas_record_which_true_segments_were_found():
    quality = score(SQUARE, BOTH, canvas((2, (2, 7), (2, 12))), BOTH)
    assert sorted(quality.areas) == [(STUFF, 300, True), (THING, 100, False)]


def test_images_are_summed_before_ratios():
    quality = score(SQUARE, BOTH, SQUARE, BOTH)
    sample = Sample("y", np.zeros((20, 20, 3), np.uint8), SQUARE, tuple(Segment(*s) for s in BOTH))
    quality.add(canvas(), (Segment(1, STUFF),), sample)
    thing = quality.per_class()[1]
    assert (thing["TP"], thing["FN"]) == (1, 1)
    assert thing["PQ"] == pytest.approx(100 / 1.5)


def test_scores_are_nan_where_nothing_can_be_scored():
    assert all(math.isnan(v) for v in PanopticQuality(CATEGORIES).result().values())
    void = np.zeros((20, 20), np.int64)
    quality = score(void, [], canvas(), STUFF_ONLY)  # a prediction on void is ignored
    assert all(math.isnan(v) for v in quality.result().values())
    only_stuff = score(canvas(), STUFF_ONLY, canvas(), STUFF_ONLY).result()
    assert only_stuff["PQ"] == only_stuff["PQ_st"] == 100
    assert math.isnan(only_stuff["PQ_th"])


@pytest.mark.parametrize("make", [PanopticQuality, BoundaryPanopticQuality])
def test_listed_segment_without_pixels_is_missed_and_a_crowd_is_not(make):
    """The official evaluation counts what segments_info lists."""
    quality = make(CATEGORIES)
    real = (Segment(1, STUFF), Segment(2, THING), Segment(3, THING), Segment(4, OTHER, True))
    sample = Sample("x", np.zeros((20, 20, 3), np.uint8), SQUARE, real)
    quality.add(SQUARE, tuple(Segment(*s) for s in BOTH), sample)
    stuff, thing = quality.per_class()
    assert (stuff["TP"], stuff["FN"], thing["TP"], thing["FP"], thing["FN"]) == (1, 0, 1, 0, 1)
    assert thing["PQ"] == pytest.approx(100 / 1.5)
    assert (THING, 0, False) in quality.areas


def test_bad_predictions_are_refused():
    with pytest.raises(ValueError, match=r"ids without a segment, e.g. 2"):
        score(SQUARE, BOTH, SQUARE, STUFF_ONLY)
    with pytest.raises(ValueError, match="differ in size"):
        score(SQUARE, BOTH, SQUARE[:10], BOTH)
