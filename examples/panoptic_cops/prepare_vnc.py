"""Convert the public ssTEM stack of a fly's ventral nerve cord to COCO panoptic format.

    python examples/panoptic_cops/prepare_vnc.py groundtruth-drosophila-vnc/stack1 --out vnc
    python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/vnc.yaml --root vnc

The stack is "Segmented anisotropic ssTEM dataset of neural tissue" (Gerhard, Funke, Martel, Cardona, Fetter; figshare
2013, doi 10.6084/m9.figshare.856713; on GitHub unidesigner/groundtruth-drosophila-vnc; CC BY-NC-SA 3.0). SOURCE is its
folder stack1, of which this program reads

    raw/00.tif ... 19.tif                               grey images of 1024x1024 pixels, 8 bits
    labels/labels00000000.png ... labels00000019.png    one of the grey values below for each pixel

    0, 32, 64, 96, 128     membrane in four directions, and where membranes meet
    159                    glia and extracellular space
    191, 223, 255          mitochondrion, synapse, other inside of a cell

The folders membranes/, mitochondria/ and synapses/ of the stack repeat a part of labels/ and are not read. Every image
and label is scaled down and cut into square crops, which are named SS_RC: section, row and column of the crop.
Membrane and glia are stuff. A neurite is a 4-connected part of what they leave; the mitochondria and synapses in it,
which are 4-connected parts as well, are cut out of it.

Sections from --val_from on become the split "val", and so many sections before it as --gap says are left out, because
neighbouring sections look alike. A second call writes what is missing or has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from cops.data.converted import Item, hash_of, write_folder
from cops.data.frames import images_in
from cops.data.images import check_one_page, opened, read_image, values_of
from cops.data.samples import DataError
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label
from tqdm import tqdm

MEMBRANE, GLIA, NEURITE, MITOCHONDRION, SYNAPSE = range(1, 6)  # category ids
CATEGORIES = [
    {"id": MEMBRANE, "name": "membrane", "isthing": 0, "color": [40, 40, 40]},
    {"id": GLIA, "name": "glia", "isthing": 0, "color": [150, 120, 60]},
    {"id": NEURITE, "name": "neurite", "isthing": 1, "color": [60, 140, 200]},
    {"id": MITOCHONDRION, "name": "mitochondrion", "isthing": 1, "color": [220, 80, 60]},
    {"id": SYNAPSE, "name": "synapse", "isthing": 1, "color": [250, 220, 60]},
]
VALUES = {
    **dict.fromkeys((0, 32, 64, 96, 128), MEMBRANE),
    159: GLIA,
    191: MITOCHONDRION,
    223: SYNAPSE,
    255: NEURITE,
}  # of labels/
DIVISOR = 100_000  # the id of a thing is this times its category, plus its number; that of stuff is its category


def main(arguments: list[str] | None = None) -> None:
    """Convert one stack."""
    parser = ArgumentParser(description="Convert the ssTEM stack of Gerhard et al. 2013 to COCO panoptic format.")
    parser.add_argument("source", type=Path, help="the folder stack1")
    parser.add_argument("--out", type=Path, default=Path("vnc"))
    parser.add_argument("--sections", type=str, default="all", help='which sections, as in "0-13" or "0-9,12"')
    parser.add_argument("--val_from", type=int, default=16, help="first section of the split 'val'")
    parser.add_argument("--gap", type=int, default=1, help="sections left out between the splits, at least 1")
    parser.add_argument("--size", type=int, default=256, help="height and width of a crop in pixels")
    parser.add_argument("--scale", type=float, default=0.5, help="of the images, at most 1")
    o = parser.parse_args(arguments)
    try:
        convert(o.source, o.out, o.sections, o.val_from, o.gap, o.size, o.scale)
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"prepare_vnc.py: error: {error}\n")


def convert(source: Path, out: Path, sections: str, val_from: int, gap: int, size: int, scale: float) -> None:
    """Write both splits; crops that an earlier call has finished are written again only if they have changed.

    Raises
    ------
    DataError
        If a folder, a section or its label is missing, or a label holds a value that is none of the stack's.
    ValueError
        If a setting is out of range, or leaves a split without sections.
    """
    if not 0 < scale <= 1 or size < 1 or gap < 1:
        raise ValueError(f"needed: 0 < scale <= 1, size >= 1 and gap >= 1; got {scale}, {size} and {gap}")
    raw, labels = (_by_number(source / part) for part in ("raw", "labels"))
    chosen = sorted(raw) if sections == "all" else parse_sections(sections)
    for number in chosen:
        for part, there in (("raw", raw), ("labels", labels)):
            if number not in there:
                raise DataError(f"{source / part} lacks section {number}: download the stack again, or set --sections")
    numbers = {
        "train": [n for n in chosen if n + gap < val_from],
        "val": [n for n in chosen if n >= val_from],
    }
    for split, found in numbers.items():
        if not found:
            raise ValueError(f"no sections are left for the split {split!r}: change --sections, --val_from or --gap")
    splits = {
        split: [
            item for n in tqdm(found, desc=f"cutting {split}") for item in _crops(n, raw[n], labels[n], size, scale)
        ]
        for split, found in numbers.items()
    }
    write_folder(out, splits, CATEGORIES, lambda ids: np.where(ids < DIVISOR, ids, ids // DIVISOR))
    print(
        f"wrote {len(splits['train'])} training images (sections {_said(numbers['train'])}) and {len(splits['val'])} "
        f"test images (sections {_said(numbers['val'])}) in COCO panoptic format to {out}; to train:\n"
        f"python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/vnc.yaml --root {out}"
    )


def parse_sections(text: str) -> list[int]:
    """Numbers of a text such as "0-9,12", in order and once each.

    Raises
    ------
    ValueError
        If it is no list of numbers and ranges.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f'sections must be "all", or numbers and ranges such as "0-9,12", got {text!r}')
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(found)


