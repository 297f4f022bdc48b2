"""Draw the picture of the README: a held-out image, the nuclei that a trained model finds in it, and the annotation.

    python docs/nuclei_picture.py --root FOLDER    # writes docs/pictures/nuclei.png

FOLDER holds the nuclei in COCO panoptic format, as prepare_nuclei.py writes them (the 2018 Data Science Bowl, CC0).
The image is of the `val` split, which neither training nor the choice of the checkpoint used.
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
IMAGE = "0030"  # the one with the most nuclei
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


def ids_and_things(folder: Path, listing: Path) -> tuple[np.ndarray, list[int]]:
    """Segment of every pixel of the image, and the ids of its things, from a COCO panoptic list."""
    content = json.loads(listing.read_text())
    kinds = {category["id"] for category in content["categories"] if category["isthing"]}
    number = next(image["id"] for image in content["images"] if Path(image["file_name"]).stem == IMAGE)
    annotation = next(a for a in content["annotations"] if a["image_id"] == number)
    things = [segment["id"] for segment in annotation["segments_info"] if segment["category_id"] in kinds]
    return read_ids(folder / annotation["file_name"]), things


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
    path = options.root / "val" / f"{IMAGE}.png"
    image = brightened(path)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLE / "predict.py"), str(path), "--checkpoint", str(CHECKPOINT)]
        subprocess.run([*command, "--out", folder], check=True)
        annotations = options.root / "annotations"
        found = ids_and_things(Path(folder), Path(folder) / "panoptic.json")
        true = ids_and_things(annotations / "panoptic_val", annotations / "panoptic_val.json")
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
