"""Predict a drawn micrograph of 12 megapixels in tiles, and draw a corner where four tiles meet.

python docs/large_photo.py    # some minutes; writes docs/pictures/large_photo.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "panoptic_cops"
HEIGHT, WIDTH, TILE = 3000, 4000, 1024
SIDE = 480  # of the part that is shown, pixel for pixel


def micrograph() -> Image.Image:
    """Round nuclei of several sizes and brightnesses on a dark ground, with noise."""
    rng = np.random.default_rng(0)
    image = rng.normal(12, 2, (HEIGHT, WIDTH))
    for y, x in np.stack(np.mgrid[30 : HEIGHT - 30 : 46, 30 : WIDTH - 30 : 46], -1).reshape(-1, 2):
        y, x, r = y + rng.integers(-9, 10), x + rng.integers(-9, 10), rng.uniform(8, 19)
        rows, columns = np.mgrid[-19:20, -19:20]
        disc = (rows**2 + columns**2 < r * r) * rng.uniform(40, 120)
        image[y - 19 : y + 20, x - 19 : x + 20] = np.maximum(image[y - 19 : y + 20, x - 19 : x + 20], disc)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def main() -> None:
    """Predict and draw."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micrograph.png"
        micrograph().save(path)
        checkpoint = EXAMPLE / "checkpoints" / "nuclei_full_svm.pt"
        command = [sys.executable, str(EXAMPLE / "predict.py"), str(path), "--checkpoint", str(checkpoint)]
        options = ["--out", f"{folder}/out", "--view", "instances", "--tile", str(TILE)]
        subprocess.run([*command, *options], check=True)
        with Image.open(Path(folder) / "out" / "micrograph_instances.png") as file:
            whole = file.convert("RGB")
    corner = (TILE - SIDE // 2, TILE - SIDE // 2)
    part = whole.crop((*corner, corner[0] + SIDE, corner[1] + SIDE))
    pen = ImageDraw.Draw(part)
    middle, last = SIDE // 2, SIDE - 1
    for a, b in ((0, 12), (last, last - 12)):  # short marks at the border: a line would hide what lies below it
        pen.line([(middle, a), (middle, b)], fill="white", width=3)
        pen.line([(a, middle), (b, middle)], fill="white", width=3)
    whole = whole.resize((640, SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (640 + 16 + SIDE, SIDE), "white")
    canvas.paste(whole)
    canvas.paste(part, (640 + 16, 0))
    out = HERE / "pictures" / "large_photo.png"
    canvas.quantize(128).save(out, optimize=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
