"""Writes the own-data folder of docs/data.md: images, labels ``class · divisor + instance``, and classes.json."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ..data.folder import read_classes
from ..data.images import read_image, readable
from ..data.samples import DataError, first_double
from ..files import write_json, writing
from .shapes import Annotated, Instance
from .sources import Source

DIVISORS = (1000, 500, 400, 300, 200, 2000, 5000, 10000, 20000, 30000)  # of labels with 16 bits, by preference
NO_ANNOTATION = "images without annotation (with --background NAME they are taken, and show nothing else)"
NO_PIXEL = "instances without a pixel, as they lie outside of the image or below others"


@dataclass(frozen=True)
class Choice:
    """How labels become classes.

    Attributes
    ----------
    classes : all classes in their order; without them, those that the source lists or that occur
    stuff : names of those that are stuff
    void : labels whose pixels become void
    background : the stuff class of all pixels that no shape covers; they are void without it
    """

    classes: tuple[str, ...] = ()
    stuff: frozenset[str] = frozenset()
    void: frozenset[str] = frozenset()
    background: str | None = None


@dataclass
class Written:
    """What was written: images, instances by class, and whatever was left out."""

    out: Path
    images: int
    instances: Counter[str]
    skipped: dict[str, list[str]] = field(default_factory=dict)


class _Layout(NamedTuple):
    """What classes.json says, and the suffix of labels that hold such numbers."""

    numbers: dict[str, int]
    stuff: set[str]
    divisor: int

    @property
    def suffix(self) -> str:
        return ".png" if (max(self.numbers.values(), default=0) + 1) * self.divisor <= 2**16 else ".tif"


def write_folder(source: Source, out: Path, split: str | None, choice: Choice) -> Written:
    """Convert all images of a source; nothing is there under the final names before all are written.

    Raises
    ------
    DataError
        If `out` holds such data already, a class is unknown, an image cannot be read or has another size than its
        annotation, or two images would have one name.
    """
    base = out if split is None else out / split
    taken = [p for p in (base / "images", base / "labels") if p.exists()]
    other = [p for p in (out / "train", out / "val") if p.exists()] if split is None else [out / "images"]
    for path in (*taken, *(p for p in other if p.exists())):
        raise DataError(f"{path} exists: choose another --out, or delete it to convert anew")
    counts = [(image, image.labels()) for image in tqdm(source.images, desc="checking", unit="image")]
    layout, is_new = _layout(source, counts, out / "classes.json", choice)
    chosen = []
    for image, labels in counts:
        if choice.background is None and not set(labels) - choice.void:
            source.skip(NO_ANNOTATION, image.where)
        else:
            chosen.append(image)
    if not chosen:
        raise DataError("there is no annotated image to convert")
    names = _names(chosen)
    partial = base / ".partial"
    if partial.exists():  # of a call that was stopped
        shutil.rmtree(partial)
    for folder in ("images", "labels"):
        (partial / folder).mkdir(parents=True)
    written = Written(base, len(chosen), Counter(), source.skipped)
    for name, image in tqdm(zip(names, chosen, strict=True), total=len(chosen), desc="writing", unit="image"):
        _write(image, name, partial, layout, choice, written)
    if is_new:
        classes = [{"id": k, "name": n, "isthing": n not in layout.stuff} for n, k in layout.numbers.items()]
        write_json({"divisor": layout.divisor, "classes": classes}, out / "classes.json")
    for folder in ("images", "labels"):
        (partial / folder).rename(base / folder)
    partial.rmdir()
    return written


def _write(image: Annotated, name: str, folder: Path, layout: _Layout, choice: Choice, written: Written) -> None:
    """Write one image and its label."""
    height, width = read_image(image.image, image.where).shape[:2]
    if image.size is not None and image.size != (height, width):
        turned = "; one of them is turned: rotate the image itself" if image.size == (width, height) else ""
        raise DataError(
            f"{image.where}: the annotation is of an image of {image.size[1]}x{image.size[0]} pixels, but "
            f"{image.image} has {width}x{height}{turned}"
        )
    ids, instances = image.painted((height, width), layout.stuff)
    values = _values(ids, instances, layout, choice)
    present = np.bincount(ids.ravel(), minlength=len(instances) + 1)[1:] > 0
    for instance, seen in zip(instances, present, strict=True):
        if seen and instance.label in layout.numbers and instance.label not in layout.stuff:
            written.instances[instance.label] += 1
        elif not seen:
            written.skipped.setdefault(NO_PIXEL, []).append(f"{image.where} ({instance.label})")
    target = folder / "images" / (name + image.image.suffix)
    with writing(target):
        shutil.copyfile(image.image, target)
    path = folder / "labels" / (name + layout.suffix)
    with writing(path):
        if layout.suffix == ".png":
            Image.fromarray(values.astype(np.uint16)).save(path)
        else:
            Image.fromarray(values.astype(np.int32)).save(path, compression="tiff_adobe_deflate")


def _values(ids: NDArray[np.int64], instances: list[Instance], layout: _Layout, choice: Choice) -> NDArray[np.int64]:
    """The label's values for the numbers of instances."""
    table = np.zeros(len(instances) + 1, np.int64)
    table[0] = layout.numbers[choice.background] if choice.background is not None else 0
    counted: Counter[str] = Counter()
    for number, (label, iscrowd) in enumerate(instances, start=1):
        if label in choice.void:
            continue
        table[number] = layout.numbers[label]
        if label not in layout.stuff and not iscrowd:
            counted[label] += 1
            table[number] = table[number] * layout.divisor + counted[label]
    return table[ids]


