"""From a raw EM volume to neurons: train affinities, make supervoxels, cut their graph, compare with a threshold.

    python examples/em_volume/train.py                          # a volume that it draws itself: about four minutes
    python examples/em_volume/train.py --volume FILE.h5         # or .npz, .zarr: raw, groundtruth, maybe supervoxels

Slices of the first half train, some choose thresholds, the rest test. Rerun an interrupted command to resume.
"""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from network import LOSSES, Network, predict, train
from segmentation import compared, regions_of, supervoxels
from skimage.color import label2rgb
from skimage.segmentation import mark_boundaries
from tabulate import tabulate
from volumes import Array, Volume, draw, read

PARTS = {"train": (0.0, 0.5), "choose": (0.5, 0.66), "test": (0.66, 1.0)}  # of the slices
GAP = 4  # slices left out between two parts, since neighbours look alike


def evaluate(network: Network, *volumes: Volume) -> tuple[list[dict[str, object]], dict[str, Array]]:
    """Rows of all methods, and the pictures' volumes; biases are chosen on the first volume for the second."""
    found = []
    for volume in volumes:
        p = 1 / (1 + np.exp(-predict(network, volume.raw)))
        labels = supervoxels(p) if volume.supervoxels is None else volume.supervoxels
        found.append((regions_of(labels, p), volume.truth))
    rows, segmentations = [], {}
    for row, segmentation in compared(*found):
        rows.append({**row, "supervoxels": len(found[1][0].graph.ids)})
        segmentations[str(row["method"])] = segmentation
    return rows, segmentations


def picture(path: Path, volume: Volume, segmentations: dict[str, Array]) -> None:
    """A slice of the test part: grey values, truth and what was found."""
    z = volume.raw.shape[0] // 2
    panels = {"truth": volume.truth, **{k: v for k, v in segmentations.items() if v.size}}
    colours = np.random.default_rng(1).uniform(0.25, 1, (997, 3))
    figure = Figure(figsize=(4 * (len(panels) + 1), 4.3), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1, subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
    axes[0].imshow(volume.raw[z], cmap="gray")
    axes[0].set_title("raw")
    for axis, (name, labels) in zip(axes[1:], panels.items(), strict=True):
        axis.imshow(mark_boundaries(label2rgb(labels[z], volume.raw[z], colours, 0.55, -1), labels[z], (0, 0, 0)))
        axis.set_title(name)
    figure.savefig(path, dpi=80)


def main(arguments: list[str] | None = None) -> Path:
    """Train the three stages, compare after each, and write table and picture."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--volume", type=Path | None, help="an .npz, .h5 or .zarr file; a drawn volume by default")
    parser.add_argument("--steps", type=list[int], default=[800, 80, 80], help="for each of the three losses")
    parser.add_argument("--out", type=Path, default=Path("runs/em_volume"))
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    if len(a.steps) != len(LOSSES) or min(*a.steps, a.seed) < 0 or a.seed >= 2**63:
        parser.error(f"--steps must be {len(LOSSES)} numbers from 0 on, --seed in 0..2^63-1: {a.steps}, {a.seed}")
    try:
        a.out.mkdir(parents=True, exist_ok=True)
        volume = draw(seed=a.seed) if a.volume is None else read(a.volume)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    n = len(volume.raw)
    parts = {name: volume.slab(round(a * n) + (GAP if a else 0), round(b * n)) for name, (a, b) in PARTS.items()}
    torch.manual_seed(a.seed)
    network, rows, began = Network(), [], time.perf_counter()
    for number, (name, steps) in enumerate(zip(LOSSES, a.steps, strict=True)):
        source = f"{a.volume.stem if a.volume else 'drawn'}-{zlib.crc32(volume.truth, zlib.crc32(volume.raw)):08x}"
        stages = "-".join(map(str, a.steps[: number + 1]))
        train(network, name, steps, parts["train"], a.out / f"{source}-seed{a.seed}-{stages}.pt", a.seed)
        found, segmentations = evaluate(network, parts["choose"], parts["test"])
        rows += [{"trained with": f"+ {name}" if number else name, **row} for row in found]
        (a.out / "table.md").write_text(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f") + "\n")
        picture(a.out / "picture.png", parts["test"], segmentations)
    print((a.out / "table.md").read_text(), end="")
    print(f"{time.perf_counter() - began:.0f} s; wrote {a.out / 'table.md'} and {a.out / 'picture.png'}")
    return a.out


if __name__ == "__main__":
    main()
