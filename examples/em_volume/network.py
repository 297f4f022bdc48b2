"""A small 3-D U-Net for affinities, and its three losses: cross-entropy, MALIS, structured SVM through the multicut."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from volumes import Array, Volume

from diffcomb import StructuredSVM, affinities, grid_graph, malis_loss, multicut, solver_loss

OFFSETS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 0, 0), (0, 6, 0), (0, 0, 6)]
CROP = (16, 64, 64)
TILE, HALO = (32, 128, 128), (8, 16, 16)


class Network(nn.Module):
    """From grey values (B, 1, Z, Y, X) to the log-odds that each offset stays within a segment (B, C, Z, Y, X)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fine = Slices(*_block(1, width, nn.Conv2d))
        self.coarse = nn.Sequential(*_block(width, 2 * width))
        self.bottom = nn.Sequential(*_block(2 * width, 4 * width))
        self.coarse_up = nn.Sequential(*_block(6 * width, 2 * width))
        self.fine_up = Slices(*_block(3 * width, width, nn.Conv2d))
        self.last = nn.Conv3d(width, len(OFFSETS), 1)

    def forward(self, raw: Tensor) -> Tensor:
        """All sizes are divisible by 4, but that of Z by 2."""
        fine = self.fine(2 * raw - 1)
        coarse = self.coarse(nn.functional.max_pool3d(fine, (1, 2, 2)))
        bottom = self.bottom(nn.functional.max_pool3d(coarse, 2))
        coarse = self.coarse_up(torch.cat([coarse, nn.functional.interpolate(bottom, scale_factor=2)], 1))
        up = nn.functional.interpolate(coarse, scale_factor=(1, 2, 2))
        return self.last(self.fine_up(torch.cat([fine, up], 1)))


class Slices(nn.Sequential):
    """A block that takes every slice (B, C, Z, Y, X) for an image: at full resolution, ten times as fast."""

    def forward(self, x: Tensor) -> Tensor:
        slices = x.transpose(1, 2)
        return super().forward(slices.flatten(0, 1)).unflatten(0, slices.shape[:2]).transpose(1, 2)


def _block(inputs: int, outputs: int, convolution: type[nn.Module] = nn.Conv3d) -> list[nn.Module]:
    both = [convolution(channels, outputs, 3, padding=1) for channels in (inputs, outputs)]
    return [layer for first in both for layer in (first, nn.GroupNorm(4, outputs), nn.LeakyReLU(0.1))]


def cross_entropy(logits: Tensor, truth: Array) -> Tensor:
    """Of every edge on its own."""
    target, known = map(torch.from_numpy, affinities(truth, OFFSETS, background=0))
    return nn.functional.binary_cross_entropy_with_logits(logits[known], target[known])


def malis(logits: Tensor, truth: Array) -> Tensor:
    """Of the edges that decide which voxels a threshold joins."""
    graph = grid_graph(truth.shape, OFFSETS)
    return malis_loss(graph, graph.edge_values(logits), np.where(truth == 0, -1, truth).ravel(), logits=True)


def structured_svm(logits: Tensor, truth: Array) -> Tensor:
    """Of the multicut as a whole, whose costs the log-odds are; the mean over its edges."""
    graph = grid_graph(truth.shape, OFFSETS)
    target, known = affinities(truth, OFFSETS, background=0)
    cut, labelled = 1 - graph.edge_values(target), graph.edge_values(known)
    loss = _SVM(graph.edge_values(logits), target=torch.from_numpy(cut), labelled=labelled, graph=graph)
    return loss / graph.num_edges


_SVM = solver_loss(
    lambda costs, graph: multicut(graph, costs, effort=0).edge_labels.astype(costs.dtype), StructuredSVM(), cost_ndims=1
)
LOSSES = {"cross-entropy": cross_entropy, "MALIS": malis, "structured SVM": structured_svm}


def train(network: Network, name: str, steps: int, volume: Volume, path: Path, seed: int) -> None:
    """Train with one of the losses on random crops; a stage that has a checkpoint is not trained again."""
    if path.exists():
        try:
            network.load_state_dict(torch.load(path, weights_only=True))
            return
        except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
            print(f"{path} is damaged ({type(error).__name__}): this stage is trained again")
    rng = np.random.default_rng([seed, list(LOSSES).index(name)])
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3 if name == "cross-entropy" else 1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], steps + 1)
    crop = tuple(min(c, n // 4 * 4) for c, n in zip(CROP, volume.raw.shape, strict=True))
    network.train()
    bar = tqdm(range(steps), desc=name, unit="step", disable=None)
    for _ in bar:
        raw, truth = _crop(rng, volume, crop)
        loss = LOSSES[name](network(torch.from_numpy(raw)[None, None])[0], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{float(loss.detach()):.4f}", refresh=False)
    temporary = path.with_suffix(".tmp")
    torch.save(network.state_dict(), temporary)
    temporary.replace(path)


def _crop(rng: np.random.Generator, volume: Volume, crop: tuple[int, ...]) -> tuple[Array, Array]:
    """A random crop, mirrored and transposed at random, brighter or darker."""
    start = [int(rng.integers(n - c + 1)) for n, c in zip(volume.raw.shape, crop, strict=True)]
    where = tuple(slice(s, s + c) for s, c in zip(start, crop, strict=True))
    axes = tuple(axis for axis in range(3) if rng.random() < 0.5)
    order = (0, 2, 1) if rng.random() < 0.5 else (0, 1, 2)
    raw, truth = (np.flip(array[where], axes).transpose(order) for array in (volume.raw, volume.truth))
    contrast, brightness = rng.uniform((0.85, -0.05), (1.15, 0.05)).astype(np.float32)
    return (raw - 0.5) * contrast + 0.5 + brightness, np.ascontiguousarray(truth)


@torch.no_grad()
def predict(network: Network, raw: Array) -> Array:
    """Log-odds (C, Z, Y, X) of a whole volume, tile by tile with a margin."""
    network.eval()
    out = np.empty((len(OFFSETS), *raw.shape), np.float32)
    padded = np.pad(raw, [(h, h + t) for h, t in zip(HALO, TILE, strict=True)], "symmetric")  # for the last tiles
    for corner in itertools.product(*(range(0, n, t) for n, t in zip(raw.shape, TILE, strict=True))):
        tile = padded[tuple(slice(a, a + t + 2 * h) for a, t, h in zip(corner, TILE, HALO, strict=True))]
        logits = network(torch.from_numpy(tile)[None, None])[0].numpy()
        inside = tuple(slice(a, min(a + t, n)) for a, t, n in zip(corner, TILE, raw.shape, strict=True))
        kept = tuple(slice(h, h + i.stop - i.start) for h, i in zip(HALO, inside, strict=True))
        out[(slice(None), *inside)] = logits[(slice(None), *kept)]
    return out
