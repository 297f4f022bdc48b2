"""Scores of models as rows of a table, and lines on their differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .experiments import Experiment, interval

ALL_SCORES = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ", "AP", "mIoU", "PQ_b", "SQ_b", "RQ_b", "VI_split", "VI_merge", "ARE")
PANOPTIC = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ")


def rows_of(e: Experiment, names: Sequence[str], keys: Sequence[str]) -> list[dict[str, str]]:
    """One row a model: scores on the test split, mean and standard deviation over the seeds."""
    return [{"model": name, **{key: with_spread(e.table([name], key)[0]) for key in keys}} for name in names]


def difference(name: str, ours: np.ndarray, label: str, other: np.ndarray) -> str:
    """One line on the paired differences of two models over the seeds."""
    mean, half = interval(ours - other)
    spread = f" ± {half:.2f} (95 % interval)" if len(ours) > 1 else ""
    return f"- {name} minus {label}: {mean:+.2f}{spread}, better in {int((ours > other).sum())} of {len(ours)} seeds"


def seed_by_seed(name: str, ours: np.ndarray, label: str, other: np.ndarray) -> str:
    """That line, with the difference of every seed."""
    return f"{difference(name, ours, label, other)} ({', '.join(f'{value:+.1f}' for value in ours - other)})"


def to_the_first(e: Experiment, names: Sequence[str]) -> list[str]:
    """One line on the paired differences of each model to the first one."""
    first, *others = e.table(names, "PQ")
    return [difference(name, ours, names[0], first) for name, ours in zip(names[1:], others, strict=True)]


def with_spread(values: np.ndarray) -> str:
    """Mean and standard deviation over the seeds; a dash where there is nothing to score, as stuff in data without."""
    if np.isnan(values).all():
        return "-"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def two_digits(values: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.3f}" if "seconds" in name else f"{value:.2f}" for name, value in values.items()}