def instances(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Segment ids of category ids (H, W): neurites by what membranes and glia leave, organelles by themselves."""
    ids = classes.copy()
    for category, mask in (
        (NEURITE, classes >= NEURITE),
        (MITOCHONDRION, classes == MITOCHONDRION),
        (SYNAPSE, classes == SYNAPSE),
    ):
        parts, _ = label(mask)
        ids[mask] = category * DIVISOR + parts[mask]
    return ids


def _by_number(folder: Path) -> dict[int, Path]:
    """Images of a folder by the number with which their names end."""
    if not folder.is_dir():
        raise DataError(f"the folder {folder} is missing: the source is the folder stack1, with raw/ and labels/")
    found: dict[int, Path] = {}
    for path in images_in(folder).files:
        match = re.search(r"(\d+)$", path.stem)
        if match is None:
            raise DataError(f"{path} does not end in the number of a section, as 07.tif and labels00000007.png do")
        if int(match[1]) in found:
            raise DataError(f"{found[int(match[1])]} and {path} have one section number: remove one of them")
        found[int(match[1])] = path
    if not found:
        raise DataError(f"{folder} holds no images: the stack has one for each section")
    return found


def _crops(number: int, raw_path: Path, label_path: Path, size: int, scale: float) -> Sequence[Item]:
    """The crops of one section; it is opened when the first of them is read."""
    with opened(raw_path) as file:
        width, height = (round(scale * edge) for edge in file.size)
    rows, columns = height // size, width // size
    if not rows or not columns:
        raise ValueError(f"{raw_path}: a crop of {size} pixels does not fit into {height}x{width}: change --size")
    source = hash_of([raw_path, label_path], size, scale)
    section = lru_cache(maxsize=1)(lambda: _section(raw_path, label_path, (width, height)))

    def reader(row: int, column: int) -> Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        window = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)

        def read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
            image, classes = section()
            return np.ascontiguousarray(image[window]), instances(classes[window])

        return read

    digits = len(str(max(rows, columns) - 1))  # without them, crop (1, 10) would have the name of (11, 0)
    return [
        Item(f"{number:02d}_{r:0{digits}d}{c:0{digits}d}", source, reader(r, c))
        for r in range(rows)
        for c in range(columns)
    ]


def _section(raw_path: Path, label_path: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey image and category ids of a section, scaled: the image by averages, the label by its nearest pixels."""
    image = Image.fromarray(read_image(raw_path)[..., 0])
    with opened(label_path, kind="label") as file:
        check_one_page(file, label_path)
        values = values_of(file)
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():  # grey, saved as colours
        values = values[..., 0]
    if values.ndim != 2:
        raise DataError(f"the label {label_path} must be a grey image, got one with colours")
    if (unknown := set(np.unique(values).tolist()) - set(VALUES)) != set():
        raise DataError(f"the label {label_path} holds {min(unknown)}: it must hold {', '.join(map(str, VALUES))}")
    if values.shape != (image.height, image.width):
        raise DataError(f"{label_path} {values.shape} and {raw_path} {(image.height, image.width)} differ in size")
    table = np.zeros(256, np.uint8)
    table[list(VALUES)] = list(VALUES.values())
    classes = Image.fromarray(table[values]).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image.resize(size, Image.Resampling.BOX)), np.asarray(classes).astype(np.int64)


def _said(numbers: Sequence[int]) -> str:
    """Numbers as ranges: "0-9, 12"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    main()
