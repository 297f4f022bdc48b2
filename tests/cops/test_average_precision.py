"""AP of images with more segments than the 100 that COCO's evaluation takes of a class."""

import numpy as np
import pytest
from cops.data.samples import Category, Prediction, Sample, Segment
from cops.scores.average_precision import AveragePrecision

CATEGORIES = (Category(1, "cell", True, (0, 0, 0)),)


@pytest.mark.parametrize("rows", [3, 15])
def test_every_predicted_segment_counts(rows):
    """Squares of 4 pixels with a border, all found; and one more image, where nothing is true."""
    squares = np.pad(np.ones((4, 4), np.int64), 1)
    ids = np.kron(np.arange(1, rows * 15 + 1).reshape(rows, 15), squares)
    segments = tuple(Segment(i, 0) for i in range(1, rows * 15 + 1))
    scores, image, none = tuple(np.linspace(1, 2, len(segments))), np.zeros((*ids.shape, 3), np.uint8), np.zeros(0)
    precision = AveragePrecision(CATEGORIES)
    precision.add(Sample("a", image, ids, segments), Prediction(ids, segments, scores, none, none, none, none))
    one = Prediction(np.minimum(ids, 1), (Segment(1, 0),), (0.5,), none, none, none, none)
    precision.add(Sample("b", image, np.zeros_like(ids), ()), one)
    found = precision.result()  # the segment that is false is the least sure of all
    assert found == {"AP": pytest.approx(100), "AP50": pytest.approx(100)}
