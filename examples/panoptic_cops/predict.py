"""Segment your own images with a trained model.

    python examples/panoptic_cops/predict.py image.png more/*.jpg --checkpoint runs/scenes/checkpoints/full.pt

For every image, and every frame of an animation or a video, three PNGs are written to the folder --out:
NAME_overlay (or another --view, with a legend), NAME_classes (the colours of the classes), and NAME_panoptic (id =
R + 256 G + 256² B, 0 is void). panoptic.json (COCO panoptic format) and segments.csv list the segments of all images in
the folder, those of earlier calls too. See "Use it on your images" in docs/cops.md.

Exit status: 0, everything was segmented; 1, some files were skipped; 2, nothing could be done, or the disk is full;
130 or 143, stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from cops.data.frames import files_of, frames_of
from cops.data.output_files import Name, absolute, is_foreign, output_names
from cops.data.pictures import class_colors, view
from cops.data.samples import DataError, Prediction
from cops.data.writer import PanopticWriter
from cops.model.checkpoints import CheckpointError, find_device, load_model
from cops.model.segmenter import Segmenter
from cops.model.tiles import TILE, WHOLE, predict_large
from cops.model.views import VIEWS_HELP, VIEWS_OF_IMAGE
from cops.stopping import Stopped, StopSignals
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).parent
NUCLEI = HERE / "checkpoints" / "nuclei_full_svm.pt"
DRAWN = (
    "note: {path} learned its classes ({classes}) on drawn scenes and finds them in every image, also where there are "
    "none. For nuclei in fluorescence images take --checkpoint {nuclei}; for other photos train a model of your own "
    "classes: docs/data.md."
)


def main(arguments: list[str] | None = None) -> None:
    """Segment the images named on the command line; the exit status is that of the module's description."""
    parser = ArgumentParser(description="Segment your own images with a trained model.")
    parser.add_argument("images", nargs="+", type=Path, help="images, animations, videos, or folders of them")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoints" / "scenes_full_svm.pt")
    parser.add_argument(
        "--full_resolution", type=bool | None, help="cut on pixels or on the grid, if other than in training"
    )
    parser.add_argument("--views", type=VIEWS_OF_IMAGE, default=1, help=VIEWS_HELP)
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder; what it holds is kept")
    parser.add_argument(
        "--view",
        type=Literal["overlay", "outlines", "instances"],
        default="overlay",
        help="what is drawn: segments, their outlines, or things one by one",
    )
    parser.add_argument("--tile", type=int | None, help=f"side of the tiles that an image is cut in, 0 for none; "
                        f"by default {TILE} pixels for images of more than {WHOLE / 1e6:.1f} million")  # fmt: skip
    parser.add_argument("--max_size", type=int | None, help="make images smaller whose longer side has more pixels")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    done = Done(options.out, options.view)
    status, message = 0, ""
    try:
        with StopSignals() as stop:
            model, config = load_model(options.checkpoint)
            if config.data == "scenes":
                classes = ", ".join(c.name for c in model.categories)
                print(DRAWN.format(path=options.checkpoint, classes=classes, nuclei=NUCLEI), file=sys.stderr)
            if options.full_resolution is not None:
                model.full_resolution = options.full_resolution
            model.views = options.views
            how = Large(model, find_device(options.device), options.tile, options.max_size)
            predict(options.images, how, done, stop)
    except (DataError, CheckpointError, ValueError, OSError) as error:
        status, message = 2, f"predict.py: error: {error}\n"
    except Stopped as stopped:
        status, message = 128 + stopped.number, f"predict.py: {stopped}\n"
    print(done.summary(), end="", flush=True)
    if done.skipped and not status:
        status = 1 if done.names else 2
    if status:
        parser.exit(status, done.complaint() + message)


