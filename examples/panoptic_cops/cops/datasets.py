"""The training, validation and test split of a configuration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .cityscapes import Cityscapes
from .coco import CocoPanoptic, DataError
from .config import Config, crop_size
from .data import Dataset, Subset
from .folder import folder_splits
from .scenes import Scenes

NEEDS = {"coco": "annotations/", "cityscapes": "leftImg8bit/ and gtFine/", "folder": "classes.json"}


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
        height, width = crop_size(d.size)
        if height != width:
            raise ValueError(f"dataset.size must be one number for scenes, which are squares, got {d.size}")
        # Seeds of the splits are apart for every run seed, and the same scenes come whatever the counts are.
        return Splits(*(Scenes(n, seed, height) for seed, n in enumerate((d.train, d.validation, d.test))))
    if config.root is None:
        raise DataError(f"data={config.data!r} needs the folder that holds {NEEDS[config.data]}: give --root")
    train, test = _open(config.data, config.root)
    held_out = d.validation if d.validation is not None else max(1, len(train) // 5)
    if not 0 < held_out < len(train) or not len(test):
        raise DataError(
            f"validation={held_out} must leave training images: {config.root} has {len(train)} training "
            f"and {len(test)} test images"
        )
    order = np.random.default_rng(0).permutation(len(train)).tolist()
    return Splits(Subset(train, order[held_out:]), Subset(train, order[:held_out]), test)


def _open(data: str, root: str) -> tuple[Dataset, Dataset]:
    """Training and test images of a data set on disk."""
    if data == "folder":
        return folder_splits(root)
    if data == "cityscapes":
        return Cityscapes(root, "train"), Cityscapes(root, "val")
    train, test = CocoPanoptic(root, "train"), CocoPanoptic(root, "val")
    if train.categories != test.categories:
        raise DataError(f"{train.json_path.name} and {test.json_path.name} have different categories")
    return train, test
