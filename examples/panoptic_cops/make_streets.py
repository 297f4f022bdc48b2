"""Draw street-like scenes and write them as Cityscapes is downloaded, to try its settings and sizes without its data.

    python examples/panoptic_cops/make_streets.py --out streets --train 60 --val 10
    python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/cityscapes.yaml --root streets

OUT gets leftImg8bit/{train,val}/street/NAME_leftImg8bit.png, and in gtFine/ NAME_gtFine_instanceIds.png and
NAME_gtFine_labelIds.png, with the original ids: 8 things, 11 stuff, groups, and void. Beside them lie
cityscapes_panoptic_{train,val}.json and their PNGs, as createPanopticImgs of cityscapesscripts writes them.

Every scene is a function of --seed, its split and its number. A second call draws what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cops.data.cityscapes import BITS, CATEGORIES, DIVISOR
from cops.data.converted import SOURCE, segments_of, source_of
from cops.data.folder import read_labels
from cops.data.id_colors import colors_of
from cops.data.samples import DataError
from cops.data.streets import make_street, parse_size
from cops.files import write_json, writing
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

VERSION = 1  # of the drawing: another one has scenes drawn anew
CITY = "street"
KNOWN = np.array([c.id for c in CATEGORIES])
THINGS = np.array([c.id for c in CATEGORIES if c.isthing])


def main(arguments: list[str] | None = None) -> None:
    """Draw both splits."""
    parser = ArgumentParser(description="Draw street-like scenes in the format of Cityscapes.")
    parser.add_argument("--out", type=Path, default=Path("streets"))
    parser.add_argument("--train", type=int, default=60, help="scenes of the split 'train'")
    parser.add_argument("--val", type=int, default=10, help="scenes of the split 'val', which is the test split")
    parser.add_argument("--size", type=str, default="1024x2048", help="height and width")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args(arguments)
    try:
        draw(o.out, o.train, o.val, parse_size(o.size), o.seed)
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"make_streets.py: error: {error}\n")


def draw(out: Path, train: int, val: int, size: tuple[int, int], seed: int) -> None:
    """Write both splits; scenes that an earlier call has finished are left as they are.

    Raises
    ------
    DataError
        If the folder holds images that this program has not written.
    ValueError
        If a number of scenes is below 1, or `seed` is negative.
    """
    if train < 1 or val < 1 or seed < 0:
        raise ValueError(f"needed: train >= 1, val >= 1 and seed >= 0; got {train}, {val} and {seed}")
    for split in ("train", "val"):
        for folder in (out / "leftImg8bit" / split, out / "gtFine" / split):
            others = sorted(p.name for p in folder.iterdir() if p.name != CITY) if folder.is_dir() else []
            if others:
                raise DataError(f"{folder} holds {others[0]}, which is not of this program: choose another --out")
    areas: list[int] = []
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        areas += _draw_split(out, split, [(seed, number, i) for i in range(count)], size)
    things = f"{len(areas) / (train + val):.1f} things an image"
    things += f", of {min(areas)} to {max(areas)} pixels" if areas else ""
    print(
        f"wrote {train} training and {val} test images of {size[0]}x{size[1]} in the format of Cityscapes to {out} "
        f"({things}); to train:\n"
        f"python examples/panoptic_cops/train.py --config examples/panoptic_cops/configs/cityscapes.yaml --root {out}"
    )


def _draw_split(out: Path, split: str, seeds: list[tuple[int, int, int]], size: tuple[int, int]) -> list[int]:
    """Write one split; returns the areas of all things."""
    panoptic = out / "gtFine" / f"cityscapes_panoptic_{split}"
    for folder in (panoptic, out / "leftImg8bit" / split / CITY, out / "gtFine" / split / CITY):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for seed in tqdm(seeds, desc=split):
        name = f"{CITY}_{seed[1]:06d}_{seed[2]:06d}"
        paths = _paths(out, split, name)
        source = f"streets {VERSION}, seed {seed}, size {size}"
        if source_of(paths["instanceIds"]) == source and all(p.exists() for p in paths.values()):
            values = read_labels(paths["instanceIds"], BITS)
        else:
            street = make_street(np.random.default_rng(seed), size)
            values = street.values.astype(np.int64)
            _write(street.image, values, paths, source)
        file_name = f"{name}_gtFine_leftImg8bit.png"  # as createPanopticImgs calls it
        images.append({"id": name, "width": size[1], "height": size[0], "file_name": file_name})
        segments = segments_of(_evaluated(values), _class_of, lambda v: (v < DIVISOR) & np.isin(v, THINGS))
        annotations.append({"image_id": name, "file_name": paths["panoptic"].name, "segments_info": segments})
    categories = [{"id": c.id, "name": c.name, "color": c.color, "isthing": int(c.isthing)} for c in CATEGORIES]
    content: dict[str, Any] = {"images": images, "annotations": annotations, "categories": categories}
    write_json(content, panoptic.with_suffix(".json"))
    _remove_others(out, split, {image["id"] for image in images})
    return [s["area"] for a in annotations for s in a["segments_info"] if s["id"] >= DIVISOR]


def _paths(out: Path, split: str, name: str) -> dict[str, Path]:
    """Files of a scene; that of the instance ids is written last."""
    return {
        "image": out / "leftImg8bit" / split / CITY / f"{name}_leftImg8bit.png",
        "labelIds": out / "gtFine" / split / CITY / f"{name}_gtFine_labelIds.png",
        "panoptic": out / "gtFine" / f"cityscapes_panoptic_{split}" / f"{name}_gtFine_panoptic.png",
        "instanceIds": out / "gtFine" / split / CITY / f"{name}_gtFine_instanceIds.png",
    }


def _write(image: NDArray[np.uint8], values: NDArray[np.int64], paths: dict[str, Path], source: str) -> None:
    """Write the files of a scene, the last one by renaming: it says that the scene is finished."""
    text = PngInfo()
    text.add_text(SOURCE, source)
    partial = paths["instanceIds"].with_suffix(".partial")
    with writing(paths["image"]):
        Image.fromarray(image).save(paths["image"], compress_level=1)  # noise, which no level compresses
    with writing(paths["labelIds"]):
        Image.fromarray(_class_of(values).astype(np.uint8)).save(paths["labelIds"])
    with writing(paths["panoptic"]):
        Image.fromarray(colors_of(_evaluated(values))).save(paths["panoptic"])
    with writing(paths["instanceIds"]):
        Image.fromarray(values.astype(np.uint16)).save(partial, format="PNG", pnginfo=text)
        partial.replace(paths["instanceIds"])


def _class_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values < DIVISOR, values, values // DIVISOR)


def _evaluated(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values, with 0 for classes that the evaluation ignores."""
    return np.where(np.isin(_class_of(values), KNOWN), values, 0)


def _remove_others(out: Path, split: str, kept: set[str]) -> None:
    """Remove scenes of an earlier call that asked for more."""
    for path in sorted((out / "gtFine" / split / CITY).glob("*_gtFine_instanceIds.png")):
        name = path.name.removesuffix("_gtFine_instanceIds.png")
        if name not in kept and source_of(path) is not None:
            for file in _paths(out, split, name).values():
                file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
