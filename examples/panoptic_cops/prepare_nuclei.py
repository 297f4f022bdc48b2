"""Convert the public 2018 Data Science Bowl download to COCO panoptic format.

    python examples/panoptic_cops/prepare_nuclei.py stage1_train --out nuclei
    python examples/panoptic_cops/train.py --data coco --root nuclei

SOURCE holds one folder an image: ID/images/ID.png, and ID/masks/*.png with one nucleus each. Where masks overlap, the
first one keeps the pixel; what no mask covers is the stuff class "background".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from cops.checkpoints import write_json
from cops.coco import DataError, read_image
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

NUCLEUS, BACKGROUND = 1, 2  # category ids
CATEGORIES = [
    {"id": NUCLEUS, "name": "nucleus", "isthing": 1, "color": [220, 20, 60]},
    {"id": BACKGROUND, "name": "background", "isthing": 0, "color": [70, 70, 70]},
]
REST = 1  # segment id of the background
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
    """Write both splits; images that an interrupted call has finished are not read again."""
    if not source.is_dir():
        raise DataError(f"the folder {source} does not exist")
    if not 0 < test < 1:
        raise ValueError(f"test must lie between 0 and 1, got {test}")
    folders = sorted(p for p in source.iterdir() if (p / "images").is_dir())
    chosen = [f for f in tqdm(folders, desc="looking") if not fluorescence_only or is_fluorescence(_image(f))]
    if len(chosen) < 2:
        raise DataError(f"{source} must hold at least two folders ID/images/ID.png of that modality, got {len(chosen)}")
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
        if label_path.exists() and image_path.exists():
            with Image.open(label_path) as file:
                rgb = np.asarray(file).astype(np.int64)
            ids = rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2]
        else:
            image = _image(folder)
            ids = _ids(folder, image.shape[:2])
            Image.fromarray(image).save(image_path)
            rgb = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)
            partial = label_path.with_suffix(".partial")
            Image.fromarray(rgb).save(partial, format="PNG")
            partial.replace(label_path)  # written last: it says that the image is finished
        height, width = ids.shape
        images.append({"id": number, "file_name": image_path.name, "height": height, "width": width})
        annotations.append({"image_id": number, "file_name": label_path.name, "segments_info": _segments(ids)})
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    write_json(content, out / "annotations" / f"panoptic_{split}.json")


def _image(folder: Path) -> NDArray[np.uint8]:
    found = sorted((folder / "images").glob("*.png"))
    if len(found) != 1:
        raise DataError(f"{folder / 'images'} must hold one PNG, got {len(found)}")
    return read_image(found[0])


def _ids(folder: Path, size: tuple[int, ...]) -> NDArray[np.int64]:
    ids = np.full(size, REST, np.int64)
    for number, path in enumerate(sorted((folder / "masks").glob("*.png")), start=REST + 1):
        mask = read_image(path).max(2) > 127
        if mask.shape != ids.shape:
            raise DataError(f"{path}: mask {mask.shape} and image {ids.shape} differ in size")
        ids[mask & (ids == REST)] = number
    return ids


def _segments(ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    values, areas = np.unique(ids, return_counts=True)
    return [
        {"id": int(v), "category_id": BACKGROUND if v == REST else NUCLEUS, "area": int(a), "iscrowd": 0}
        for v, a in zip(values, areas, strict=True)
    ]


if __name__ == "__main__":
    main()
