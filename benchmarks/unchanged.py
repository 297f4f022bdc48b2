"""Record what the library computes on a fixed set of inputs, and compare two records to the last bit.

A redesign must not change a solution, a gradient or, much, a time. Record before, record after, compare:

    python benchmarks/unchanged.py record before.json
    python benchmarks/unchanged.py record after.json
    python benchmarks/unchanged.py compare before.json after.json

Solutions and gradients are compared by their hashes, objectives digit by digit, times by the median of their ratios.
With ``DIFFCOMB_DATA`` the record also holds real region graphs and costs of a trained network. ``--first-call`` adds
the seconds that a fresh process takes to its first solution, without and with compiled kernels on disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from instances import read_network_costs

import diffcomb as dc

OFFSETS = [(0, d) for d in (1, 4, 16, 32)] + [(d, 0) for d in (1, 4, 16, 32)]
FIRST_CALL = """
import time; t = time.perf_counter()
import numpy as np, diffcomb as dc
g = dc.grid_graph((64, 128), [(0, 1), (1, 0), (0, 8), (8, 0)]); r = np.random.default_rng(0)
dc.amwc(g, r.normal(size=(g.num_nodes, 4)), r.normal(size=g.num_edges), [2, 3])
print(time.perf_counter() - t)
"""
TIMED = 0.02  # seconds: what takes less is not compared by time

Case = tuple[str, Callable[[], Any], int]  # its name, the call, and how often it is timed


def grid(shape: tuple[int, int], noise: float, classes: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A grid graph with the costs of a noisy Voronoi partition."""
    rng = np.random.default_rng(seed)
    graph = dc.grid_graph(shape, OFFSETS)
    from scipy.spatial import cKDTree

    cells = np.stack(np.unravel_index(np.arange(graph.num_nodes), shape), axis=1)
    seeds = rng.uniform(0, 1, (max(4, graph.num_nodes // 400), 2)) * shape
    part = cKDTree(seeds).query(cells)[1]
    together = part[graph.edges[:, 0]] == part[graph.edges[:, 1]]
    edge_costs = np.where(together, 1.0, -1.0) + noise * rng.normal(size=graph.num_edges)
    node_costs = 0.5 * rng.normal(size=(graph.num_nodes, classes))
    node_costs[np.arange(graph.num_nodes), part % classes] -= 1
    return graph, node_costs, edge_costs


def grids() -> Iterator[Case]:
    """Solves of grids of three sizes, clean and noisy, in both dtypes, by all heuristics."""
    for shape in ((32, 64), (128, 256), (256, 512)):
        for noise in (1.0, 2.0):
            g, n, e = grid(shape, noise, 6, 1)
            repeats = 3 if shape[0] > 200 else 1
            for effort in (0, 1):
                name = f"{shape[0]}x{shape[1]} noise {noise} effort {effort}"
                yield f"multicut {name}", lambda: dc.multicut(g, e, effort=effort), repeats
                yield f"amwc {name}", lambda: dc.amwc(g, n, e, [3, 4, 5], effort=effort), repeats
            single = n.astype(np.float32), e.astype(np.float32)
            yield f"amwc float32 {shape} noise {noise}", lambda: dc.amwc(g, *single, [3, 4, 5]), 1
            yield f"mwc {shape} noise {noise}", lambda: dc.mwc(g, n, e), 1
    g, n, e = grid((32, 64), 1.0, 6, 3)
    for solver in ("greedy", "kernighan_lin"):
        yield f"amwc {solver}", lambda: dc.amwc(g, n, e, [3, 4, 5], solver=solver), 1
        yield f"multicut {solver}", lambda: dc.multicut(g, e, solver=solver), 1
    start = dc.amwc(g, n, e, [3, 4, 5], effort=0)
    yield "amwc from init", lambda: dc.amwc(g, n, e + 0.1, [3, 4, 5], init=start), 1
    batch = np.stack([n, n[::-1]]), np.stack([e, e[::-1]])
    yield "amwc batch", lambda: dc.amwc(g, *batch, [3, 4, 5]), 1


def small() -> Iterator[Case]:
    """Solves of random graphs of up to 60 nodes, half of them with tied costs, one with infinite ones."""
    rng = np.random.default_rng(5)
    for number in range(40):
        n, classes = int(rng.integers(2, 60)), int(rng.integers(1, 5))
        edges, partitionable = rng.integers(0, n, (3 * n, 2)), rng.random(classes) < 0.5
        graph = dc.Graph(n, edges)
        node_costs, edge_costs = rng.normal(size=(n, classes)), rng.normal(size=3 * n)
        if number % 2:
            node_costs, edge_costs = np.round(node_costs * 3), np.round(edge_costs * 3)
        for effort in (0, 1):
            solve = partial(dc.amwc, graph, node_costs, edge_costs, partitionable, effort=effort)
            yield f"small {number} effort {effort}", solve, 1
        if n < 10:
            yield (
                f"small {number} exact",
                lambda: dc.amwc(graph, node_costs, edge_costs, partitionable, solver="exact"),
                1,
            )
    hard = np.array([np.inf, 1.0, -np.inf, 2.0, -1.0])
    edges = np.array([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)])
    yield "small must-link", lambda: dc.multicut(edges, hard), 1


def real() -> Iterator[Case]:
    """Region graphs and costs of a trained network, if ``DIFFCOMB_DATA`` names a folder with them."""
    root = Path(os.environ.get("DIFFCOMB_DATA", "/nonexistent"))
    for path in sorted(root.glob("region_graphs/*.npz")):
        d = np.load(path)
        graph = dc.Graph(int(d["n"]), d["edges"])
        yield f"region {path.stem}", lambda: dc.multicut(graph, d["costs"]), 2
    for path in sorted(root.glob("amwc_instances/*.npz")):
        problem = read_network_costs(path)[:4]
        for effort in (0, 1):
            yield f"network {path.stem} effort {effort}", partial(dc.amwc, *problem, effort=effort), 2


def estimators() -> Iterator[tuple[str, Any]]:
    """One of every kind, with each start and repair."""
    yield "default", dc.Blackbox()
    yield "paper", dc.Blackbox(dc.Uniform(1, 5000, 5), start="cold")
    yield "warm", dc.Blackbox(dc.LogGrid(0.1, 100, 4), start="warm")
    yield "best", dc.Blackbox([1.0, 10.0], start="best")
    yield "repair", dc.Blackbox(dc.LogUniform(1, 100, 3), repair=True)
    yield "central", dc.CentralDifference([2.0, 20.0])
    yield "lpgd", dc.LPGD(5.0, rho=1.0)
    yield "lpgd lower", dc.LPGD([1.0, 5.0], envelope="lower")
    yield "imle", dc.IMLE(10.0, noise=dc.SumOfGamma(3), samples=2, central=True)
    yield "aimle", dc.IMLE(dc.Adaptive(1.0), forward="clean")
    yield "perturbed", dc.PerturbedOptimizer(0.5, 4)
    yield "negative identity", dc.NegativeIdentity()
    yield "straight through", dc.StraightThrough()


def gradients() -> Iterator[Case]:
    """Outputs and gradients of all estimators: own solvers with and without a lift, layers, and a user's solver."""

    def run(f: Callable[..., Any], costs: list[np.ndarray], **data: Any) -> Callable[[], Any]:
        def call() -> list[np.ndarray]:
            leaves = [torch.from_numpy(c.copy()).requires_grad_() for c in costs]
            outputs = f(*leaves, **data)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            parts = [o for o in outputs if torch.is_tensor(o) and o.requires_grad]
            weights = [torch.from_numpy(np.random.default_rng(9).normal(size=tuple(o.shape))).to(o) for o in parts]
            sum(((o * w).sum() for o, w in zip(parts, weights, strict=True)), leaves[0].sum() * 0).backward()
            return [*(o.detach().numpy() for o in outputs if torch.is_tensor(o)), *(c.grad.numpy() for c in leaves)]

        return call

    g, n, e = grid((24, 40), 1.0, 4, 2)
    batch = [np.stack([n, n[::-1], -n]), np.stack([e, e[::-1], e * 2])]
    for name, estimator in estimators():
        seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
        make = lambda solver, **how: dc.perturbed_grad(solver, estimator=estimator, generator=seeded(), **how)  # noqa: E731
        cases = {
            "amwc": lambda: run(make(dc.amwc), batch, graph=g, partitionable=[2, 3])(),
            "lifted": lambda: run(make(dc.amwc, lift=dc.LiftedMWC()), batch, graph=g, partitionable=[2, 3])(),
            "lifted float32": lambda: run(
                make(dc.amwc, lift=dc.LiftedMWC(spare=1)), [b.astype(np.float32) for b in batch], graph=g,
                partitionable=[2, 3],
            )(),
            "multicut": lambda: run(make(dc.multicut), batch[1:], graph=g)(),
            "mwc": lambda: run(make(dc.mwc), [n, e], graph=g)(),
            "cheapest five": lambda: run(make(_cheapest_five, cost_ndims=1), [batch[1][:, :20]])(),
        }  # fmt: skip
        for kind, call in cases.items():
            yield f"gradient {name} {kind}", call, 1
    for seed, (kind, start) in enumerate((k, s) for k in ("full", "overlaps") for s in ("auto", "cold")):
        yield f"layer {kind} {start}", lambda: _layer(kind, start, seed), 1


def _cheapest_five(costs: np.ndarray, init: Any = None) -> np.ndarray:
    return (np.argsort(np.argsort(costs)) < 5).astype(costs.dtype)


def _layer(kind: str, start: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = torch.from_numpy(rng.normal(size=(2, 4, 24, 32))).requires_grad_()
    maps = torch.from_numpy(rng.normal(size=(2, 3, 24, 32))).requires_grad_()
    layer = dc.AsymmetricMultiwayCutLayer([(0, 1), (1, 0), (3, 2)], [2, 3], estimator=dc.Blackbox(start=start))
    out = layer(classes, maps)
    if kind == "overlaps":
        segments = torch.from_numpy(rng.integers(0, 5, (2, 24, 32)))
        value = out.overlaps(segments, 5)
    else:
        value = out.panoptic
    weights = torch.from_numpy(rng.normal(size=tuple(value.shape)))
    ((value * weights).sum() + (out.edges * maps.detach()).sum() + out.classes[:, 0].mean()).backward()
    return [out.labels.numpy(), value.detach().numpy(), classes.grad.numpy(), maps.grad.numpy()]


def fingerprint(result: Any) -> tuple[str, str]:
    """The objective, and a hash of all arrays of a solution or a list of arrays."""
    arrays, value = result, ""
    if isinstance(result, dc.Solution):
        arrays, value = [result.clusters, result.node_labels, result.edge_labels], repr(np.asarray(result.objective))
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays))
    return value, digest.hexdigest()[:16]


GROUPS = {"small": small, "gradients": gradients, "grids": grids, "real": real}


def record(path: str, groups: list[str], first_call: bool) -> None:
    """Run every case, and write fingerprints and seconds."""
    found = {}
    for cases in (GROUPS[name] for name in groups):
        for name, call, repeats in cases():
            result = call()
            seconds = []
            for _ in range(repeats):
                began = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - began)
            found[name] = (*fingerprint(result), round(min(seconds), 5))
        print(f"{cases.__name__}: {len(found)} results so far", flush=True)
    if first_call:
        with tempfile.TemporaryDirectory() as cache:
            for name in ("first call, not compiled", "first call, compiled"):
                environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
                printed = subprocess.run(
                    [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
                )
                found[name] = ("", "", float(printed.stdout))
                print(f"{name}: {found[name][2]:.2f} s", flush=True)
    Path(path).write_text(json.dumps(found, indent=0))
    print(f"wrote {path}")


def compare(before: str, after: str) -> int:
    """Print what differs; returns 1 if any result does."""
    old, new = (json.loads(Path(p).read_text()) for p in (before, after))
    alone = set(old) ^ set(new)
    if alone:
        print(f"{len(alone)} results are in one record only, {min(alone)!r} among them")
    common = [name for name in old if name in new]
    different = [name for name in common if old[name][:2] != new[name][:2]]
    for name in different:
        print(f"differs: {name}: {old[name][0]} {old[name][1]} -> {new[name][0]} {new[name][1]}")
    print(f"{len(common)} results, {len(different)} differ")
    ratios = {name: new[name][2] / old[name][2] for name in common if old[name][2] > TIMED}
    if ratios:
        worst = max(ratios, key=lambda name: ratios[name])
        print(f"time after / before: median {statistics.median(ratios.values()):.3f} of {len(ratios)}, ", end="")
        print(f"largest {ratios[worst]:.2f} ({worst})")
    for name in common:
        if name.startswith("first call"):
            print(f"{name}: {old[name][2]:.2f} s -> {new[name][2]:.2f} s")
    return int(bool(different))


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record")
    one.add_argument("path")
    one.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    one.add_argument("--first-call", action="store_true")
    two = commands.add_parser("compare")
    two.add_argument("before")
    two.add_argument("after")
    given = parser.parse_args()
    if given.command == "record":
        record(given.path, given.only, given.first_call)
        return 0
    return compare(given.before, given.after)


if __name__ == "__main__":
    sys.exit(main())
