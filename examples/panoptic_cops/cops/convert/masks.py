"""Instance masks as StarDist and Cellpose write them: label images, each value one instance, and ``_seg.npy``."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..data.folder import read_labels
from ..data.frames import images_in
from ..data.samples import DataError
from .shapes import Instance, Size
from .sources import Source

SEG = "_seg.npy"
SUFFIXES = ("_cp_masks", "_masks", "_mask", "_labels", "_label")  # of a mask's name, after that of its image
FURTHER = ("_flows", "_outlines", "_cp_output", "_cp_outlines")  # of other files that Cellpose writes beside images
BINARY = ({255}, {65535})  # the only value of a mask in which instances are not numbered
ONE = (
    "masks that hold only 0 and 1, in several separate parts, which become one instance (if they are several, number "
    "them, for instance with scipy.ndimage.label)"
)
PLAIN = {  # what arrays, numbers and texts are unpickled with
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Numbered:
    """An `Annotated` image with a mask of numbers: 0 is background, every other value an instance."""

    name: str
    image: Path
    where: str
    mask: Path
    label: str
    doubt: Callable[[str, str], None]
    size: None = None

    def labels(self) -> Counter[str]:
        values, ids = self._numbers()
        if values == [1] and ndimage.label(ids, np.ones((3, 3)))[1] > 1:
            self.doubt(ONE, str(self.mask))
        return +Counter({self.label: len(values)})  # nothing for a mask without an instance

    def painted(self, size: Size, stuff: set[str]) -> tuple[NDArray[np.int64], list[Instance]]:
        values, ids = self._numbers()
        if ids.shape != size:
            raise DataError(f"{self.mask}: mask {ids.shape} and image {size} ({self.image}) differ in size")
        return ids, [Instance(self.label)] * len(values)

    def _numbers(self) -> tuple[list[int], NDArray[np.int64]]:
        """Values of the instances, and for every pixel which of them it is, from 1 on; 0 for background."""
        found, inverse = np.unique(read_mask(self.mask), return_inverse=True)
        values = [v for v in found.tolist() if v != 0]
        if set(values) in BINARY:
            raise DataError(
                f"{self.mask} holds only 0 and {values[0]}: number the instances, for instance with scipy.ndimage.label"
            )
        numbers = np.cumsum(found != 0) * (found != 0)
        return values, numbers[inverse.reshape(-1)].reshape(inverse.shape)


def read_masks(folder: Path, images: Path | None, label: str) -> Source:
    """All masks of a folder; an image and its mask have one name, apart from `SUFFIXES`.

    Parameters
    ----------
    folder : path
        Holds the masks.
    images : path, optional
        Where the images are; by default in `folder` itself, where masks are known by `SUFFIXES`.
    label : str
        The class of all instances.

    Raises
    ------
    DataError
        If a mask has no image, or two files have one name.
    """
    together = images is None or images.resolve() == folder.resolve()
    found = _files(folder)
    masks = [path for path in found if not together or _stem(path) != path.stem]
    others = [path for path in found if path not in set(masks)] if together else _files(images or folder)
    pictures: dict[str, Path] = {}
    for path in (p for p in others if p.suffix != ".npy" and not p.stem.endswith(FURTHER)):
        if path.stem in pictures:
            raise DataError(
                f"{pictures[path.stem]} and {path.name} have one name: keep one, or rename one and its mask"
            )
        pictures[path.stem] = path
    mask_of: dict[str, Path] = {}
    for path in (p for p in masks if not p.stem.endswith(FURTHER)):
        stem = path.stem if path.stem in pictures else _stem(path)
        if stem not in pictures:
            raise DataError(f"{path} has no image of the name {stem} in {images or folder}")
        if stem in mask_of:
            raise DataError(f"{mask_of[stem]} and {path.name} are masks of one image: keep the one that is meant")
        mask_of[stem] = path
    if not mask_of:
        named = f", named IMAGE{SEG} or IMAGE and one of {', '.join(SUFFIXES)}" if together else ""
        raise DataError(f"{folder} holds no masks{named}")
    source = Source(classes=[label], background="background")
    for stem, path in pictures.items():
        if stem in mask_of:
            source.add(Numbered(stem, path, str(mask_of[stem]), mask_of[stem], label, source.doubt))
        else:
            source.skip("images without a mask", str(path))
    return source


def _files(folder: Path) -> list[Path]:
    """Images and ``_seg.npy`` of a folder."""
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist")
    found = images_in(folder)
    for path, reason in found.left_out:
        if path.suffix != ".npy":
            raise DataError(f"{path} is {reason}")
    return sorted([*found.files, *(path for path, _ in found.left_out if path.name.endswith(SEG))])


def _stem(path: Path) -> str:
    """The name of the image of a mask."""
    if path.name.endswith(SEG):
        return path.name.removesuffix(SEG)
    return next((path.stem.removesuffix(s) for s in SUFFIXES if path.stem.endswith(s)), path.stem)


def read_mask(path: Path) -> NDArray[np.int64]:
    """The numbers of a mask (H, W).

    Raises
    ------
    DataError
        If the file is damaged, or holds no integers of one plane.
    """
    values: Any = read_seg(path) if path.name.endswith(SEG) else read_labels(path)
    if values.ndim != 2 or values.dtype.kind not in "iu" or values.min(initial=0) < 0:
        raise DataError(
            f"{path} must hold numbers of instances of one plane, got {values.dtype} of shape {values.shape}"
        )
    return values.astype(np.int64)  # type: ignore[no-any-return]


def read_seg(path: Path) -> NDArray[Any]:
    """The entry "masks" of a file that Cellpose's window saves: a pickled dict, of which only plain data are read.

    Raises
    ------
    DataError
        If the file is damaged, holds other objects, or no masks.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            header(file)
            return np.asarray(_Unpickler(file).load().item()["masks"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # damaged pickles raise nearly everything
        raise DataError(
            f"{path} cannot be read as {SEG} of Cellpose: {error!r:.120}: export the masks as PNG"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Refuses everything but arrays, numbers and texts, as a pickle can run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PLAIN:
            raise DataError(f"the file holds a pickled {module}.{name}, which is not read: export the masks as PNG")
        return super().find_class(module, name)
