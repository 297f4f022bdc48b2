"""The training, validation and test split of a configuration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .coco import CocoPanoptic, DataError
from .config import Config
from .data import Dataset, Subset
from .scenes import Scenes


class Splits(NamedTuple):
    """Three data sets with the same categories; `test` chooses nothing."""

    train: Dataset
    validation: Dataset
    test: Dataset


def load_splits(config: Config) -> Splits:
    """Open the data of a resolved configuration.

    Raises
    ------
    DataError
        If the data on disk are missing or malformed, or a split would be empty.
    """
    d = config.dataset
    if config.data == "scenes":
        assert d.validation is not None and d.size is not None
        # Seeds of the splits are apart for every run seed, and the same scenes come whatever the counts are.
        return Splits(*(Scenes(n, seed, d.size) for seed, n in enumerate((d.train, d.validation, d.test))))
    if config.root is None:
        raise DataError("data='coco' needs the folder that holds annotations/: give --root")
    train, test = CocoPanoptic(config.root, "train"), CocoPanoptic(config.root, "val")
    if train.categories != test.categories:
        raise DataError(f"{train.json_path.name} and {test.json_path.name} have different categories")
    held_out = d.validation if d.validation is not None else max(1, len(train) // 5)
    if not 0 < held_out < len(train) or not len(test):
        raise DataError(
            f"validation={held_out} must leave training images: {train.json_path.name} has {len(train)} "
            f"and {test.json_path.name} {len(test)} annotations"
        )
    order = np.random.default_rng(0).permutation(len(train)).tolist()
    return Splits(Subset(train, order[held_out:]), Subset(train, order[:held_out]), test)
