"""Square matrices: dense or sparse ones as the edges that they store, and correlations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, check_not_masked, to_numpy

ROUNDING = 8  # units in the last place of the largest entries of row and column, by which two triangles may differ


def triples(matrix: Any) -> tuple[Array, Array, Array, int]:
    """Rows, columns and values of what a square matrix stores, and its size; or say what is wrong with it."""
    import scipy.sparse as sparse  # takes longer to import than all else here

    if not hasattr(matrix, "tocoo"):
        check_not_masked(matrix, "the matrix")
        matrix = to_numpy(matrix)
        matrix = matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix  # which scipy does not know
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"from_scipy needs a square matrix (n, n), got shape {matrix.shape}")
        matrix = sparse.coo_array(matrix) if matrix.dtype.kind in "fiub" else matrix
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"from_scipy needs a matrix of real numbers, got dtype {matrix.dtype}")
    coo = matrix.tocoo()
    if len(coo.shape) != 2 or coo.shape[0] != coo.shape[1]:
        raise ValueError(f"from_scipy needs a square matrix (n, n), got shape {coo.shape}")
    bad = np.flatnonzero(np.isnan(coo.data))
    if len(bad):
        raise ValueError(
            f"from_scipy needs numbers, got {len(bad)} NaN, the first at [{coo.row[bad[0]]}, {coo.col[bad[0]]}]"
        )
    return coo.row, coo.col, coo.data, int(coo.shape[0])


def check_symmetric(row: Array, col: Array, costs: Array, n: int) -> None:
    """Raise a ValueError unless the two triangles are equal, but for what rounding makes of floating-point numbers."""
    import scipy.sparse as sparse  # takes longer to import than all else here

    wide = costs.astype(np.int64) if costs.dtype.kind in "ib" else costs  # narrow integers would wrap around
    above, below = row < col, row > col
    upper = sparse.coo_array((wide[above], (row[above], col[above])), shape=(n, n)).tocsr()
    lower = sparse.coo_array((wide[below], (col[below], row[below])), shape=(n, n)).tocsr()
    i, j = (upper != lower).nonzero()
    if not len(i):
        return
    a, b = (np.asarray(part[i, j]).ravel().astype(np.float64) for part in (upper, lower))
    largest, finite = np.zeros(n), np.isfinite(costs)
    for ends in (row, col):
        np.maximum.at(largest, ends[finite], np.abs(costs[finite].astype(np.float64)))
    size = np.sqrt(largest[i]) * np.sqrt(largest[j])  # as of the two variances of a covariance
    noise = ROUNDING * np.finfo(costs.dtype).eps * size if costs.dtype.kind == "f" else 0.0
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~(np.abs(a - b) <= noise))
    if len(wrong):
        w = wrong[0]
        raise ValueError(
            f"from_scipy needs a symmetric or triangular matrix, got one that is neither: {a[w]:g} at [{i[w]}, {j[w]}] "
            f"and {b[w]:g} at [{j[w]}, {i[w]}]; (A + A.T) / 2 is symmetric"
        )


def correlations(matrix: Any) -> Array:
    """A symmetric matrix of finite numbers in float64, without its diagonal; or say what is wrong with it."""
    check_not_masked(matrix, "the matrix")
    values = to_numpy(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"from_correlation needs a square matrix (n, n), got shape {values.shape}")
    if values.dtype.kind not in "fiub":
        raise TypeError(f"from_correlation needs a matrix of real numbers, got dtype {values.dtype}")
    largest = np.max(np.abs(values[np.isfinite(values)]), initial=0.0)
    if not np.allclose(values, values.T, atol=1e-8 * float(largest), equal_nan=True):
        raise ValueError("from_correlation needs a symmetric matrix; (A + A.T) / 2 is symmetric")
    values = values.astype(np.float64)
    np.fill_diagonal(values, 0.0)
    bad = np.argwhere(~np.isfinite(np.triu(values)))
    if len(bad):
        raise ValueError(
            f"from_correlation needs finite numbers, got {len(bad)} NaN or infinite, the first at {bad[0].tolist()}"
        )
    return values


def expected_correlations(values: Array) -> Array:
    """What sums of rows let expect of a symmetric matrix: products of those of either sign over the sum of all."""
    expected = np.zeros_like(values)
    scale = 2.0 ** max(int(np.frexp(np.abs(values).max(initial=0.0))[1]) - 1, 0)  # sums of huge values overflow
    for sign in (1, -1):
        strength = np.maximum(sign / scale * values, 0).sum(axis=1)
        if strength.any():
            expected += sign * scale * np.outer(strength, strength / strength.sum())
    return expected
