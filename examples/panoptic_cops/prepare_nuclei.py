"""Convert the public 2018 Data Science Bowl download to COCO panoptic format.

    python examples/panoptic_cops/prepare_nuclei.py stage1_train --out nuclei
    python examples/panoptic_cops/train.py --data coco --root nuclei

SOURCE holds one folder an image: ID/images/ID.png, and ID/masks/*.png with one nucleus each; an image without nuclei
has an empty masks folder. Other suffixes are read as well (.PNG, .tif, ...). The larger one of a mask's two values is
the nucleus. Where masks overlap, the first one keeps the pixel; what no mask covers is the stuff class "background".

A second call writes what is missing or has changed in SOURCE, by the hash of its files that each label PNG holds, and
removes its own files of images that SOURCE lacks or that moved to the other split.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cops.data.coco import read_ids
from cops.data.frames import images_in
from cops.data.images import check_one_page, opened, read_image, to_rgb, upright, values_of
from cops.data.samples import DataError
from cops.files import write_json, writing
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

NUCLEUS, BACKGROUND = 1, 2  # category ids
CATEGORIES = [
    {"id": NUCLEUS, "name": "nucleus", "isthing": 1, "color": [220, 20, 60]},
    {"id": BACKGROUND, "name": "background", "isthing": 0, "color": [70, 70, 70]},
]
REST = 1  # segment id of the background
SOURCE = "diffcomb source"  # name of the text in label PNGs that holds the hash of what they were made of
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
    for split, numbers in (("val", sorted(order[:count])), ("train", sorted(order[count:]))):
        _write_split([chosen[i] for i in numbers], out, split)
    print(f"wrote {len(chosen) - count} training and {count} test images in COCO panoptic format to {out}")


def is_fluorescence(image: NDArray[np.uint8]) -> bool:
    """Grey nuclei on a dark background, and not stained tissue or bright field."""
    spread = image.max(2).astype(float) - image.min(2)
    return bool(spread.mean() < COLOURFUL and np.median(image) < DARK)


def _write_split(folders: list[Path], out: Path, split: str) -> None:
    labels = out / "annotations" / f"panoptic_{split}"
    for folder in (labels, out / split):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, folder in enumerate(tqdm(folders, desc=split), start=1):
        label_path, image_path = labels / f"{folder.name}.png", out / split / f"{folder.name}.png"
        source = _hash([_image_path(folder), *_masks(folder)])
        if _source(label_path) == source and image_path.exists():
            ids = read_ids(label_path)
        else:
            image = read_image(_image_path(folder))
            ids = _ids(folder, image.shape[:2])
            _write(image, ids, source, image_path, label_path)
        height, width = ids.shape
        images.append({"id": number, "file_name": image_path.name, "height": height, "width": width})
        annotations.append({"image_id": number, "file_name": label_path.name, "segments_info": _segments(ids)})
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    write_json(content, out / "annotations" / f"panoptic_{split}.json")
    kept = {folder.name for folder in folders}
    for label_path in sorted(labels.glob("*.png")):
        if label_path.stem not in kept and _source(label_path) is not None:
            label_path.unlink()
            (out / split / label_path.name).unlink(missing_ok=True)


def _write(image: NDArray[np.uint8], ids: NDArray[np.int64], source: str, image_path: Path, label_path: Path) -> None:
    """Write an image, and its label last: it says that the image is finished, and what it was made of."""
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)
    partial, text = label_path.with_suffix(".partial"), PngInfo()
    text.add_text(SOURCE, source)
    with writing(image_path):
        Image.fromarray(image).save(image_path)
    with writing(label_path):
        Image.fromarray(rgb).save(partial, format="PNG", pnginfo=text)
        partial.replace(label_path)


def _hash(paths: list[Path]) -> str:
    """Hash of the names and contents of files."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


def _source(label_path: Path) -> str | None:
    """Hash of what a label PNG was made of; None if there is none, or if it is not of this program."""
    try:
        with opened(label_path, kind="label") as file:
            return file.info.get(SOURCE)
    except DataError:  # missing or damaged
        return None


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


def _segments(ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    values, areas = np.unique(ids, return_counts=True)
    return [
        {"id": int(v), "category_id": BACKGROUND if v == REST else NUCLEUS, "area": int(a), "iscrowd": 0}
        for v, a in zip(values, areas, strict=True)
    ]


if __name__ == "__main__":
    main()
