"""Convert annotations of other programs to the folder that --data folder reads (docs/data.md).

    python examples/panoptic_cops/prepare_custom.py labelme ANNOTATIONS --out data
    python examples/panoptic_cops/prepare_custom.py coco instances.json --images IMAGES --out data
    python examples/panoptic_cops/prepare_custom.py cvat annotations.xml --out data --stuff floor wall
    python examples/panoptic_cops/prepare_custom.py masks MASKS --images IMAGES --out data --thing cell

"masks" are label images of StarDist or Cellpose, or _seg.npy. Nothing is overwritten. --split train and --split val
convert into two splits; the second call takes over classes, stuff and background of the first.

Exit status: 0, everything was written; 2, nothing was, because of an error; 130 or 143, stopped by Ctrl-C or SIGTERM,
and what was written by then has been removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cops.convert.coco import read_coco
from cops.convert.cvat import read_cvat
from cops.convert.labelme import read_labelme
from cops.convert.layout import Choice
from cops.convert.masks import read_masks
from cops.convert.sources import Source
from cops.convert.writer import Written, write_folder
from cops.data.samples import DataError
from cops.stopping import Stopped, StopSignals
from jsonargparse import ArgumentParser

SHOWN = 3  # of what was left out for one reason


def main(arguments: list[str] | None = None) -> None:
    """Convert one source."""
    parser = ArgumentParser(description="Convert annotations of other programs to the folder that --data folder reads.")
    parser.add_argument("format", type=Literal["labelme", "coco", "cvat", "masks"])
    parser.add_argument("annotations", type=Path, help="the JSON or XML file, or the folder of annotations")
    parser.add_argument("--images", type=Path | None, help="folder of the images, if not beside the annotations")
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Literal["train", "val"] | None, help="convert into a split of --out")
    parser.add_argument("--classes", type=str, nargs="+", default=[], help="all classes, in their order; by default "
                        "those that the annotations list, or those that occur, by name")  # fmt: skip
    parser.add_argument(
        "--stuff", type=str, nargs="+", default=[], help="classes that are stuff; all others are things"
    )
    parser.add_argument("--void", type=str, nargs="+", default=[], help="labels whose pixels become void")
    parser.add_argument("--thing", type=str, default="cell", help='class of the instances of "masks"')
    parser.add_argument(
        "--background",
        type=str | None,
        help="stuff class of all pixels that nothing covers; by default they are void, or 'background' with the format "
        "masks, where '' makes them void",
    )
    o = parser.parse_args(arguments)
    try:
        with StopSignals():
            written = write_folder(read(o), o.out, o.split, choice(o))
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"prepare_custom.py: error: {error}\n")
    except Stopped as stopped:
        removed = "nothing was converted, and what was written by then has been removed"
        parser.exit(128 + stopped.number, f"\nprepare_custom.py: {stopped}: {removed}\n")
    print(summary(written))


def read(options: Any) -> Source:
    """The annotated images that the options name."""
    path = options.annotations
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir() != (options.format in ("labelme", "masks")):
        raise DataError(f"{path} must be a {'file' if path.is_dir() else 'folder'} for the format {options.format}")
    if options.format == "masks":
        source = read_masks(path, options.images, options.thing)
        background = source.background if options.background is None else options.background
        if options.thing in ("", background):
            raise DataError(
                f"--thing must be the name of a class other than --background {background!r}, got {options.thing!r}"
            )
        return source
    reader = {"labelme": read_labelme, "coco": read_coco, "cvat": read_cvat}[options.format]
    return reader(path, options.images)


def choice(options: Any) -> Choice:
    """How labels become classes."""
    return Choice(tuple(options.classes), frozenset(options.stuff), frozenset(options.void), options.background)


def summary(written: Written) -> str:
    """What was written, what was left out, and what may be wrong."""
    counts = ", ".join(f"{name} {count}" for name, count in sorted(written.instances.items())) or "none"
    lines = [f"wrote {written.images} images with labels to {written.out}; instances of things: {counts}"]
    for what, reasons in (("left out", written.skipped), ("warning:", written.doubts)):
        for reason, items in reasons.items():
            more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
            lines.append(f"{what} {len(items)} {reason}: {', '.join(items[:SHOWN])}{more}")
    root = written.out.parent if written.out.name in ("train", "val") else written.out
    return "\n".join([*lines, f"next: python examples/panoptic_cops/check_data.py --data folder --root {root}"])


if __name__ == "__main__":
    main()
