"""Block-wise solves: quality against block size and halo, a volume of 1024^3 voxels, and runs that are killed.

python benchmarks/blockwise.py quality              # two minutes; DIFFCOMB_DATA adds EM volumes and region graphs
python benchmarks/blockwise.py scale --side 1024    # half an hour on two cores, and 5 GB of disk
python benchmarks/blockwise.py one-piece            # 10^8 edges from a file: ten minutes and 20 GB
python benchmarks/blockwise.py model --voxels 1e12  # from the tables of the two before
python benchmarks/blockwise.py kills --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
from report import save
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order
from tqdm import tqdm

from diffcomb import Graph, grid_graph, multicut, probabilities_to_costs, set_num_threads
from diffcomb.blockwise import solve_blockwise

HERE = Path(__file__).parent
PLANE = [(0, 1), (1, 0), (0, 4), (4, 0), (0, 16), (16, 0)]
NEAR = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
FAR = [*NEAR, (4, 0, 0), (0, 4, 0), (0, 0, 4)]


def cells(shape: tuple[int, int], noise: float) -> np.ndarray:
    """Costs of noisy Voronoi cells, of some 40 pixels across."""
    rng = np.random.default_rng(0)
    seeds = rng.uniform(0, 1, (shape[0] * shape[1] // 1600, 2)) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.argmin((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2, -1)
    costs = [2.0 * (labels == np.roll(labels, (-dy, -dx), (0, 1))) - 1 for dy, dx in PLANE]
    return (np.stack(costs) + rng.normal(0, noise, (len(PLANE), *shape))).astype(np.float32)


def membranes(raw: np.ndarray) -> np.ndarray:
    """Affinities of an EM volume, as far as grey values tell: how dark it gets between two voxels."""
    smooth = gaussian_filter(raw.astype(np.float32), 1.0)
    p = np.empty((len(FAR), *raw.shape), np.float32)
    for c, offset in enumerate(FAR):
        steps = range(max(offset) + 1)
        lowest = np.min([np.roll(smooth, [-s * (d > 0) for d in offset], (0, 1, 2)) for s in steps], axis=0)
        p[c] = 1 / (1 + np.exp((105 - lowest) / 12))
    return p


def landmarks(graph: Graph) -> np.ndarray:
    """Positions of nodes that have none: hops to three nodes that lie far apart."""
    n = graph.num_nodes
    u, v = graph.edges.T
    matrix = coo_array((np.ones(len(u), np.int8), (u, v)), shape=(n, n)).tocsr()
    positions = np.zeros((n, 3))
    start = 0
    for axis in range(3):
        order, before = breadth_first_order(matrix, start, directed=False)
        hops = np.zeros(n)
        for node in order[1:]:
            hops[node] = hops[before[node]] + 1
        positions[:, axis] = hops
        start = int(np.argmax(positions[:, : axis + 1].min(axis=1)))
    return positions


def cases() -> Iterator[tuple[str, Any, dict, list, Any]]:
    """Name, problem, options, (block, halo) to try, and the graph and costs of the solve in one piece."""
    for noise in (1.0, 2.0):
        costs = cells((256, 256), noise)
        graph = grid_graph(costs.shape[1:], PLANE)
        sizes = [((b, b), (h, h)) for b in (32, 64) for h in (0, 4, 8, 16)]
        yield f"grid 256x256, noise {noise:g}", costs, dict(offsets=PLANE, values="costs"), sizes, (
            graph, graph.edge_values(costs))  # fmt: skip
    data = os.environ.get("DIFFCOMB_DATA")
    if data is None:
        print("DIFFCOMB_DATA is not set: no EM volume, no region graphs")
        return
    raw = np.load(Path(data) / "fib_sem" / "medulla_train.npz")["raw"][:100, :125, :125]
    p = membranes(raw)
    graph = grid_graph(raw.shape, FAR)
    sizes = [((b, b, b), (h, h, h)) for b in (32, 64) for h in (0, 8)]
    yield "FIB-SEM 100x125x125", p, dict(offsets=FAR), sizes, (graph, probabilities_to_costs(graph.edge_values(p)))
    for path in sorted((Path(data) / "region_graphs").glob("*.npz")):
        with np.load(path) as file:
            graph, costs = Graph(int(file["n"]), file["edges"]), file["costs"]
        positions = landmarks(graph)
        sizes = [((b, b, b), (h, h, h)) for b in (4, 8) for h in (0, 1, 2)]
        yield path.stem, (graph, costs, positions), {}, sizes, (graph, costs)


def quality(out: Path, only: str) -> None:
    """How much worse than one piece, for every block size and halo, without and with the last pass.

    Rows of instances whose name does not hold `only` are those of an earlier run.
    """
    file = out / "blockwise_quality.json"
    earlier = json.loads(file.read_text())["rows"] if only and file.exists() else []
    rows = [row for row in earlier if only not in row["instance"]]
    for name, problem, options, sizes, (graph, costs) in cases():
        if only not in name:
            continue
        began = time.perf_counter()
        whole = multicut(graph, costs)
        alone = time.perf_counter() - began
        for block, halo in tqdm(sizes, desc=name, disable=None):
            row: dict[str, Any] = {"instance": name, "edges": graph.num_edges, "block": block[0], "halo": halo[0]}
            for polish in (False, True):
                began = time.perf_counter()
                found = solve_blockwise(
                    problem, block_shape=block, halo=halo, polish=polish, progress=False, **options
                )  # fmt: skip
                what = "polished" if polish else "blocks"
                row[f"{what}, ppm above"] = (found.objective - whole.objective) / abs(whole.objective) * 1e6
                row[f"{what}, times as long"] = (time.perf_counter() - began) / alone
            found = solve_blockwise(
                problem, block_shape=block, halo=halo, polish=False, levels=2, progress=False, **options
            )
            row["two levels, ppm above"] = (found.objective - whole.objective) / abs(whole.objective) * 1e6
            rows.append(row)
        save("blockwise_quality", "Block-wise solves: block size, halo, last pass, levels", rows, out, QUALITY)


QUALITY = (
    "ppm of the objective of the default solve in one piece; below 0 is better than that. Positions of region "
    "graphs are hops to three landmarks, since the files have none."
)


class Simulated:
    """Affinities (3, side, side, side) as bytes, of cells of some 32 voxels across, computed where they are read.

    A voxel belongs to the nearest of the points that a hash puts into the cubes of a lattice; noise is a hash as well,
    so that a voxel has the same value whatever box it is read in.
    """

    def __init__(self, side: int) -> None:
        self.shape, self.dtype = (3, side, side, side), np.dtype(np.uint8)

    def __getitem__(self, where: Any) -> np.ndarray:
        start = [s.indices(n)[0] for s, n in zip(where[1:], self.shape[1:], strict=True)]
        stop = [s.indices(n)[1] for s, n in zip(where[1:], self.shape[1:], strict=True)]
        labels = _cells(np.array(start), np.array(stop) + 1)
        return _bytes(labels, np.array(start), self.shape[1])


@numba.njit(nogil=True)
def _hashed(a: int, b: int, c: int, d: int) -> float:
    x = np.uint64(a * 73856093 ^ b * 19349663 ^ c * 83492791 ^ d * 2654435761)
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.float64((x ^ (x >> np.uint64(32))) & np.uint64(0xFFFFFF)) / 0x1000000


@numba.njit(nogil=True)
def _cells(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    out = np.empty((stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]), np.int64)
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            for x in range(start[2], stop[2]):
                nearest, which = 1e18, 0
                for i in range(z // 32 - 1, z // 32 + 2):
                    for j in range(y // 32 - 1, y // 32 + 2):
                        for k in range(x // 32 - 1, x // 32 + 2):
                            dz = (i + _hashed(i, j, k, 0)) * 32 - z
                            dy = (j + _hashed(i, j, k, 1)) * 32 - y
                            dx = (k + _hashed(i, j, k, 2)) * 32 - x
                            distance = dz * dz + dy * dy + dx * dx
                            if distance < nearest:
                                nearest, which = distance, (i * 4096 + j) * 4096 + k
                out[z - start[0], y - start[1], x - start[2]] = which
    return out


@numba.njit(nogil=True)
def _bytes(labels: np.ndarray, start: np.ndarray, side: int) -> np.ndarray:
    a, b, c = labels.shape
    out = np.empty((3, a - 1, b - 1, c - 1), np.uint8)
    for z in range(a - 1):
        for y in range(b - 1):
            for x in range(c - 1):
                at = ((start[0] + z) * side + start[1] + y) * side + start[2] + x
                here = labels[z, y, x]
                for t in range(3):
                    same = here == labels[z + (t == 0), y + (t == 1), x + (t == 2)]
                    noise = _hashed(at, t, 5, 7) + _hashed(at, t, 11, 13) - 1
                    out[t, z, y, x] = np.uint8(min(max((0.8 if same else 0.2) + 0.45 * noise, 0.0), 1.0) * 255)
    return out


def write(side: int, path: Path, step: int = 128) -> None:
    """The simulated volume as a compressed zarr array, box by box."""
    import zarr

    source = Simulated(side)
    step = min(step, side)
    array = zarr.create_array(path, shape=source.shape, chunks=(3, step, step, step), dtype=np.uint8)
    corners = [(z, y, x) for z in range(0, side, step) for y in range(0, side, step) for x in range(0, side, step)]
    for corner in tqdm(corners, desc="volume", disable=None):
        box = tuple(slice(a, min(a + step, side)) for a in corner)
        array[(slice(None), *box)] = source[(slice(None), *box)]


def scale(side: int, block: int, halo: int, polish: bool, workers: int, folder: Path, out: Path) -> None:
    """A volume on disk, on a local Dask cluster whose workers may take 2 GiB each."""
    from distributed import LocalCluster

    folder.mkdir(parents=True, exist_ok=True)
    volume = folder / f"volume{side}.zarr"
    if not volume.exists():
        write(side, folder / "writing.zarr")
        (folder / "writing.zarr").rename(volume)
    run = folder / f"run{side}"
    shutil.rmtree(run, ignore_errors=True)
    began = time.perf_counter()
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit="2GiB", dashboard_address=None, silence_logs=40
        ) as cluster,
        cluster.get_client() as client,
    ):
        client.run(_begin)
        found = solve_blockwise(
            volume, offsets=NEAR, block_shape=(block,) * 3, halo=(halo,) * 3, polish=polish, client=client, store=run
        )
        usage = list(client.run(_usage).values())
    wall = time.perf_counter() - began
    voxels = side**3
    own = resource.getrusage(resource.RUSAGE_SELF)
    row: dict[str, Any] = {
        "voxels": f"{side}^3", "block": block, "halo": halo, "polish": polish, "workers": workers, "wall, s": wall,
        "voxels per CPU second": voxels / sum(seconds for seconds, _ in usage),
        "GiB of a worker": max(peak for _, peak in usage), "GiB of the client": own.ru_maxrss / 2**20,
        "pieces": next(s.nodes for s in found.levels if s.name == "whole0"),
        "edges between pieces": next(s.edges for s in found.levels if s.name == "whole0"),
        "s of the last problem": next(s.seconds for s in found.levels if s.name == "whole0"),
        "clusters": found.num_clusters, "MB of the volume": _megabytes(volume), "MB of the run": _megabytes(run),
    }  # fmt: skip
    save(f"blockwise_scale{side}", "A volume on disk, block by block", [row], out)


def _begin() -> None:
    set_num_threads(1)


def _usage() -> tuple[float, float]:
    """CPU seconds and peak GiB of a worker."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def model(voxels: float, out: Path) -> None:
    """What so many voxels would take, by the constants that `scale` and `one-piece` measured."""
    (measured,) = json.loads((out / "blockwise_scale1024.json").read_text())["rows"]
    (piece,) = json.loads((out / "one_piece.json").read_text())["rows"]
    share = voxels / 1024**3
    edges = measured["edges between pieces"] * share
    row = {
        "voxels": f"{voxels:.0e}", "core hours of blocks": voxels / measured["voxels per CPU second"] / 3600,
        "blocks": voxels / measured["block"] ** 3, "pieces": measured["pieces"] * share, "edges between pieces": edges,
        "GiB of the last problem": edges * piece["GiB"] / piece["edges"],
        "hours of the last problem": edges * piece["s"] / piece["edges"] / 3600,
        "TB of the volume": measured["MB of the volume"] * share / 1e6,
        "TB of the run": measured["MB of the run"] * share / 1e6,
    }  # fmt: skip
    save("blockwise_model", "What a larger volume would take", [row], out, "In proportion to what was measured.")


