"""Convert a public FIB-SEM volume with its neurons to slices in COCO panoptic format.

    pip install "diffcomb[data]"
    python examples/panoptic_cops/prepare_neurons.py neuroproof_examples/training_sample2 --out neurons
    python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/neurons.yaml --root neurons

The volume is a sample of FlyEM's medulla of Drosophila (on GitHub janelia-flyem/neuroproof_examples; Takemura et al.
2015, doi 10.1073/pnas.1509820112). SOURCE is a folder such as training_sample2, 250x250x250 voxels of 10 nm, with

    groundtruth.h5 or groundtruth.h5.gz    "stack": numbers (Z, Y, X); "transforms", if there: rows (number, neuron)
    grayscale_maps/iso.2600.png, ...       one grey image for each slice, in the order of their numbers

As the copy at gs://ffn-flyem-fib25 has it, grayscale_maps.h5 with "raw" (Z, Y, X) may stand in place of the images.

Every --every-th slice becomes an image. Every 4-connected part of a neuron in a slice is an instance of the only class,
"neurite"; parts of fewer pixels than --smallest are void, as are voxels of the number 0. There is no stuff.
Slices from --val_from on become the split "val", and so many slices before it as --gap says are left out, because
neighbouring slices look alike. A second call writes what is missing or has changed.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cops.data.converted import Item, hash_of, write_folder
from cops.data.frames import images_in
from cops.data.images import read_image
from cops.data.samples import DataError
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from scipy.ndimage import label

CATEGORIES = [{"id": 1, "name": "neurite", "isthing": 1, "color": [60, 140, 200]}]
VAL = 5 / 6  # where the split "val" begins by default, as a share of the volume


def main(arguments: list[str] | None = None) -> None:
    """Convert one volume."""
    parser = ArgumentParser(description="Convert a FIB-SEM sample of neuroproof_examples to COCO panoptic format.")
    parser.add_argument("source", type=Path, help="folder with groundtruth.h5 and grayscale_maps")
    parser.add_argument("--out", type=Path, default=Path("neurons"))
    parser.add_argument("--every", type=int, default=5, help="take one slice of so many")
    parser.add_argument("--val_from", type=int | None, help="first slice of the split 'val'; the last sixth by default")
    parser.add_argument("--gap", type=int, default=10, help="slices left out between the splits, at least 1")
    parser.add_argument("--smallest", type=int, default=10, help="parts of fewer pixels are void")
    o = parser.parse_args(arguments)
    try:
        convert(o.source, o.out, o.every, o.val_from, o.gap, o.smallest)
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"prepare_neurons.py: error: {error}\n")


def convert(source: Path, out: Path, every: int, val_from: int | None, gap: int, smallest: int) -> None:
    """Write both splits; slices that an earlier call has finished are written again only if they have changed.

    Raises
    ------
    DataError
        If a file or a data set in it is missing or malformed, or images and ground truth differ in size.
    ValueError
        If a setting is out of range, or leaves a split without slices.
    """
    if every < 1 or gap < 1 or smallest < 1:
        raise ValueError(f"every, gap and smallest must be at least 1, got {every}, {gap} and {smallest}")
    truth_path = _first_of(source, "groundtruth.h5", "groundtruth.h5.gz")
    raw_path = _first_of(source, "grayscale_maps.h5", "grayscale_maps")
    truth = read_neurons(truth_path)
    raw, raw_files = _read_grey(raw_path)
    if raw.shape != truth.shape:
        raise DataError(f"{raw_path} {raw.shape} and {truth_path} {truth.shape} differ in size (slices, rows, columns)")
    first = round(VAL * len(truth)) if val_from is None else val_from
    numbers = {
        "train": [z for z in range(0, len(truth), every) if z + gap < first],
        "val": list(range(first, len(truth), every)),
    }
    for split, found in numbers.items():
        if not found:
            raise ValueError(
                f"no slices are left for the split {split!r} of {len(truth)}: change --every, --val_from or --gap"
            )
    source_hash = hash_of([truth_path, *raw_files], smallest)

    def reader(z: int) -> Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        return lambda: (raw[z], parts(truth[z], smallest))

    splits = {split: [Item(f"{z:03d}", source_hash, reader(z)) for z in found] for split, found in numbers.items()}
    write_folder(out, splits, CATEGORIES, np.ones_like)
    print(
        f"wrote {len(splits['train'])} training images (slices 0-{numbers['train'][-1]}) and {len(splits['val'])} test "
        f"images (slices {first}-{numbers['val'][-1]}) in COCO panoptic format to {out}; to train:\n"
        f"python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/neurons.yaml --root {out}"
    )


def parts(neurons: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    """4-connected parts of the neurons of a slice, numbered from 1; parts that are too small, and 0, become 0."""
    ids = np.zeros(neurons.shape, np.int64)
    for number in np.unique(neurons[neurons > 0]):
        found, count = label(neurons == number)
        areas = np.bincount(found.ravel(), minlength=count + 1)
        kept = areas >= smallest
        kept[0] = False
        new = np.where(kept, np.cumsum(kept) + ids.max(), 0)
        ids += new[found]
    return ids


def read_neurons(path: Path) -> NDArray[np.int64]:
    """Numbers of the neurons (Z, Y, X) of a ground truth file.

    Raises
    ------
    DataError
        If the file or its data set "stack" cannot be read, or "transforms" does not say what a number of it is.
    """
    with _hdf5(path) as file:
        stack = np.asarray(_volume(file, "stack", path)).astype(np.int64)
        if "transforms" not in file:
            return stack
        rows = np.asarray(file["transforms"]).astype(np.int64)
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise DataError(f"{path}: 'transforms' must hold rows (number, neuron), got the shape {rows.shape}")
    values, inverse = np.unique(stack, return_inverse=True)
    known = dict(rows.tolist())
    known.setdefault(0, 0)
    if (missing := [v for v in values.tolist() if v not in known]) != []:
        raise DataError(f"{path}: 'transforms' lacks {missing[0]}, which 'stack' holds")
    return np.array([known[v] for v in values.tolist()], np.int64)[inverse.reshape(stack.shape)]


def _read_grey(path: Path) -> tuple[NDArray[np.uint8], list[Path]]:
    """The grey volume (Z, Y, X), and the files that it was read from."""
    if path.is_file():
        with _hdf5(path) as file:
            volume = np.asarray(_volume(file, "raw", path))
        if volume.dtype != np.uint8:
            raise DataError(f"{path}: 'raw' must hold 8 bits, got {volume.dtype}")
        return volume, [path]
    files = images_in(path).files
    numbers = [re.search(r"(\d+)$", p.stem) for p in files]
    if not files or None in numbers:
        wrong = "" if not files else f", got {files[numbers.index(None)].name}"
        raise DataError(f"{path} must hold images that end in the number of their slice, as iso.2600.png{wrong}")
    files = [p for _, p in sorted(zip((int(m[1]) for m in numbers if m), files, strict=True))]
    images = [read_image(p)[..., 0] for p in files]
    for image, file_path in zip(images, files, strict=True):
        if image.shape != images[0].shape:
            raise DataError(f"{file_path} {image.shape} and {files[0]} {images[0].shape} differ in size")
    return np.stack(images), files


def _first_of(folder: Path, *names: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist")
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise DataError(f"{folder} must hold {' or '.join(names)}: the source is a folder such as training_sample2")


def _hdf5(path: Path) -> Any:
    """An opened HDF5 file, which may be packed with gzip."""
    try:
        import h5py
    except ImportError:
        raise DataError(
            f'{path} is an HDF5 file, which needs a further package: pip install "diffcomb[data]"'
        ) from None
    try:
        content = io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix == ".gz" else path
        return h5py.File(content, "r")
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}): download it again") from error


def _volume(file: Any, name: str, path: Path) -> Any:
    if name not in file or getattr(file[name], "ndim", None) != 3:
        raise DataError(
            f"{path} must hold the volume {name!r} (slices, rows, columns), got {', '.join(file) or 'none'}"
        )
    return file[name]


if __name__ == "__main__":
    main()
