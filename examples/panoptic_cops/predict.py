"""Segment your own images with a trained model.

    python examples/panoptic_cops/predict.py image.png more/*.jpg --checkpoint runs/scenes/checkpoints/full.pt

For every image, NAME_overlay.png and NAME_panoptic.png (id = R + 256 G + 256² B, 0 is void) are written; the
classes of the ids stand in panoptic.json, in COCO panoptic format.
"""

from __future__ import annotations

from pathlib import Path

import torch
from cops.checkpoints import CheckpointError
from cops.coco import DataError, read_image
from cops.export import PanopticWriter
from cops.pictures import overlay
from cops.models import find_device, load_model
from jsonargparse import ArgumentParser
from PIL import Image
from tqdm import tqdm


def main(arguments: list[str] | None = None) -> None:
    """Segment the images named on the command line."""
    parser = ArgumentParser(description="Segment your own images with a trained model.")
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/scenes/checkpoints/full.pt"))
    parser.add_argument("--out", type=Path, default=Path("predictions"))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        predict(options.images, options.checkpoint, options.out, find_device(options.device))
    except (DataError, CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"predict.py: error: {error}\n")


def predict(images: list[Path], checkpoint: Path, out: Path, device: torch.device) -> None:
    """Segment images; what is done is on disk even if a later image is bad."""
    model, _ = load_model(checkpoint)
    model.to(device)
    paths = [p for given in images for p in (sorted(_pictures(given)) if given.is_dir() else [given])]
    writer = PanopticWriter(out, model.categories)
    names: set[str] = set()
    try:
        for path in tqdm(paths, desc="segmenting", unit="image"):
            image = read_image(path)
            (prediction,) = model.predict([image], device)
            name = path.stem
            while name in names:  # images of one name from several folders
                name += "_"
            names.add(name)
            writer.add(name, prediction)
            picture = overlay(image, prediction.ids, prediction.segments, model.categories)
            Image.fromarray(picture).save(out / f"{name}_overlay.png")
    finally:
        print(f"wrote {writer.close()}, and for each of {len(names)} images an overlay and an id PNG beside it")


def _pictures(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix.lower() in Image.registered_extensions()]


if __name__ == "__main__":
    main()
