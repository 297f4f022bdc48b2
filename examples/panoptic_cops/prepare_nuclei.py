"""Convert the public 2018 Data Science Bowl download to COCO panoptic format.

    python examples/panoptic_cops/prepare_nuclei.py stage1_train --out nuclei
    python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/nuclei.yaml --root nuclei

SOURCE holds one folder an image: ID/images/ID.png, and ID/masks/*.png with one nucleus each; an image without nuclei
has an empty masks folder. Other suffixes are read as well (.PNG, .tif, ...). The larger one of a mask's two values is
the nucleus. Where masks overlap, the first one keeps the pixel; what no mask covers is the stuff class "background".

A second call writes what is missing or has changed in SOURCE, by the hash of its files that each label PNG holds, and
removes its own files of images that SOURCE lacks or that moved to the other split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from cops.data.converted import Item, hash_of, write_folder
from cops.data.frames import images_in
from cops.data.images import check_one_page, opened, read_image, to_rgb, upright, values_of
from cops.data.samples import DataError
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from tqdm import tqdm

NUCLEUS, BACKGROUND = 1, 2  # category ids
CATEGORIES = [
    {"id": NUCLEUS, "name": "nucleus", "isthing": 1, "color": [220, 20, 60]},
    {"id": BACKGROUND, "name": "background", "isthing": 0, "color": [70, 70, 70]},
]
REST = 1  # segment id of the background
GREY = 128  # a mask of more than two values has at least this one, at its soft border or inside it
COLOURFUL, DARK = 8.0, 100.0  # a fluorescence image is greyer than the first, and its median darker than the second


def main(arguments: list[str] | None = None) -> None:
    """Convert one download."""
    parser = ArgumentParser(description="Convert the 2018 Data Science Bowl download to COCO panoptic format.")
    parser.add_argument("source", type=Path, help="folder with one folder an image")
    parser.add_argument("--out", type=Path, default=Path("nuclei"))
    parser.add_argument("--test", type=float, default=0.15, help="share of the images for the split 'val'")
    parser.add_argument("--modality", type=Literal["fluorescence", "all"], default="fluorescence")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    o = parser.parse_args(arguments)
    try:
        convert(o.source, o.out, o.test, o.modality == "fluorescence", o.seed)
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"prepare_nuclei.py: error: {error}\n")


def convert(source: Path, out: Path, test: float, fluorescence_only: bool, seed: int) -> None:
    """Write both splits; images that an earlier call has finished are written again only if they have changed."""
    if not source.is_dir():
        raise DataError(f"the folder {source} does not exist")
    if not 0 < test < 1:
        raise ValueError(f"test must lie between 0 and 1, got {test}")
    folders = sorted(p for p in source.iterdir() if not p.name.startswith(".") and (p / "images").is_dir())
    chosen = [
        f for f in tqdm(folders, desc="looking") if not fluorescence_only or is_fluorescence(read_image(_image_path(f)))
    ]
    if len(chosen) < 2:
        raise DataError(f"{source} must hold at least two folders ID/images/ID.png of that modality, got {len(chosen)}")
    for folder in chosen:  # before anything is written
        _masks(folder)
    order = np.random.default_rng(seed).permutation(len(chosen)).tolist()
    count = min(max(1, round(test * len(chosen))), len(chosen) - 1)
    splits = {
        split: [_item(chosen[i]) for i in tqdm(sorted(numbers), desc=f"hashing {split}")]
        for split, numbers in (("val", order[:count]), ("train", order[count:]))
    }
    write_folder(out, splits, CATEGORIES, lambda ids: np.where(ids == REST, BACKGROUND, NUCLEUS))
    print(f"wrote {len(chosen) - count} training and {count} test images in COCO panoptic format to {out}")


def is_fluorescence(image: NDArray[np.uint8]) -> bool:
    """Grey nuclei on a dark background, and not stained tissue or bright field."""
    spread = image.max(2).astype(float) - image.min(2)
    return bool(spread.mean() < COLOURFUL and np.median(image) < DARK)


def _item(folder: Path) -> Item:
    def read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        image = read_image(_image_path(folder))
        return image, _ids(folder, image.shape[:2])

    return Item(folder.name, hash_of([_image_path(folder), *_masks(folder)]), read)


def _image_path(folder: Path) -> Path:
    found = images_in(folder / "images")
    if len(found.files) != 1 or found.left_out:
        also = "".join(f"; {path.name} is {reason}" for path, reason in found.left_out[:1])
        raise DataError(f"{folder / 'images'} must hold one image, got {len(found.files)}{also}")
    return found.files[0]


def _masks(folder: Path) -> list[Path]:
    """Masks of an image; an image without nuclei has a folder that is empty."""
    masks = folder / "masks"
    if not masks.is_dir():
        raise DataError(f"the folder {masks} is missing: images without masks, as those of stage1_test, teach nothing")
    found = images_in(masks)
    for path, reason in found.left_out:
        raise DataError(f"{path} is {reason}")
    others = sorted(p.name for p in masks.iterdir() if not p.name.startswith("."))
    if others and not found.files:
        raise DataError(f"{masks} holds no image that can be read, but {others[0]}: save each nucleus as a PNG")
    return found.files


def _ids(folder: Path, size: tuple[int, ...]) -> NDArray[np.int64]:
    ids = np.full(size, REST, np.int64)
    for number, path in enumerate(_masks(folder), start=REST + 1):
        mask = read_mask(path)
        if mask.shape != ids.shape:
            raise DataError(f"{path}: mask {mask.shape} and image {ids.shape} differ in size")
        ids[mask & (ids == REST)] = number
    return ids


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a mask has the larger one of its two values, or lies above half of its largest one if it has soft borders.

    Raises
    ------
    DataError
        If it holds many small values, as an image with the numbers of instances does.
    """
    with opened(path, kind="mask") as file:
        check_one_page(file, path)
        plain = file.mode in ("1", "L", "F") or file.mode.startswith("I")
        levels = values_of(upright(file)) if plain else to_rgb(file, path).max(2)
    values = np.unique(levels)
    if len(values) <= 2:
        return levels > (values[0] if len(values) == 2 else 0)
    if values[-1] < GREY:
        raise DataError(
            f"{path} holds {len(values)} values up to {values[-1]}: a mask holds one nucleus, and two values"
        )
    return levels > values[-1] / 2


if __name__ == "__main__":
    main()
