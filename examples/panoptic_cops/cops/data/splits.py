"""The training, validation and test split of a configuration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..config import Config, crop_size
from .cityscapes import Cityscapes
from .coco import CocoPanoptic
from .folder import folder_split
from .normalize import PERCENTILE, Stretched
from .samples import DataError, Dataset, Note, Subset, category_differences, refuse
from .scenes import Scenes

NEEDS = {"coco": "annotations/", "cityscapes": "leftImg8bit/ and gtFine/", "folder": "classes.json"}


class Splits(NamedTuple):
    """Three data sets with the same categories; `test` is held out and never used for selection."""

    train: Dataset
    validation: Dataset
    test: Dataset


def load_splits(config: Config, note: Note = refuse) -> Splits:
    """Open the data of a resolved configuration; `note` gets the problems with single files.

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
        scenes = [Scenes(n, seed, height) for seed, n in enumerate((d.train, d.validation, d.test))]
        return Splits(*(Stretched(s) if d.normalize == PERCENTILE else s for s in scenes))
    train, test = (open_images(config, test, note) for test in (False, True))
    changed = category_differences(train.categories, test.categories, "the training split", "the test split")
    if changed is not None:
        note(f"{config.root}: the splits have different categories: {changed}")
    return Splits(*held_out(config, train), test)


def load_split(config: Config, name: str) -> Dataset:
    """Open one split of a resolved configuration; the files of the others need not be there.

    Parameters
    ----------
    config : Config
    name : str
        "train", "validation" or "test".

    Raises
    ------
    DataError
        If the data on disk are missing or malformed, or the split is empty.
    """
    if config.data == "scenes":
        return getattr(load_splits(config), name)  # type: ignore[no-any-return]
    if name == "test":
        return open_images(config, test=True)
    train, validation = held_out(config, open_images(config, test=False))
    return train if name == "train" else validation


def held_out(config: Config, images: Dataset) -> tuple[Dataset, Dataset]:
    """Images to train on, and held-out images that select checkpoints."""
    validation = config.dataset.validation
    count = validation if validation is not None else max(1, len(images) // 5)
    if not 0 < count < len(images):
        raise DataError(f"validation={count} must leave training images: {config.root} has {len(images)}")
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    return Subset(images, order[count:]), Subset(images, order[:count])


def open_images(config: Config, test: bool, note: Note = refuse) -> Dataset:
    """Images of a data set on disk, either those for training or those for testing."""
    if config.root is None:
        raise DataError(f"data={config.data!r} needs the folder that holds {NEEDS[config.data]}: give --root")
    split, normalize = "val" if test else "train", config.dataset.normalize
    found: Dataset
    if config.data == "folder":
        found = folder_split(config.root, test, normalize, note)
    elif config.data == "cityscapes":
        found = Cityscapes(config.root, split, normalize, note)
    else:
        found = CocoPanoptic(config.root, split, normalize, note)
    if not len(found):
        raise DataError(f"{config.root} holds no image in the split {split!r}")
    return found
