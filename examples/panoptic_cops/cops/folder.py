"""Your own data: a folder of images, a folder of label PNGs, and one JSON that names the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .coco import DataError, check_sizes, color_of, list_field, read_image, read_json
from .data import Category, Sample, Subset
from .labels import decode, read_labels


class Folder:
    """Images with labels ``class · divisor + instance``; see docs/data.md.

    Parameters
    ----------
    root : path
        Folder that holds ``classes.json``: {"divisor": 1000, "classes": [{"id", "name", "isthing"}, ...]}.
    split : str or None
        Name of a folder of `root` with ``images/`` and ``labels/``; None takes those of `root` itself.

    Raises
    ------
    DataError
        If a folder or file is missing or malformed. Images and labels are read when asked for.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"the data folder {root} does not exist (--root)")
        self.categories, self.divisor = _read_classes(self.root / "classes.json")
        self._index = {c.id: k for k, c in enumerate(self.categories)}
        base = self.root if split is None else self.root / split
        for folder in (base / "images", base / "labels"):
            if not folder.is_dir():
                raise DataError(f"the folder {folder} is missing")
        known = Image.registered_extensions()
        images = {p.stem: p for p in sorted((base / "images").iterdir()) if p.suffix.lower() in known}
        labels = {p.stem: p for p in sorted((base / "labels").iterdir()) if p.suffix.lower() in known}
        for have, lack, kind in ((images, labels, "label"), (labels, images, "image")):
            alone = sorted(set(have) - set(lack))
            if alone:
                raise DataError(f"{have[alone[0]]} has no {kind} of the same name")
        if not images:
            raise DataError(f"{base / 'images'} holds no images")
        self._pairs = [(images[name], labels[name]) for name in sorted(images)]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        image_path, label_path = self._pairs[index]
        image, values = read_image(image_path), read_labels(label_path)
        classes = np.unique(np.where(values < self.divisor, values, values // self.divisor))
        unknown = sorted(set(classes.tolist()) - {0} - set(self._index))
        if unknown:
            raise DataError(f"{label_path} holds class {unknown[0]}, which classes.json lacks; 0 is void")
        ids, segments = decode(values, self.divisor, self._index, self.categories)
        check_sizes(ids, image, str(label_path))
        return Sample(image_path.stem, image, ids, segments, image_path.stem)


def folder_splits(root: str | Path) -> tuple[Folder | Subset, Folder | Subset]:
    """Training and test images: those of ``train/`` and ``val/``, or four fifths and one fifth of ``images/``."""
    if (Path(root) / "train").is_dir():
        return Folder(root, "train"), Folder(root, "val")
    whole = Folder(root)
    order = np.random.default_rng(0).permutation(len(whole)).tolist()
    held_out = max(1, len(whole) // 5)
    return Subset(whole, sorted(order[held_out:])), Subset(whole, sorted(order[:held_out]))


def _read_classes(path: Path) -> tuple[tuple[Category, ...], int]:
    if not path.exists():
        raise DataError(f"{path} is missing: it names the classes of the labels")
    content: dict[str, Any] = read_json(path)
    divisor = content.get("divisor", 1000)
    if not isinstance(divisor, int) or divisor < 2:
        raise DataError(f"{path}: 'divisor' must be an integer above 1, got {divisor!r}")
    try:
        categories = tuple(
            Category(int(c["id"]), str(c["name"]), bool(c["isthing"]), color_of(c))
            for c in list_field(content, "classes", path)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a class is malformed: {error!r}") from error
    ids = [c.id for c in categories]
    if not ids or len(set(ids)) != len(ids) or not all(0 < i < divisor for i in ids):
        raise DataError(f"{path}: class ids must be different numbers from 1 to {divisor - 1}, got {ids}")
    return categories, divisor
