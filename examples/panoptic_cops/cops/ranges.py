"""Which values every setting may have: a table, and the check of a configuration against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .config import Config, flat
from .recipes import RECIPES, SECTIONS


class Range(NamedTuple):
    """Which numbers are allowed, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


COUNT = Range("at least 1", lambda v: v >= 1)
NOT_NEGATIVE = Range("at least 0, and finite", lambda v: v >= 0)
POSITIVE = Range("above 0, and finite", lambda v: v > 0)
PART = Range("between 0 and 1", lambda v: 0 <= v <= 1)
SHARE = Range("above 0 and at most 1", lambda v: 0 < v <= 1)  # of the hardest cells: there must be one
DROPPED = Range("at least 0 and below 1", lambda v: 0 <= v < 1)  # what is left must be above 0
SEED = Range("between 0 and 2**63 - 1", lambda v: 0 <= v < 2**63)

OF_A_RUN = {
    COUNT: (
        "threads", "save_every", "dataset.train", "dataset.validation", "dataset.test", "dataset.shortest_edges",
        "model.distances", "pretrain.steps", "pretrain.accumulate", "finetune.steps", "finetune.accumulate",
        "finetune.evaluate_every", "finetune.search",
    ),
    NOT_NEGATIVE: (
        "pictures", "dataset.small_area", "dataset.reject_things", "dataset.reject_stuff", "model.effort",
        "pretrain.warmup", "pretrain.affinity_weight",
    ),
    POSITIVE: ("pretrain.lr",),
    PART: ("dataset.brightness", "pretrain.ramp"),
    SHARE: ("pretrain.semantic_share", "pretrain.affinity_share"),
    SEED: ("seed",),
}  # fmt: skip
OF_AN_OBJECTIVE = {
    COUNT: ("num_lambdas",),
    NOT_NEGATIVE: ("head_lr", "body_lr", "scale_lr", "svm_weight"),
    POSITIVE: ("lambda_low", "lambda_high", "weight", "margin", "sigma"),
    DROPPED: ("dropout", "average"),
    PART: ("means_until",),
}


def check_ranges(config: Config) -> None:
    """Check every number of a resolved configuration by itself, with those of models that are not trained.

    Raises
    ------
    ValueError
        If one is out of its range.
    """
    values = flat(config)
    for name, allowed in _ranges():
        value = values[name]
        for number in value if isinstance(value, list) else [value]:
            if number is not None and not (math.isfinite(number) and allowed.holds(number)):
                raise ValueError(f"{name} must be {allowed.words}, got {value}")
    if not config.model.distances:
        raise ValueError("model.distances must hold at least one distance, got []")
    if len(set(config.model.distances)) < len(config.model.distances):
        raise ValueError(f"model.distances must differ from each other, got {config.model.distances}")
    for section in SECTIONS:
        low, high = (values[f"{section}.lambda_{end}"] for end in ("low", "high"))
        if low > high:
            raise ValueError(f"{section}.lambda_high must be at least {section}.lambda_low={low}, got {high}")
        until = values[f"{section}.means_until"]
        if until > 0 and RECIPES[section].method != "scratch":
            raise ValueError(
                f"{section}.means_until is for models that are trained from scratch, got {until}: set it to 0"
            )


def _ranges() -> Iterator[tuple[str, Range]]:
    """Every setting that has a range, by the name that the command line gives it."""
    for table, sections in ((OF_A_RUN, [""]), (OF_AN_OBJECTIVE, [f"{name}." for name in SECTIONS])):
        yield from ((f"{s}{name}", allowed) for s in sections for allowed, names in table.items() for name in names)
