"""The training, validation and test split of a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..config import Config, crop_size
from .cityscapes import Cityscapes
from .coco import CocoPanoptic
from .folder import Folder, folder_split, has_splits
from .held_out import RANDOM, hold_out, in_order_of_names
from .normalize import PERCENTILE, Stretched
from .sample_files import SampleFiles
from .samples import DataError, Dataset, Note, Subset, category_differences, refuse
from .scenes import Scenes

NEEDS = {"coco": "annotations/", "cityscapes": "leftImg8bit/ and gtFine/", "folder": "classes.json"}
NOTHING_LABELLED = (
    "no training image has a labelled pixel, all are void or belong to crowds, and nothing can be learned: do the "
    "labels belong to these classes, and to these images?"
)


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
    ValueError
        If settings of the splits contradict each other.
    """
    check_splits(config)
    d = config.dataset
    if d.overfit is not None:
        return Splits(*[_first_images(config, d.overfit)] * 3)
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
    ValueError
        If settings of the splits contradict each other.
    """
    check_splits(config)
    if config.data == "scenes" or config.dataset.overfit is not None:
        return getattr(load_splits(config), name)  # type: ignore[no-any-return]
    if name == "test":
        return open_images(config, test=True)
    train, validation = held_out(config, open_images(config, test=False))
    return train if name == "train" else validation


def held_out(config: Config, images: Dataset) -> tuple[Dataset, Dataset]:
    """Images to train on, and held-out images that select checkpoints."""
    d = config.dataset
    count = d.validation if d.validation is not None else max(1, len(images) // 5)
    if not 0 < count < len(images) - d.gap:
        raise DataError(_too_few(config, images, count))
    kept, chosen = hold_out(images.image_keys(), count, d.held_out, d.gap)
    return Subset(images, kept), Subset(images, chosen)


def _too_few(config: Config, images: Dataset, count: int) -> str:
    """What to do if `count` images for validation leave none for training."""
    gap, drawn = config.dataset.gap, isinstance(images, Subset)  # the test images are then from the same folder
    has = len(images.dataset) if isinstance(images, Subset) else len(images)
    test = f"the test split takes {max(1, has // 5)}{_beside(gap)}, " if drawn else ""
    needed = count + gap + 1
    while drawn and needed - max(1, needed // 5) - gap <= count + gap:
        needed += 1
    smaller = " or ".join(["--dataset.validation"] * (count > 1) + ["--dataset.gap"] * (gap > 0))
    return (
        f"{config.root} has {has} {'' if drawn else 'training '}images: {test}the validation split needs {count}"
        f"{_beside(gap)}, and none is left for training: add images (at least {needed} are needed), "
        f"{f'pass a smaller {smaller}, ' if smaller else ''}or pass --overfit 1 to train on one as a first test"
    )


def files_of(data: Dataset) -> list[SampleFiles]:
    """The files of every sample of a data set on disk."""
    if isinstance(data, Subset):
        files = files_of(data.dataset)
        return [files[i] for i in data.indices]
    assert isinstance(data, (Folder, CocoPanoptic, Cityscapes))
    return data.files()


def check_labelled(config: Config, train: Dataset) -> None:
    """Raise a DataError if no training image has a labelled pixel; reads images until one has."""
    if not any((train[i].class_map() >= 0).any() for i in range(len(train))):
        raise DataError(f"{config.root or config.data}: {NOTHING_LABELLED}")


def _first_images(config: Config, count: int) -> Dataset:
    """The first images of those for training, in the order of their file names; a folder may hold a single one."""
    images: Dataset
    if config.data == "scenes":
        images = load_splits(replace(config, dataset=replace(config.dataset, overfit=None))).train
    elif config.data == "folder" and config.root is not None and not has_splits(config.root):
        images = Folder(config.root, None, config.dataset.normalize)
    else:
        images = open_images(config, test=False)
    if not 0 < count <= len(images):
        raise DataError(f"overfit={count} must be the number of some training images: there are {len(images)}")
    return Subset(images, in_order_of_names(images.image_keys())[:count])


def check_splits(config: Config) -> None:
    """Raise a ValueError if settings of the splits contradict each other."""
    d = config.dataset
    if d.validation is not None and d.validation < 1:
        raise ValueError(f"dataset.validation must be at least 1, got {d.validation}")
    if d.gap < 0:
        raise ValueError(f"dataset.gap must not be negative, got {d.gap}")
    if d.gap and d.held_out == RANDOM:
        raise ValueError(f"dataset.gap={d.gap} needs dataset.held_out=last: images held out at random have no gap")
    if config.data == "scenes" and d.held_out != RANDOM:
        raise ValueError(f"dataset.held_out={d.held_out} is for images from files: scenes are drawn at random")


def open_images(config: Config, test: bool, note: Note = refuse) -> Dataset:
    """Images of a data set on disk, either those for training or those for testing."""
    if config.root is None:
        raise DataError(f"data={config.data!r} needs the folder that holds {NEEDS[config.data]}: give --root")
    split, normalize = "val" if test else "train", config.dataset.normalize
    found: Dataset
    if config.data == "folder":
        found = folder_split(config.root, test, config.dataset.held_out, config.dataset.gap, normalize, note)
    elif config.data == "cityscapes":
        found = Cityscapes(config.root, split, normalize, note)
    else:
        found = CocoPanoptic(config.root, split, normalize, note)
    if not len(found):
        raise DataError(f"{config.root} holds no image in the split {split!r}{_beside(config.dataset.gap)}")
    return found


def _beside(gap: int) -> str:
    return f" beside a gap of {gap}" if gap else ""
