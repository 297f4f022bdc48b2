"""Scores of neurites as connectomics reports them: variation of information, and adapted Rand error.

Only pixels count that the truth gives to things. Its void, stuff and crowds are left out, and classes play no role.
What the prediction calls void or stuff is its background, which counts as in CREMI (github.com/cremi/cremi_python): for
the variation of information, all background is one segment; for the adapted Rand error, every pixel of it is a segment
of its own, as SNEMI3D defines it. CREMI also leaves out pixels near the true boundaries; here they count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from ..data.samples import VOID, Category, Prediction, Sample, Segment

BACKGROUND = 0  # the column of pixels that the prediction gives to no thing
READING = "VI_split and VI_merge (bits) and ARE (percent) are means over images, of true things; lower is better."


class NeuriteScores:
    """Means over images of VI_split, VI_merge and ARE; images without things are left out.

    Parameters
    ----------
    categories : sequence of Category
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = categories
        self._rows: list[tuple[float, float, float]] = []

    def add(self, sample: Sample, prediction: Prediction) -> None:
        """Add one image.

        Raises
        ------
        ValueError
            If sizes differ.
        """
        table = contingency(sample, prediction.ids, prediction.segments, self.categories)
        if table.nnz:
            self._rows.append((*variation_of_information(table), 100 * adapted_rand_error(table)))

    def result(self) -> dict[str, float]:
        """VI_split and VI_merge in bits, ARE in percent; lower is better; nan where the truth has no thing."""
        means = np.mean(self._rows, axis=0).tolist() if self._rows else [math.nan] * 3
        return dict(zip(("VI_split", "VI_merge", "ARE"), means, strict=True))


def contingency(
    sample: Sample, ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> coo_array:
    """How many pixels each true thing (row) shares with each predicted thing (column); column 0 is the background.

    Raises
    ------
    ValueError
        If sizes differ.
    """
    if ids.shape != sample.ids.shape:
        raise ValueError(f"{sample.name}: prediction {ids.shape} and ground truth {sample.ids.shape} differ in size")
    real = [s.id for s in sample.segments if categories[s.category].isthing and not s.iscrowd]
    things = [s.id for s in segments if categories[s.category].isthing]
    counted = np.isin(sample.ids, real)
    found = np.where(np.isin(ids, things), ids, VOID)[counted]
    numbers, rows = np.unique(sample.ids[counted], return_inverse=True)
    others, columns = np.unique(np.append(VOID, found), return_inverse=True)  # void comes first, found or not
    table = coo_array((np.ones(len(rows), np.int64), (rows, columns[1:])), shape=(len(numbers), len(others)))
    table.sum_duplicates()
    return table


def variation_of_information(table: coo_array) -> tuple[float, float]:
    """VI_split = H(prediction | truth) and VI_merge = H(truth | prediction) in bits (Meila, 2007)."""
    shared, (rows, columns) = table.data, table.coords
    split = shared @ np.log2(table.sum(1)[rows] / shared)
    merge = shared @ np.log2(table.sum(0)[columns] / shared)
    return float(split / shared.sum()), float(merge / shared.sum())


def adapted_rand_error(table: coo_array) -> float:
    """One minus the F score of precision and recall of pairs of pixels (SNEMI3D); a pixel pairs with itself, too."""
    inside = table.coords[1] != BACKGROUND
    alone = table.data[~inside].sum()  # each of these pixels is a segment of its own: one pair
    both = (table.data[inside] ** 2).sum() + alone
    predicted = (np.delete(table.sum(0), BACKGROUND) ** 2).sum() + alone
    return float(1 - 2 * both / ((table.sum(1) ** 2).sum() + predicted))