def one_piece(edges: int, out: Path, folder: Path) -> None:
    """One multicut of so many edges from a file, in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    n = edges // 4
    rng = np.random.default_rng(0)
    u = rng.integers(0, n, edges, dtype=np.int32)
    v = (u + rng.geometric(1 / 200, edges).astype(np.int32)) % n
    same = u // 500 == v // 500
    np.save(folder / "edges.npy", np.stack([u, v], axis=1))
    np.save(folder / "costs.npy", (2 * same - 1 + rng.normal(0, 1, edges)).astype(np.float32))
    del u, v, same
    found = subprocess.run([sys.executable, __file__, "solve-file", str(folder)], check=True, capture_output=True)
    seconds, objective, clusters, peak = map(float, found.stdout.split())
    row = {"edges": edges, "nodes": n, "s": seconds, "GiB": peak, "objective": objective, "clusters": int(clusters)}
    save("one_piece", "One multicut in one piece, from a file", [row], out, "Default solver, two threads.")


def solve_file(folder: Path) -> None:
    """What `one_piece` measures."""
    began = time.perf_counter()
    graph = Graph(1 + int(np.load(folder / "edges.npy", mmap_mode="r").max()), np.load(folder / "edges.npy"))
    found = multicut(graph, np.load(folder / "costs.npy"))
    print(time.perf_counter() - began, found.objective, found.num_clusters, _usage()[1])


def kills(count: int, out: Path) -> None:
    """Kill the process of a run again and again, until it ends; nothing finished is computed twice."""
    costs = cells((256, 256), 1.0)
    options: dict[str, Any] = dict(offsets=PLANE, values="costs", block_shape=(32, 32), halo=(8, 8), progress=False)
    reference = solve_blockwise(costs, **options)
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "costs.npy", costs)
        store = Path(folder) / "run"
        killed = lost = computed = 0
        while True:
            before = len(list(store.rglob("*.npz")))
            command = [sys.executable, __file__, "resume", folder]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            if killed < count:
                while process.poll() is None and len(list(store.rglob("*.npz"))) < before + 3:
                    time.sleep(0.01)
                time.sleep(float(rng.uniform(0, 0.2)))
                process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            if process.returncode == 0:
                objective, last = output.split()
                break
            killed += 1
            computed += len(list(store.rglob("*.npz"))) - before
            lost += len(list(store.rglob("*.tmp")))
        rows.append({
            "kills": killed, "tasks": reference.computed, "finished before the last start": computed,
            "computed after it": int(last), "computed twice": computed + int(last) - reference.computed,
            "same objective": float(objective) == reference.objective,
        })  # fmt: skip
    save("blockwise_kills", "A run whose process is killed at random moments", rows, out)


def resume(folder: Path) -> None:
    """What `kills` kills."""
    options: dict[str, Any] = dict(offsets=PLANE, values="costs", block_shape=(32, 32), halo=(8, 8), progress=False)
    found = solve_blockwise(np.load(folder / "costs.npy"), store=folder / "run", **options)
    print(repr(found.objective), found.computed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "scale", "one-piece", "model", "kills", "solve-file", "resume"))
    parser.add_argument("folder", nargs="?", type=Path, default=HERE.parent / "runs" / "blockwise")
    parser.add_argument("--only", default="", help="of quality: instances whose name holds this")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--block", type=int, default=96)
    parser.add_argument("--halo", type=int, default=12)
    parser.add_argument("--polish", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--edges", type=int, default=100_000_000)
    parser.add_argument("--voxels", type=float, default=1e12)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    a = parser.parse_args()
    if a.what == "quality":
        quality(a.out, a.only)
    elif a.what == "scale":
        scale(a.side, a.block, a.halo, a.polish, a.workers, a.folder, a.out)
    elif a.what == "one-piece":
        one_piece(a.edges, a.out, a.folder)
    elif a.what == "model":
        model(a.voxels, a.out)
    elif a.what == "kills":
        kills(a.kills, a.out)
    else:
        {"solve-file": solve_file, "resume": resume}[a.what](a.folder)


if __name__ == "__main__":
    main()