@dataclass
class Done:
    """The results of a call so far; `listed` counts images in panoptic.json, None if it could not be written."""

    out: Path
    view: str
    names: set[str] = field(default_factory=set)
    listed: int | None = None
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Describe the results; empty if nothing was segmented."""
        if not self.names:
            return ""
        files = f"NAME_{self.view}.png, NAME_classes.png and NAME_panoptic.png"
        lists = f"panoptic.json and segments.csv list {_images(self.listed or 0)}"
        if self.listed is None:
            lists = "panoptic.json lacks the last of them, the next call to this folder will list them from the PNGs"
        return f"wrote {files} of {_images(len(self.names))} to {self.out}; {lists}\n"

    def complaint(self) -> str:
        """Which files were skipped, and why; empty if none was."""
        heading = f"predict.py: skipped {len(self.skipped)} of the files:\n" if self.skipped else ""
        return heading + "".join(f"predict.py: error: {reason}\n" for reason in self.skipped)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


class Large:
    """A model, and how it processes images that are too large for it."""

    def __init__(self, model: Segmenter, device: torch.device, tile: int | None, max_size: int | None) -> None:
        least = model.network.divisor
        for name, value, low in (("tile", tile, 0), ("max_size", max_size, 1)):
            if value is not None and value < low:
                raise ValueError(f"--{name} must be at least {low}, got {value}")
        if tile and tile < 2 * least:
            raise ValueError(f"--tile must be 0 or at least {2 * least}, got {tile}")
        self.model, self.device, self.tile, self.max_size = model.to(device), device, tile, max_size

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image; a MemoryError says what to do."""
        try:
            return predict_large(self.model, image, self.device, self.tile, self.max_size)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate" not in str(error) and "out of memory" not in str(error):
                raise
            raise MemoryError(
                f"{image.shape[1]}x{image.shape[0]} pixels; try a smaller --tile or --max_size"
            ) from error


def predict(images: list[Path], large: Large, done: Done, stop: StopSignals) -> None:
    """Segment images and frames; skip files that cannot be read."""
    writer = PanopticWriter(done.out, large.model.categories)
    done.names = writer.added
    beside = absolute(done.out) in map(absolute, images)  # results go where the images are
    found = files_of(images, outside=None if beside else done.out)
    files = [path for path in found.files if not beside or path.suffix != ".png" or is_foreign(path)]
    done.skipped += [f"{path} is {reason}" for path, reason in found.left_out]
    if not files:
        raise DataError(f"no image was found in {', '.join(map(str, images))}")
    given = {absolute(path): path for path in files}
    named = output_names(files, writer.names(), lambda name: writer.taken(name, (done.view, "classes")))
    with closing(writer, stop, done), tqdm(desc="segmenting", unit="image") as bar:
        for path, name in named.items():
            before = bar.n
            try:
                for title, image in frames_of(given[path], large.model.normalize):
                    prediction = large.predict(image)
                    stop.check()
                    with stop.uninterrupted():
                        add(writer, image, prediction, path, name, title.removeprefix(path.stem), done)
                    bar.update()
                if bar.n > before:
                    with stop.uninterrupted():
                        writer.complete(path)
            except (DataError, MemoryError) as error:
                reason = str(error) if isinstance(error, DataError) else f"{given[path]} needs too much memory: {error}"
                done.skipped.append(reason + (f"; frames segmented before: {bar.n - before}" * (bar.n > before)))


@contextlib.contextmanager
def closing(writer: PanopticWriter, stop: StopSignals, done: Done) -> Iterator[None]:
    """List the results at the end, also after an error or a signal."""
    try:
        yield
    finally:
        with stop.uninterrupted():
            writer.close()
            done.listed = len(writer.entries)


def add(
    writer: PanopticWriter,
    image: NDArray[np.uint8],
    prediction: Prediction,
    path: Path,
    name: Name,
    number: str,
    done: Done,
) -> None:
    """Write the results of an image, or of the frame with that number: "_00000", ..."""
    pictures = {
        done.view: view(done.view, image, prediction, writer.categories),
        "classes": Image.fromarray(class_colors(prediction.ids, prediction.segments, writer.categories)),
    }
    writer.add(
        name.name + number,
        prediction,
        file_name=str(Path(name.file_name).with_name(f"{path.stem}{number}.png")) if number else name.file_name,
        source=path,
        frame=int(number[1:]) if number else None,
        pictures=pictures,
    )


if __name__ == "__main__":
    main()
