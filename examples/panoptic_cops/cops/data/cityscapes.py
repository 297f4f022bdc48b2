"""Cityscapes in its official layout, straight from the download or after createPanopticImgs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .coco import list_field, numbered, parse_segments, read_ids, read_json, same_size
from .folder import decode, read_labels
from .images import read_image
from .normalize import FIXED
from .sample_files import SampleFiles
from .samples import Category, DataError, ImageKey, Note, Sample, Segment, first_double, noted, refuse, said

DIVISOR = 1000
BITS = 16  # of instanceIds: cityscapesscripts writes no others
# The 19 classes of the evaluation in the order of their trainIds: (id, name, isthing, colour).
_CLASSES = (
    (7, "road", False, (128, 64, 128)),
    (8, "sidewalk", False, (244, 35, 232)),
    (11, "building", False, (70, 70, 70)),
    (12, "wall", False, (102, 102, 156)),
    (13, "fence", False, (190, 153, 153)),
    (17, "pole", False, (153, 153, 153)),
    (19, "traffic light", False, (250, 170, 30)),
    (20, "traffic sign", False, (220, 220, 0)),
    (21, "vegetation", False, (107, 142, 35)),
    (22, "terrain", False, (152, 251, 152)),
    (23, "sky", False, (70, 130, 180)),
    (24, "person", True, (220, 20, 60)),
    (25, "rider", True, (255, 0, 0)),
    (26, "car", True, (0, 0, 142)),
    (27, "truck", True, (0, 0, 70)),
    (28, "bus", True, (0, 60, 100)),
    (31, "train", True, (0, 80, 100)),
    (32, "motorcycle", True, (0, 0, 230)),
    (33, "bicycle", True, (119, 11, 32)),
)
CATEGORIES = tuple(Category(*row) for row in _CLASSES)
_IMAGE = "_leftImg8bit.png"


class Cityscapes:
    """A split of Cityscapes; classes that the evaluation ignores are void, thing regions without instances crowds.

    The ground truth is that of ``gtFine/<split>/<city>/*_gtFine_instanceIds.png``, as the download has it. Where these
    are absent, ``gtFine/cityscapes_panoptic_<split>.json`` or ``..._<split>_trainId.json`` and its folder of PNGs, as
    createPanopticImgs of cityscapesscripts writes them.

    Parameters
    ----------
    root : path
        Folder that holds ``leftImg8bit/`` and ``gtFine/``.
    split : str
        "train" or "val".
    normalize : str
        One of `NORMALIZE`, for the images.
    note : callable
        Gets the problems with single files; by default, the first one is raised.

    Raises
    ------
    DataError
        If a folder or file is missing or malformed, or a name is given twice. Images and labels are read when asked
        for.
    """

    categories = CATEGORIES

    def __init__(self, root: str | Path, split: str, normalize: str = FIXED, note: Note = refuse) -> None:
        self.root, self.normalize = Path(root), normalize
        if not self.root.is_dir():
            raise DataError(f"the data folder {root} does not exist (--root)")
        folder = self.root / "leftImg8bit"
        searched = folder / split if (folder / split).is_dir() else folder
        self._images = _by_name(searched, _IMAGE)
        if not self._images:
            raise DataError(f"{searched} must hold images <city>/*{_IMAGE}, got none")
        labels = _by_name(self.root / "gtFine" / split, "_gtFine_instanceIds.png")
        self._labels: dict[str, Path] | dict[str, tuple[Path, tuple[Segment, ...]]] = labels
        if not labels:
            self._labels = self._panoptic_json(split)
        self._names = sorted(self._labels)
        missing = [n for n in self._names if n not in self._images]
        missing += [n for n in self._images if n not in self._labels]
        for name in missing:
            note(f"{self.root}: {name} must have both an image {_IMAGE} and ground truth in gtFine")
        self._names = [n for n in self._names if n in self._images]

    def _panoptic_json(self, split: str) -> dict[str, tuple[Path, tuple[Segment, ...]]]:
        """Label PNGs and their segments by image."""
        for suffix, keys in (("", [c.id for c in CATEGORIES]), ("_trainId", list(range(len(CATEGORIES))))):
            path = self.root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}.json"
            if path.exists():
                index = {key: k for k, key in enumerate(keys)}
                return _annotations(list_field(read_json(path), "annotations", path), path, index)
        raise DataError(
            f"{self.root / 'gtFine'} must hold {split}/<city>/*_gtFine_instanceIds.png "
            f"or cityscapes_panoptic_{split}.json"
        )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        sample = self.read(index, refuse)
        assert sample is not None
        return sample

    def read(self, index: int, note: Note) -> Sample | None:
        """The sample; `note` gets every problem with its files, and None is returned if they make no sample."""
        name = self._names[index]
        image, label = noted(note, read_image, self._images[name], "", self.normalize), self._labels[name]
        instance_ids = isinstance(label, Path)
        ids = noted(note, read_labels, label, BITS) if instance_ids else noted(note, read_ids, label[0], name)
        if image is None or ids is None or not same_size(ids, image, name, note):
            return None
        if instance_ids:
            ids, segments = decode(ids, DIVISOR, {c.id: k for k, c in enumerate(CATEGORIES)}, CATEGORIES)
            return Sample(name, image, ids, segments, name, f"{name}{_IMAGE}")
        sample = Sample(name, image, ids, label[1], name, f"{name}{_IMAGE}")
        found: Sample | None = noted(note, numbered, sample, f"{name}: {label[0]}")
        return found

    def image_keys(self) -> list[ImageKey]:
        """Names CITY_SEQ_FRAME and file names, in their order."""
        return [ImageKey(name, f"{name}{_IMAGE}") for name in self._names]

    def files(self) -> list[SampleFiles]:
        """The files of every sample; where a JSON says what the ids in a PNG are, it lies beside their folder."""
        labels = [self._labels[name] for name in self._names]
        files = [(a,) if isinstance(a, Path) else (a[0], a[0].parent.with_suffix(".json")) for a in labels]
        return [SampleFiles(self._images[name], paths) for name, paths in zip(self._names, files, strict=True)]


def _by_name(folder: Path, suffix: str) -> dict[str, Path]:
    """Files that end in `suffix`, in a folder and those in it, by what stands before; hidden ones are skipped."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob(f"*{suffix}") if not p.name.startswith(".")):
        name = path.name.removesuffix(suffix)
        if name in found:
            raise DataError(f"{found[name]} and {path} have one name: which is meant?")
        found[name] = path
    return found


def _annotations(entries: list[Any], path: Path, index: dict[int, int]) -> dict[str, tuple[Path, tuple[Segment, ...]]]:
    """Label PNGs and their segments by image, as a JSON file lists them."""
    try:
        parts = [(str(e["image_id"]), path.with_suffix("") / e["file_name"], e["segments_info"]) for e in entries]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an annotation is malformed: {said(error)}") from error
    if (twice := first_double([name for name, _, _ in parts])) is not None:
        raise DataError(f"{path}: two annotations name the image {twice!r}")
    return {name: (label, parse_segments(infos, index, f"{path.name}, {name}")) for name, label, infos in parts}
