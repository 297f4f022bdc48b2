"""A folder of images and label images, which hold class and instance in one number: class · divisor + instance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .coco import check_exact, list_field, read_json, same_size
from .frames import images_in
from .held_out import RANDOM, hold_out
from .images import check_one_page, opened, read_image, upright, values_of
from .normalize import FIXED
from .sample_files import SampleFiles
from .samples import (
    VOID,
    Category,
    DataError,
    ImageKey,
    Note,
    Sample,
    Segment,
    Subset,
    noted,
    parse_categories,
    refuse,
    unique,
)

EXACT = 2**24  # floats of 32 bits hold every whole number up to it
STRETCHED = {"L;2": 255 // 3, "L;4": 255 // 15}  # grey levels of two and four bits, which Pillow stretches to eight


def read_labels(path: Path, bits: int = 8) -> NDArray[np.int64]:
    """Values of a label image of one channel with 8, 16 or 32 bits, or of a palette's indices; floats if all are whole.

    Parameters
    ----------
    path : path
    bits : int
        How many bits the values need at least.

    Raises
    ------
    DataError
        If the file is missing, damaged, no image, holds several pages, has colours, fractions, or too few bits.
    """
    with opened(path, kind="label") as file:
        check_one_page(file, path)
        check_exact(file, path)
        if file.mode not in ("L", "P", "1", "F") and not file.mode.startswith("I"):
            raise DataError(
                f"the label {path} must have one channel of 8, 16 or 32 bits, got an image of mode {file.mode}"
            )
        if bits > 8 and file.mode[0] not in "IF":
            raise DataError(
                f"the label {path} has 8 bits (mode {file.mode}), which cannot hold its values: save it with {bits}"
            )
        steps = _steps_of(file)
        values = values_of(upright(file))
        if file.mode == "F" and not ((np.abs(values) <= EXACT) & (values == np.rint(values))).all():
            raise DataError(f"the label {path} holds float numbers that are not all whole numbers up to {EXACT}: save "
                            f"integers of 8, 16 or 32 bits")  # fmt: skip
        return values.astype(np.int64) // steps


def _steps_of(file: Image.Image) -> int:
    """How far apart two values of a file are that follow each other, before its pixels are read."""
    arguments = file.tile[0][3] if file.tile else None  # of the decoder: the kind of pixels, alone or before others
    kind = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return STRETCHED.get(kind, 1) if isinstance(kind, str) else 1


def decode(
    values: NDArray[np.int64], divisor: int, classes: Mapping[int, int], categories: tuple[Category, ...]
) -> tuple[NDArray[np.int64], tuple[Segment, ...]]:
    """Segment ids 1..S of the pixels, 0 for void, and the segments.

    Parameters
    ----------
    values : array, shape (H, W)
        v < divisor is class v as a whole: one segment of stuff, or a crowd of things. v >= divisor is instance
        v % divisor of class v // divisor; instances of stuff are joined.
    classes : mapping
        From class ids to indices of `categories`; all other classes are void.
    """
    present, inverse = unique(values)
    segments: list[Segment] = []
    number: dict[tuple[int, int], int] = {}
    table = np.full(len(present), VOID, np.int64)
    for i, value in enumerate(present.tolist()):
        label, instance = (value, -1) if value < divisor else divmod(value, divisor)
        if label not in classes:
            continue
        category = classes[label]
        key = (category, instance if categories[category].isthing else 0)
        if key not in number:
            number[key] = len(segments) + 1
            crowd = categories[category].isthing and instance < 0
            segments.append(Segment(number[key], category, crowd))
        table[i] = number[key]
    return table[inverse], tuple(segments)


class Folder:
    """Images with labels ``class · divisor + instance``; see docs/data.md.

    Parameters
    ----------
    root : path
        Folder that holds ``classes.json``: {"divisor": 1000, "classes": [{"id", "name", "isthing"}, ...]}.
    split : str or None
        Name of a folder of `root` with ``images/`` and ``labels/``; None takes those of `root` itself.
    normalize : str
        One of `NORMALIZE`, for the images.
    note : callable
        Gets the problems with single files; by default, the first one is raised.

    Raises
    ------
    DataError
        If a folder or file is missing or malformed, two files have one name, or a file that looks like an image cannot
        be read. Images and labels are read when asked for.
    """

    def __init__(self, root: str | Path, split: str | None = None, normalize: str = FIXED, note: Note = refuse) -> None:
        self.root, self.normalize = Path(root), normalize
        if not self.root.is_dir():
            raise DataError(f"the data folder {root} does not exist (--root)")
        self.categories, self.divisor = read_classes(self.root / "classes.json")
        self._index = {c.id: k for k, c in enumerate(self.categories)}
        base = self.root if split is None else self.root / split
        for folder in (base / "images", base / "labels"):
            if not folder.is_dir():
                raise DataError(f"the folder {folder} is missing")
        images, labels = _by_stem(base / "images", note), _by_stem(base / "labels", note)
        for have, lack, kind in ((images, labels, "label"), (labels, images, "image")):
            for name in sorted(set(have) - set(lack)):
                note(f"{have[name]} has no {kind} of the same name")
        if not images:
            raise DataError(f"{base / 'images'} holds no images")
        self._pairs = [(images[name], labels[name]) for name in sorted(set(images) & set(labels))]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        sample = self.read(index, refuse)
        assert sample is not None
        return sample

    def read(self, index: int, note: Note) -> Sample | None:
        """The sample; `note` gets every problem with its files, and None is returned if they make no sample."""
        image_path, label_path = self._pairs[index]
        image, values = noted(note, read_image, image_path, "", self.normalize), noted(note, read_labels, label_path)
        if values is None:
            return None
        classes = np.unique(np.where(values < self.divisor, values, values // self.divisor))
        unknown = sorted(set(classes.tolist()) - {0} - set(self._index))
        for number in unknown:
            note(f"{label_path} holds class {number}, which classes.json lacks; 0 is void")
        ids, segments = decode(values, self.divisor, self._index, self.categories)
        if image is None or not same_size(ids, image, str(label_path), note):
            return None
        return Sample(image_path.stem, image, ids, segments, image_path.stem, image_path.name)

    def image_keys(self) -> list[ImageKey]:
        """Names without and with suffix, in their order."""
        return [ImageKey(image.stem, image.name) for image, _ in self._pairs]

    def files(self) -> list[SampleFiles]:
        """The files of every sample."""
        return [SampleFiles(image, (label,)) for image, label in self._pairs]


def folder_split(
    root: str | Path,
    test: bool,
    held_out: str = RANDOM,
    gap: int = 0,
    normalize: str = FIXED,
    note: Note = refuse,
) -> Folder | Subset:
    """Images for training, or for testing: those of ``train/`` or ``val/``, or 4/5 or 1/5 of ``images/``.

    `held_out` and `gap` say which fifth, and how many images before it are in neither split: see `hold_out`.
    """
    if has_splits(root):
        return Folder(root, "val" if test else "train", normalize, note)
    whole = Folder(root, None, normalize, note)
    if len(whole) == 1 and not test:
        raise DataError(
            f"{Path(root) / 'images'} holds a single image, which is the test image, so none is left for training: add "
            f"images, or pass --overfit 1 to train on this one as a first test"
        )
    kept, chosen = hold_out(whole.image_keys(), max(1, len(whole) // 5), held_out, gap)
    return Subset(whole, sorted(chosen if test else kept))


def has_splits(root: str | Path) -> bool:
    """Whether the folder says by ``train/`` or ``val/`` which images are for testing."""
    return any((Path(root) / name).is_dir() for name in ("train", "val"))


def folder_splits(root: str | Path) -> tuple[Folder | Subset, Folder | Subset]:
    """Training and test images."""
    return folder_split(root, test=False), folder_split(root, test=True)


def _by_stem(folder: Path, note: Note) -> dict[str, Path]:
    """Images of a folder by their names without suffix; hidden files are skipped."""
    found = images_in(folder)
    for path, reason in found.left_out:
        note(f"{path} is {reason}")
    by_stem: dict[str, Path] = {}
    for path in found.files:
        if path.stem in by_stem:
            note(f"{by_stem[path.stem]} and {path.name} have one name: keep one, or rename one and its pair")
        by_stem[path.stem] = path
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if images_in(inner, recursive=True).files:
            note(f"{inner} holds images, but those of folders in {folder} are not read: move them there")
    return by_stem


def read_classes(path: Path) -> tuple[tuple[Category, ...], int]:
    if not path.exists():
        raise DataError(f"{path} is missing: it names the classes of the labels")
    content: dict[str, Any] = read_json(path)
    divisor = content.get("divisor", 1000)
    if not isinstance(divisor, int) or isinstance(divisor, bool) or divisor < 2:
        raise DataError(f"{path}: 'divisor' must be an integer above 1, got {divisor!r}")
    categories = parse_categories(list_field(content, "classes", path), path)
    ids = [c.id for c in categories]
    if not ids or not all(0 < i < divisor for i in ids):
        raise DataError(f"{path}: class ids must be different numbers from 1 to {divisor - 1}, got {ids}")
    return categories, divisor
