"""Peak memory and time of predictions for photos of several sizes, and of one training step through the solver.

    python benchmarks/memory.py            # about five minutes
    python benchmarks/memory.py --quick    # without the photo of 12 megapixels

Every row is measured in a process of its own. Memory is the largest resident set of that process, imports included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from report import save
from scipy.spatial import cKDTree
from tqdm import tqdm

from diffcomb import AsymmetricMultiwayCutLayer, Blackbox, Uniform

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "panoptic_cops"
PHOTOS = {"640x480": (480, 640), "1280x960": (960, 1280), "4000x3000": (3000, 4000)}
INSTANCES, SIDE, BATCH, COLD_BATCH = 70, 256, 48, 8
STEPS = "masks (as before)", "overlaps of labels", "overlaps, cold starts as in the paper"
OFFSETS = [offset for d in (1, 4, 8, 16) for offset in ((0, d), (d, 0))]


def photo(height: int, width: int) -> Image.Image:
    """A picture of coloured patches with soft borders and noise."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def predicted(name: str) -> dict[str, Any]:
    """Time and memory of predict.py, which runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        photo(*PHOTOS[name]).save(path)
        command = [sys.executable, str(EXAMPLE / "predict.py"), str(path), "--out", f"{folder}/out"]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - began
    return {"case": f"predict.py, {name}", "GiB": _children_peak(), "seconds": seconds}


def _children_peak() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def training_step(how: str) -> dict[str, Any]:
    """One step of the surrogate on a batch of Voronoi cells, through masks or overlaps of labels, or cold."""
    sys.path.insert(0, str(EXAMPLE))
    from cops.surrogate import PanopticQualitySurrogate

    rng = np.random.default_rng(0)
    cells = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1).reshape(-1, 2)
    truth = np.stack([cKDTree(rng.uniform(0, SIDE, (INSTANCES, 2))).query(cells)[1] for _ in range(BATCH)])
    truth = torch.from_numpy(truth.reshape(BATCH, SIDE, SIDE))
    segments = 1 + 2 * truth  # class 1 of 2
    nodes = torch.stack([torch.ones(truth.shape), -torch.ones(truth.shape)], 1)
    edges = torch.zeros(BATCH, len(OFFSETS), SIDE, SIDE)
    for o, (down, right) in enumerate(OFFSETS):
        same = truth[:, : SIDE - down, : SIDE - right] == truth[:, down:, right:]
        edges[:, o, : SIDE - down, : SIDE - right] = torch.where(same, 1.0, -1.0)
    edges += 0.9 * torch.randn(edges.shape, generator=torch.Generator().manual_seed(0))
    cold, masks = how == STEPS[2], how == STEPS[0]
    batch = COLD_BATCH if cold else BATCH
    estimator = Blackbox(Uniform(1000, 5000, 5), start="cold" if cold else "warm")
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1], estimator=estimator, generator=torch.Generator().manual_seed(0))
    surrogate = PanopticQualitySurrogate(torch.full((2,), 20.0), 1.0)

    def step(n: int) -> tuple[float, int]:
        leaves = [nodes[:n].clone().requires_grad_(), edges[:n].clone().requires_grad_()]
        out = layer(*leaves)
        loss = surrogate(out.panoptic if masks else out, out.label_classes, segments[:n])
        gradients = torch.autograd.grad(loss, leaves)
        return float(sum(g.abs().sum() for g in gradients)), out.label_classes.shape[1]

    step(1)  # compiles
    began = time.perf_counter()
    total, labels = step(batch)
    seconds = time.perf_counter() - began
    case = f"training step, {batch} images {SIDE}x{SIDE}, up to {labels} labels: {how}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"case": case, "GiB": peak, "seconds": seconds, "sum of the gradients": f"= {total:.9g}"}


CASES = {
    **{name: (predicted, name) for name in PHOTOS},
    **{how: (training_step, how) for how in STEPS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="leave out the photo of 12 megapixels")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        function, argument = CASES[options.case]
        print(json.dumps(function(argument)))
        return
    names = [name for name in CASES if not (options.quick and name == "4000x3000")]
    rows = []
    for name in tqdm(names, desc="cases"):
        done = subprocess.run([sys.executable, __file__, "--case", name], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    note = (
        "`python benchmarks/memory.py`. Memory is the largest resident set of a process, including the 0.3 GiB of "
        "Python, torch and numba. Times include the start of the process and, for predict.py, writing the pictures."
    )
    save("memory", "## Memory", rows, options.out, note)


if __name__ == "__main__":
    main()