def _layout(
    source: Source, counts: list[tuple[Annotated, Counter[str]]], path: Path, choice: Choice
) -> tuple[_Layout, bool]:
    """Classes and divisor: those of classes.json if an earlier call wrote it, else new ones; whether they are new."""
    first: dict[str, str] = {}
    for image, labels in counts:
        for label in labels:
            first.setdefault(label, image.where)
    if path.exists():
        categories, divisor = read_classes(path)
        layout = _Layout({c.name: c.id for c in categories}, {c.name for c in categories if not c.isthing}, divisor)
        most = _most(counts, layout.stuff)
        unlike = sorted(n for n in choice.stuff | {choice.background} - {None} if n not in layout.stuff)
        if unlike:
            raise DataError(f"{path}, which an earlier call wrote, has no stuff class {unlike[0]!r}")
        source_of_names = str(path)
    else:
        names = list(choice.classes or source.classes or sorted(first))
        if choice.background is not None and choice.background not in names:
            names.append(choice.background)
        names = [name for name in names if name not in choice.void]
        _check_names(names)
        stuff = set(choice.stuff) | ({choice.background} if choice.background is not None else set())
        most = _most(counts, stuff)
        layout = _Layout({n: k for k, n in enumerate(names, start=1)}, stuff, _divisor(len(names), most))
        source_of_names = "--classes" if choice.classes else "the list of classes"
        for name in sorted(stuff - set(names)):
            raise DataError(f"--stuff names {name!r}, which is none of the classes {', '.join(names)}")
    for label, where in first.items():
        if label not in layout.numbers and label not in choice.void:
            raise DataError(
                f"{where}: the label {label!r} is unknown to {source_of_names}; --void {label!r} makes it void"
            )
    if most >= layout.divisor:
        raise DataError(
            f"{path} has the divisor {layout.divisor}, but an image has {most} instances of a class: convert all "
            f"splits to a new --out, the one with this image first"
        )
    return layout, not path.exists()


def _most(counts: list[tuple[Annotated, Counter[str]]], stuff: set[str]) -> int:
    """The largest number of instances of one thing in an image."""
    return max((n for _, labels in counts for label, n in labels.items() if label not in stuff), default=0)


def _check_names(names: list[str]) -> None:
    """Raise a DataError for names that stand twice, or differ in capitals only."""
    if (twice := first_double(names)) is not None:
        raise DataError(f"the class {twice!r} is named twice")
    if (twice := first_double([name.casefold() for name in names])) is not None:
        alike = [name for name in names if name.casefold() == twice]
        raise DataError(f"the classes {' and '.join(map(repr, alike))} differ in capitals only: rename one of them")


def _divisor(classes: int, most: int) -> int:
    """A number above those of instances and classes, for which labels have 16 bits if that is possible."""
    for divisor in DIVISORS:
        if divisor > max(most, classes) and (classes + 1) * divisor <= 2**16:
            return divisor
    divisor = int(10 ** max(3, len(str(max(most, classes)))))
    if (classes + 1) * divisor > 2**31:
        raise DataError(f"{classes} classes and {most} instances of a class in an image do not fit into 32 bits")
    return divisor


def _names(images: list[Annotated]) -> list[str]:
    """Names of the images in one folder: folders become a part of the name.

    Raises
    ------
    DataError
        If two images get one name, one is annotated twice, or has a suffix that is not read.
    """
    owner: dict[str, Annotated] = {}
    annotated: dict[Path, str] = {}
    for image in images:
        other = annotated.setdefault(image.image.resolve(), image.where)
        if other != image.where:
            raise DataError(f"{other} and {image.where} both annotate {image.image}: keep one of them")
        if image.image.suffix.lower() not in readable():
            raise DataError(f"{image.where}: {image.image} has the suffix of no format that is read here")
        name = "_".join(part for part in Path(image.name).parts if part not in ("/", "..", "."))
        if name in owner:
            raise DataError(
                f"{owner[name].image} and {image.image} would both get the name {name} (annotations "
                f"{owner[name].where} and {image.where}): rename one of them"
            )
        owner[name] = image
    return list(owner)
