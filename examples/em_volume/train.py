"""From a raw EM volume to neurons: train affinities, make supervoxels, cut their graph, compare with a threshold.

    python examples/em_volume/train.py                          # a volume that it draws itself: about four minutes
    python examples/em_volume/train.py --volume FILE.npz        # arrays raw, groundtruth and, if there are, supervoxels

Slices of the first half train, those of the second half test. Rerun an interrupted command to resume.
"""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jsonargparse import ArgumentParser
from network import LOSSES, Network, predict, train
from segmentation import compared, regions_of, supervoxels
from skimage.segmentation import find_boundaries
from tabulate import tabulate
from volumes import Array, Volume, draw, read

matplotlib.use("Agg")
GAP = 6  # slices between training and test, since neighbours look alike


def evaluate(network: Network, halves: tuple[Volume, Volume]) -> tuple[list[dict[str, object]], dict[str, Array]]:
    """Rows of all methods, and the pictures' volumes."""
    found = []
    for half in halves:
        p = 1 / (1 + np.exp(-predict(network, half.raw)))
        labels = supervoxels(p) if half.supervoxels is None else half.supervoxels
        found.append((regions_of(labels, p), half.truth))
    rows, segmentations = [], {}
    for row, segmentation in compared(*found):
        rows.append({**row, "supervoxels": len(found[1][0].graph.ids)})
        segmentations[str(row["method"])] = segmentation
    return rows, segmentations


def picture(path: Path, half: Volume, segmentations: dict[str, Array]) -> None:
    """A slice of the test half: grey values, truth and what was found."""
    import matplotlib.pyplot as plt

    z = half.raw.shape[0] // 2
    panels = {"truth": half.truth, **{k: v for k, v in segmentations.items() if v.size}}
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(4 * (len(panels) + 1), 4.3), layout="constrained")
    axes[0].imshow(half.raw[z], cmap="gray")
    axes[0].set_title("raw")
    for axis, (name, labels) in zip(axes[1:], panels.items(), strict=True):
        ids = np.unique(labels[z], return_inverse=True)[1].reshape(labels[z].shape)
        colours = np.random.default_rng(1).uniform(0.25, 1, (ids.max() + 1, 3))[ids]
        colours[find_boundaries(labels[z])] = 0
        axis.imshow(0.45 * half.raw[z][..., None] + 0.55 * colours)
        axis.set_title(name)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> Path:
    """Train the three stages, compare after each, and write table and picture."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--volume", type=Path | None, help="an .npz file; a drawn volume by default")
    parser.add_argument("--steps", type=list[int], default=[800, 80, 80], help="for each of the three losses")
    parser.add_argument("--out", type=Path, default=Path("runs/em_volume"))
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    if len(a.steps) != len(LOSSES) or min(a.steps) < 0:
        parser.error(f"--steps must be {len(LOSSES)} numbers that are not negative, got {a.steps}")
    a.out.mkdir(parents=True, exist_ok=True)
    volume = draw(seed=a.seed) if a.volume is None else read(a.volume)
    middle = len(volume.raw) // 2
    halves = volume.slab(0, middle - GAP // 2), volume.slab(middle + GAP // 2, len(volume.raw))
    torch.manual_seed(a.seed)
    network, rows, began = Network(), [], time.perf_counter()
    for number, (name, steps) in enumerate(zip(LOSSES, a.steps, strict=True)):
        source = "drawn" if a.volume is None else a.volume.stem
        stages = "-".join(map(str, a.steps[: number + 1]))
        train(network, name, steps, halves[0], a.out / f"{source}-seed{a.seed}-{stages}.pt", a.seed)
        found, segmentations = evaluate(network, halves)
        rows += [{"trained with": f"+ {name}" if number else name, **row} for row in found]
        text = tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f")
        (a.out / "table.md").write_text(text + "\n")
        picture(a.out / "picture.png", halves[1], segmentations)
    print(text)
    print(f"{time.perf_counter() - began:.0f} s; wrote {a.out / 'table.md'} and {a.out / 'picture.png'}")
    return a.out


if __name__ == "__main__":
    main()
