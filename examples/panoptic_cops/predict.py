"""Segment your own images with a trained model.

    python examples/panoptic_cops/predict.py image.png more/*.jpg --checkpoint runs/scenes/checkpoints/full.pt

For every image, and every frame of an animation or a video, NAME_overlay.png and NAME_panoptic.png (id = R + 256 G +
256² B, 0 is void) are written; the classes of the ids stand in panoptic.json, in COCO panoptic format.
"""

from __future__ import annotations

from pathlib import Path

import torch
from cops.checkpoints import CheckpointError
from cops.coco import DataError
from cops.export import PanopticWriter
from cops.frames import files_of, frames_of
from cops.models import find_device, load_model
from cops.pictures import overlay
from cops.segmenter import Segmenter
from jsonargparse import ArgumentParser
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> None:
    """Segment the images named on the command line."""
    parser = ArgumentParser(description="Segment your own images with a trained model.")
    parser.add_argument("images", nargs="+", type=Path, help="images, animations, videos, or folders of them")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoints" / "scenes_single_svm.pt")
    parser.add_argument(
        "--full_resolution", type=bool | None, help="cut on pixels or on the grid, if other than in training"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        model, _ = load_model(options.checkpoint)
        if options.full_resolution is not None:
            model.full_resolution = options.full_resolution
        predict(options.images, model, options.out, find_device(options.device))
    except (DataError, CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"predict.py: error: {error}\n")


def predict(images: list[Path], model: Segmenter, out: Path, device: torch.device) -> None:
    """Segment images and frames; what is done is on disk even if a later file is bad."""
    model.to(device)
    writer = PanopticWriter(out, model.categories)
    names: set[str] = set()
    try:
        with tqdm(desc="segmenting", unit="image") as bar:
            for path in files_of(images):
                for name, image in frames_of(path):
                    (prediction,) = model.predict([image], device)
                    while name in names:  # images of one name from several folders
                        name += "_"
                    names.add(name)
                    writer.add(name, prediction)
                    picture = overlay(image, prediction.ids, prediction.segments, model.categories)
                    Image.fromarray(picture).save(out / f"{name}_overlay.png")
                    bar.update()
    finally:
        print(f"wrote {writer.close()}, and for each of {len(names)} images an overlay and an id PNG beside it")


if __name__ == "__main__":
    main()
