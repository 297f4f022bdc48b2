"""What may be wrong with data, and the settings that fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import Config, crop_size
from .normalize import FIXED
from .samples import Category, DataError, Dataset, Note, category_differences, noted
from .splits import NOTHING_LABELLED, check_splits, held_out, load_splits, open_images
from .statistics import Statistics, measure

TRAIN, VALIDATION, TEST = NAMES = ("training", "validation", "test")
SHOWN = 5  # names that a message lists
LOST = 0.05  # share of a kind's segments below the threshold from which another one is suggested, and left by that
ROUND = 32  # suggested crops are a multiple of it
LOW_CONTRAST = 100  # grey values, of 255, that most images use at least
DRAWN = {TRAIN: 5, VALIDATION: 0, TEST: 3}  # samples of the sheet


@dataclass
class Report:
    """Everything that a check has found.

    Attributes
    ----------
    errors : training, or its scores, would be wrong, or would stop there
    warnings : worth a look
    suggestions : {"setting", "value", "reason"}
    """

    categories: tuple[Category, ...] = ()
    splits: dict[str, Statistics] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    suggestions: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        splits = {name: found.summary(self.categories) for name, found in self.splits.items()}
        return {"splits": splits, "errors": self.errors, "warnings": self.warnings, "suggestions": self.suggestions}


def check(config: Config) -> Report:
    """Read everything that a resolved configuration names, once.

    Raises
    ------
    DataError
        If no split can be opened.
    ValueError
        If settings of the splits contradict each other.
    """
    report = Report()
    check_splits(config)
    datasets = open_all(config, report.errors.append)
    if not datasets:
        raise DataError("; ".join(dict.fromkeys(report.errors)))
    report.categories = next(iter(datasets.values())).categories
    for name, dataset in datasets.items():
        report.splits[name] = measure(dataset, name, DRAWN[name], report.errors.append)
    report.errors += duplicates(report.splits, across=True)
    train = report.splits.get(TRAIN)
    if train is not None and train.sizes and not any(train.areas.values()):
        report.errors.append(f"{config.root or config.data}: {NOTHING_LABELLED}")
    report.errors = list(dict.fromkeys(report.errors))  # splits of one folder have its problems in common
    report.warnings = [
        *duplicates(report.splits, across=False),
        *of_classes(report.splits, report.categories),
        *of_segments(report.splits, report.categories, config),
        *of_images(report.splits, config),
    ]
    report.suggestions = list(suggested(report.splits, report.categories, config))
    return report


def open_all(config: Config, note: Note) -> dict[str, Dataset]:
    """Every split that can be opened, by name; `note` gets what is wrong with the others."""
    if config.data == "scenes":
        return dict(zip(NAMES, load_splits(config), strict=True))
    train, test = (noted(note, open_images, config, test, note) for test in (False, True))
    found: dict[str, Dataset] = {}
    if train is not None:
        parts = noted(note, held_out, config, train)
        found |= {TRAIN: train} if parts is None else dict(zip((TRAIN, VALIDATION), parts, strict=True))
    if test is not None:
        found[TEST] = test
    if train is not None and test is not None:
        changed = category_differences(train.categories, test.categories, "the training split", "the test split")
        if changed is not None:
            note(f"{config.root}: the splits have different categories, and test figures are not comparable: {changed}")
            del found[TEST]
    return found


def duplicates(splits: Mapping[str, Statistics], across: bool) -> Iterator[str]:
    """Images with the same pixels: in the test split and another one, or in others."""
    where: dict[str, list[tuple[str, str]]] = {}
    for name, found in splits.items():
        for digest, names in found.names.items():
            where.setdefault(digest, []).extend((name, image) for image in names)
    for images in where.values():
        held_out_too = len({name == TEST for name, _ in images}) == 2
        if len(images) > 1 and held_out_too == across:
            named = _listed([f"{image} ({name})" for name, image in images])
            what = "an image of the test split is also in another one" if across else "images have the same pixels"
            yield f"{what}: {named}"


def of_classes(splits: Mapping[str, Statistics], categories: Sequence[Category]) -> Iterator[str]:
    """Classes that do not occur, or not where they should."""
    for k, category in enumerate(categories):
        there = {name for name, found in splits.items() if found.seen_in[k]}
        if not there:
            yield f"class {category.name!r} never occurs"
        elif TRAIN in splits and TRAIN not in there:
            yield f"class {category.name!r} occurs in {_and(there)} only: it cannot be learned"
        elif TEST in splits and TEST not in there:
            yield f"class {category.name!r} does not occur in the test split: it will not be scored"


def of_segments(splits: Mapping[str, Statistics], categories: Sequence[Category], config: Config) -> Iterator[str]:
    """Segments that are too small to be predicted, or have no pixels."""
    for k, category in enumerate(categories):
        areas = [a for found in splits.values() for a in found.areas[k]]
        setting = "reject_things" if category.isthing else "reject_stuff"
        least = getattr(config.dataset, setting)
        small = sum(a < least for a in areas)
        if small:
            yield (
                f"{small} of {len(areas)} segments of {category.name!r} ({100 * small / len(areas):.1f} %) are smaller "
                f"than --dataset.{setting} {least}: they count as missed"
            )
    empty = [name for found in splits.values() for name in found.empty]
    if empty:
        yield f"{len(empty)} listed segments have no pixel and count as missed: {_listed(empty)}"


def of_images(splits: Mapping[str, Statistics], config: Config) -> Iterator[str]:
    """Images that teach nothing, or are smaller than a crop."""
    height, width = crop_size(config.dataset.size or 1)
    for name, found in splits.items():
        if found.all_void:
            yield f"{len(found.all_void)} {name} images are void everywhere: {_listed(found.all_void)}"
    if TRAIN in splits and not config.dataset.shortest_edges:
        small = sum(h < height or w < width for h, w in splits[TRAIN].sizes)
        if small:
            yield (
                f"{small} of {len(splits[TRAIN].sizes)} training images are smaller than the crop of {height}x{width} "
                f"pixels (--dataset.size) and are padded with void"
            )


def suggested(
    splits: Mapping[str, Statistics], categories: Sequence[Category], config: Config
) -> Iterator[dict[str, Any]]:
    """Settings that fit better than those given, where the statistics of the data suggest another value."""
    learned = [found for name, found in splits.items() if name != TEST]  # settings are not chosen on the test split
    for setting, kind in (("reject_things", True), ("reject_stuff", False)):
        areas = [a for f in learned for k, c in enumerate(categories) if c.isthing == kind for a in f.areas[k]]
        least = getattr(config.dataset, setting)
        if _share(areas, least) > LOST:
            value = sorted(areas)[int(LOST * len(areas))]  # the largest bound below which no more of them lie
            yield _suggestion(setting, value, f"{100 * _share(areas, least):.1f} % of the "
                              f"{'things' if kind else 'stuff segments'} are smaller than {least}, and can only be "
                              f"missed; {100 * _share(areas, value):.1f} % are smaller than {value}")  # fmt: skip
    sizes = [size for found in learned for size in found.sizes]
    if sizes and not config.dataset.shortest_edges and config.data != "scenes":
        yield from _suggested_crop(sizes, [side for found in learned for side in found.longest], config)
    contrast = [c for found in learned for c in found.contrast]
    if contrast and np.median(contrast) < LOW_CONTRAST and config.dataset.normalize == FIXED:
        most = np.ceil(np.median(contrast))
        yield _suggestion("normalize", "percentile", f"half of the images use at most {most:.0f} of 255 grey values")


def _suggested_crop(sizes: list[tuple[int, int]], longest: list[int], config: Config) -> Iterator[dict[str, Any]]:
    crop = crop_size(config.dataset.size or 1)
    side = int(np.median([min(size) for size in sizes]))  # most images hold a square of that side
    room = max(ROUND, side // ROUND * ROUND)
    if np.mean([size[0] < crop[0] or size[1] < crop[1] for size in sizes]) > 0.5 and room < min(crop):
        yield _suggestion("size", room, f"half of the images have a side of {side} pixels or less")
        return
    long = float(np.percentile(longest, 95)) if longest else 0.0
    wanted = min(room, -(-int(1.5 * long) // ROUND) * ROUND)
    if long > min(crop) and wanted > min(crop):
        cut = 100 * (1 - _share(longest, min(crop) + 1))
        yield _suggestion("size", wanted, f"{cut:.1f} % of the things are longer than {min(crop)} pixels, and the crop "
                          f"{crop} cuts them")  # fmt: skip


def _share(values: Sequence[int], bound: int) -> float:
    """The share of the values that are smaller than a bound; 0 without values."""
    return float(np.mean(np.array(values) < bound)) if values else 0.0


def _suggestion(setting: str, value: Any, reason: str) -> dict[str, Any]:
    return {"setting": f"dataset.{setting}", "value": value, "reason": reason}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _and(names: set[str]) -> str:
    return " and ".join(name for name in NAMES if name in names)
