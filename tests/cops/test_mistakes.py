"""Where a prediction is wrong: kinds of mistakes on drawn cases, and the same matches as panoptic quality."""

import numpy as np
import pytest
from cops.data.samples import Category, Sample, Segment
from cops.scores.mistakes import KINDS, find_mistakes
from cops.scores.quality import PanopticQuality
from hypothesis import given
from hypothesis import strategies as st
from prediction_files import prediction

CATEGORIES = (
    Category(1, "stuff", False, (0, 0, 0)),
    Category(2, "thing", True, (0, 0, 0)),
    Category(3, "other", True, (0, 0, 0)),
)
STUFF, THING, OTHER = 0, 1, 2


def row(*runs):
    """One row of pixels: (id, count), ..."""
    return np.repeat([i for i, _ in runs], [n for _, n in runs])[None]


def find(truth, real, found, predicted):
    sample = Sample("a", np.zeros((*truth.shape, 3), np.uint8), truth, tuple(Segment(*s) for s in real))
    return find_mistakes(sample, prediction(found, predicted), CATEGORIES)


def things(*numbers):
    return [(n, THING) for n in numbers]


@pytest.mark.parametrize(
    ("truth", "found", "true", "predicted"),
    [
        pytest.param(row((1, 10)), row((1, 10)), {}, {}, id="right"),
        pytest.param(row((1, 10)), row((0, 10)), {1: "missed"}, {}, id="nothing found"),
        pytest.param(row((1, 10), (2, 10)), row((1, 10), (0, 10)), {2: "missed"}, {}, id="one of two found"),
        pytest.param(row((1, 10)), row((1, 4), (0, 6)), {1: "missed"}, {1: "false"}, id="a part of it found"),
        pytest.param(row((1, 10)), row((1, 5), (2, 5)), {1: "split"}, {1: "split", 2: "split"}, id="halves"),
        pytest.param(row((1, 10)), row((1, 7), (2, 3)), {}, {2: "split"}, id="matched, with a fragment beside it"),
        pytest.param(
            row((1, 10)), row((1, 2), (2, 2), (0, 6)), {1: "missed"}, {1: "false", 2: "false"}, id="specks are no split"
        ),
        pytest.param(row((1, 5), (2, 5)), row((1, 10)), {1: "merged", 2: "merged"}, {1: "merged"}, id="two in one"),
        pytest.param(row((1, 10), (2, 10)), row((1, 12), (2, 8)), {}, {}, id="an outline two pixels beside the true one"),
        pytest.param(row((1, 7), (2, 3)), row((1, 10)), {2: "merged"}, {}, id="matched, and swallowed another"),
    ],
)  # fmt: skip
def test_kinds_of_mistakes(truth, found, true, predicted):
    real, results = (things(*(i for i in np.unique(ids).tolist() if i)) for ids in (truth, found))
    mistakes = find(truth, real, found, results)
    assert mistakes.true == true
    assert mistakes.predicted == predicted
    assert mistakes.counts["split"] == ("split" in predicted.values())
    assert mistakes.counts["merged"] == ("merged" in true.values())


def test_counts_name_each_mistake_once():
    truth = row((1, 10), (2, 5), (3, 5), (4, 10), (5, 10))
    found = row((1, 5), (2, 5), (3, 10), (0, 10), (4, 10))
    found[0, 22:25] = 6
    mistakes = find(truth, things(1, 2, 3, 4, 5), found, things(1, 2, 3, 4, 6))
    assert mistakes.counts == {"right": 1, "missed": 1, "false": 1, "split": 1, "merged": 1}


def test_things_of_another_class_and_stuff_are_neither_split_nor_merged():
    truth, halves = row((1, 10)), row((1, 5), (2, 5))
    other = find(truth, [(1, OTHER)], halves, things(1, 2))
    assert (other.true, other.predicted) == ({1: "missed"}, {1: "false", 2: "false"})
    stuff = find(halves, [(1, STUFF), (2, STUFF)], truth, [(1, STUFF)])
    assert (stuff.true, stuff.predicted) == ({1: "missed", 2: "missed"}, {1: "false"})


def test_thing_that_covers_more_stuff_than_things_is_false():
    truth, found = row((1, 2), (2, 2), (3, 8)), row((1, 12))
    mistakes = find(truth, [*things(1, 2), (3, STUFF)], found, things(1))
    assert (mistakes.true, mistakes.predicted) == ({1: "missed", 2: "missed", 3: "missed"}, {1: "false"})
    mistakes = find(truth, [*things(1, 2), (3, STUFF)], row((1, 7), (3, 5)), [*things(1), (3, STUFF)])
    assert (mistakes.true, mistakes.predicted) == ({1: "merged", 2: "merged"}, {1: "merged"})


def test_crowds_are_never_missed_and_predictions_on_them_never_false():
    truth = row((1, 10), (2, 10))
    mistakes = find(truth, [(1, THING, True), (2, THING)], row((1, 5), (3, 5), (2, 10)), things(1, 2, 3))
    assert (mistakes.true, mistakes.predicted) == ({}, {})
    assert mistakes.counts["right"] == 1


@given(st.integers(0, 2**31))
def test_mistakes_are_what_panoptic_quality_counts(seed):
    rng = np.random.default_rng(seed)
    truth, found = (rng.integers(0, 7, (5, 6)).repeat(rng.integers(1, 4), 1)[:, :6] for _ in range(2))
    classes = rng.integers(0, 3, 7).tolist()
    real = [(i, classes[i], bool(rng.random() < 0.2)) for i in range(1, 7)]
    predicted = [(i, (classes[i], THING)[rng.integers(2)]) for i in range(1, 7)]
    mistakes = find(truth, real, found, predicted)
    quality = PanopticQuality(CATEGORIES)
    sample = Sample("a", np.zeros((*truth.shape, 3), np.uint8), truth, tuple(Segment(*s) for s in real))
    quality.add(found, tuple(Segment(*s) for s in predicted), sample)
    _, right, false, missed = quality.table().sum(0)
    assert (mistakes.counts["right"], len(mistakes.predicted), len(mistakes.true)) == (right, false, missed)
    assert set(mistakes.true.values()) <= set(KINDS) - {"false"}
    assert set(mistakes.predicted.values()) <= set(KINDS) - {"missed"}
    assert (mistakes.counts["split"] == 0) == ("split" not in [*mistakes.true.values(), *mistakes.predicted.values()])
    assert (mistakes.counts["merged"] == 0) == ("merged" not in [*mistakes.true.values(), *mistakes.predicted.values()])
