"""Writes the own-data folder of docs/data.md: images, labels ``class · divisor + instance``, and classes.json."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ..data.images import read_image, readable
from ..data.samples import DataError
from ..files import writing
from .layout import Choice, Layout, checked, earlier_layout, new_layout
from .shapes import Annotated, Instance
from .sources import Source

NO_ANNOTATION = "images without annotation (with --background NAME they are taken, and show nothing else)"
NO_PIXEL = "instances without a pixel, as they lie outside of the image or below others"


@dataclass
class Written:
    """What was written: images, instances by class, whatever was left out, and what may be wrong."""

    out: Path
    images: int
    instances: Counter[str]
    skipped: dict[str, list[str]] = field(default_factory=dict)
    doubts: dict[str, list[str]] = field(default_factory=dict)


def write_folder(source: Source, out: Path, split: str | None, choice: Choice) -> Written:
    """Convert all images of a source; nothing is there under the final names before all are written.

    Raises
    ------
    DataError
        If `out` holds such data already or an earlier call made other choices, a class is unknown, an image cannot be
        read or has another size than its annotation, or two images would have one name.
    """
    base = out if split is None else out / split
    taken = [p for p in (base / "images", base / "labels") if p.exists()]
    other = [p for p in (out / "train", out / "val") if p.exists()] if split is None else [out / "images"]
    for path in (*taken, *(p for p in other if p.exists())):
        raise DataError(f"{path} exists: choose another --out, or delete it to convert anew")
    path = out / "classes.json"
    earlier = earlier_layout(path, source, choice) if path.exists() else None
    counts = [(image, image.labels()) for image in tqdm(source.images, desc="checking", unit="image")]
    layout = checked(earlier or new_layout(source, counts, choice), counts, choice, path if earlier else None)
    chosen = []
    for image, labels in counts:
        if layout.background is None and not set(labels) - choice.void:
            source.skip(NO_ANNOTATION, image.where)
        else:
            chosen.append(image)
    if not chosen:
        raise DataError("there is no annotated image to convert")
    names = _names(chosen)
    partial, written = base / ".partial", Written(base, len(chosen), Counter(), source.skipped, source.doubts)
    with _removing_if_stopped(partial, base / "images", base / "labels", *([path] if earlier is None else [])):
        for folder in ("images", "labels"):
            (partial / folder).mkdir(parents=True)
        for name, image in tqdm(zip(names, chosen, strict=True), total=len(chosen), desc="writing", unit="image"):
            _write(image, name, partial, layout, choice, written)
        if earlier is None:
            layout.write(path)
        for folder in ("images", "labels"):
            (partial / folder).rename(base / folder)
        partial.rmdir()
    return written


@contextlib.contextmanager
def _removing_if_stopped(partial: Path, *others: Path) -> Iterator[None]:
    """Remove what an error, or a signal to stop, leaves behind, and at first what a call left that was killed."""
    shutil.rmtree(partial, ignore_errors=True)
    made = [folder for folder in partial.parents[:2] if not folder.exists()]
    try:
        yield
    except BaseException:
        for path in (partial, *others):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()
        raise


def _write(image: Annotated, name: str, folder: Path, layout: Layout, choice: Choice, written: Written) -> None:
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


def _values(ids: NDArray[np.int64], instances: list[Instance], layout: Layout, choice: Choice) -> NDArray[np.int64]:
    """The label's values for the numbers of instances."""
    table = np.zeros(len(instances) + 1, np.int64)
    table[0] = layout.numbers[layout.background] if layout.background is not None else 0
    counted: Counter[str] = Counter()
    for number, (label, iscrowd) in enumerate(instances, start=1):
        if label in choice.void:
            continue
        table[number] = layout.numbers[label]
        if label not in layout.stuff and not iscrowd:
            counted[label] += 1
            table[number] = table[number] * layout.divisor + counted[label]
    return table[ids]


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
