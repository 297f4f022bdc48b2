"""Draw the picture of the README: a held-out image, the nuclei that a trained model finds in it, and the annotation.

    python docs/nuclei_picture.py --root FOLDER    # writes docs/pictures/nuclei.png

FOLDER holds the nuclei of the 2018 Data Science Bowl (CC0) in COCO panoptic format, as docs/data.md describes. The
image is the one of the `val` split with the most nuclei. In the split behind our tables, neither training nor the
choice of the checkpoint used these images; another split may hold images that the checkpoint was trained on.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "panoptic_cops"
CHECKPOINT = EXAMPLE / "checkpoints" / "nuclei_full_svm.pt"
GAP, TITLE = 8, 34  # pixels
ENLARGED = 2


def read_ids(path: Path) -> np.ndarray:
    """Segment of every pixel, from a PNG in COCO panoptic format."""
    with Image.open(path) as file:
        red, green, blue = np.moveaxis(np.asarray(file.convert("RGB"), np.int64), 2, 0)
    return red + 256 * green + 256**2 * blue


def overlay(image: np.ndarray, ids: np.ndarray, things: list[int]) -> Image.Image:
    """The image, each thing in a colour of its own with a white outline; enlarged without smoothing."""
    image, ids = (a.repeat(ENLARGED, 0).repeat(ENLARGED, 1) for a in (image, ids))
    drawn = image.astype(float)
    for number, thing in enumerate(things):
        color = np.array(colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.9, 1.0))
        drawn[ids == thing] = 0.45 * drawn[ids == thing] + 0.55 * 255 * color
    ids = np.where(np.isin(ids, things), ids, 0)
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edge[:-1] |= ids[:-1] != ids[1:]
    drawn[edge] = 255
    return Image.fromarray(drawn.clip(0, 255).astype(np.uint8))


def things_by_image(listing: Path) -> dict[str, tuple[str, list[int]]]:
    """Name of the PNG and ids of all things, for every image of a COCO panoptic list, by the image's name."""
    content = json.loads(listing.read_text())
    kinds = {category["id"] for category in content["categories"] if category["isthing"]}
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    return {
        names[a["image_id"]]: (a["file_name"], [s["id"] for s in a["segments_info"] if s["category_id"] in kinds])
        for a in content["annotations"]
    }


def brightened(path: Path) -> np.ndarray:
    """The image as RGB, its brightest percent of pixels white: most nuclei are too dark to be seen otherwise."""
    with Image.open(path) as file:
        image = np.asarray(file.convert("RGB"), float)
    return (image * 255 / np.quantile(image, 0.99)).clip(0, 255)


def main() -> None:
    """Predict and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the nuclei")
    parser.add_argument("--out", type=Path, default=HERE / "pictures" / "nuclei.png")
    options = parser.parse_args()
    annotations = options.root / "annotations"
    listed = things_by_image(annotations / "panoptic_val.json")
    name = max(listed, key=lambda name: len(listed[name][1]))
    path = options.root / "val" / f"{name}.png"
    image = brightened(path)
    png, things = listed[name]
    true = read_ids(annotations / "panoptic_val" / png), things
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLE / "predict.py"), str(path), "--checkpoint", str(CHECKPOINT)]
        subprocess.run([*command, "--out", folder], check=True)
        png, things = things_by_image(Path(folder) / "panoptic.json")[name]
        found = read_ids(Path(folder) / png), things
    panels = {
        "held-out image": overlay(image, found[0], []),
        f"found: {len(found[1])} nuclei": overlay(image, *found),
        f"annotated: {len(true[1])} nuclei": overlay(image, *true),
    }
    width, height = next(iter(panels.values())).size
    canvas = Image.new("RGB", (3 * width + 2 * GAP, height + TITLE), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(24)
    for column, (title, panel) in enumerate(panels.items()):
        pen.text((column * (width + GAP), 2), title, fill="black", font=font)
        canvas.paste(panel, (column * (width + GAP), TITLE))
    canvas.quantize(192).save(options.out, optimize=True)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
