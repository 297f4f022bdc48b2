"""Region graphs of label volumes: seconds and memory, beside scikit-image where that ends in a minute.

    python benchmarks/regions.py [--sides 64 256 512] [--threads 1 2]

The volume has cells of some 16 voxels a side with wavy walls. *sparse* ids are odd 64-bit numbers far apart. Memory is
how far the resident set rises, as a share of what the labels (8 bytes a voxel) and the boundary map (4) take.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from report import peak_megabytes, save, seconds
from tqdm import tqdm

from diffcomb import region_graph, set_num_threads

HERE = Path(__file__).parent
CELL = 16
OFFSETS = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def volume(side: int, sparse: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels (uint64) and a boundary map (float32), slice by slice."""
    labels, boundary = np.empty((side,) * 3, np.uint64), np.empty((side,) * 3, np.float32)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    count = side // CELL + 2
    for z in range(side):
        wave = 3 * np.sin(y / 7 + z / 11) + 3 * np.cos(x / 5 - z / 9)
        cell = [((c + wave) // CELL + 1).astype(np.uint64) for c in (np.full_like(y, z), y, x)]
        labels[z] = (cell[0] * count + cell[1]) * count + cell[2]
        boundary[z] = rng.random((side, side), np.float32)
    return (labels * np.uint64(0x9E3779B97F4A7C15) if sparse else labels), boundary


def rows(sides: list[int], threads: list[int]) -> Iterator[dict]:
    for side in tqdm(sides, desc="volumes"):
        for sparse in (False, True):
            labels, boundary = volume(side, sparse)
            for number in threads:
                set_num_threads(number)
                yield {"voxels": f"{side}^3", "ids": "sparse" if sparse else "dense", "threads": number} | _row(
                    labels, boundary, side <= 64 and number == min(threads)
                )


def _row(labels: np.ndarray, boundary: np.ndarray, with_peer: bool) -> dict:
    region_graph(labels[:2]).accumulate(boundary[:2])  # compiles
    peak = peak_megabytes(lambda: region_graph(labels).accumulate(boundary))
    regions = region_graph(labels)
    clusters = np.arange(regions.graph.num_nodes) // 3
    affinities = np.broadcast_to(boundary, (3, *boundary.shape))
    row: dict = {"regions": regions.graph.num_nodes, "edges": regions.graph.num_edges}
    row["graph, s"] = seconds(lambda: region_graph(labels))
    row["boundary map, s"] = seconds(lambda: regions.accumulate(boundary))
    row["with quantiles, s"] = seconds(lambda: regions.accumulate(boundary, quantiles=(0.1, 0.5, 0.9)), 1)
    row["affinities, s"] = seconds(lambda: regions.accumulate(affinities, OFFSETS), 1)
    row["project, s"] = seconds(lambda: regions.project(clusters))
    row["peak / input"] = None if peak is None else peak * 2**20 / (labels.nbytes + boundary.nbytes)
    row["scikit-image, s"] = _peer(labels) if with_peer else None
    return row


def _peer(labels: np.ndarray) -> float | None:
    try:
        from skimage.graph import RAG
    except ImportError:
        return None
    return seconds(lambda: RAG(labels, connectivity=1), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 256, 512])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    note = "scikit-image makes the graph alone (`RAG(labels, connectivity=1)`)."
    save("regions", "## Region graphs of volumes", list(rows(args.sides, args.threads)), args.out, note)


if __name__ == "__main__":
    main()
