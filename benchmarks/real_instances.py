"""Solve real instances: region graphs, small graphs with proven optima, complete graphs, cuts with classes of an image.

    DIFFCOMB_DATA=FOLDER python benchmarks/real_instances.py [region] [small] [complete] [amwc] [--seconds 10]

One thread. Times are medians of three calls after one that is not counted, and ratios to scipy's minimum spanning tree
or to a peer in the same run. Peers are optional (pip install bioimage-cpp chszlablib). The folder holds region_graphs/,
small_with_optima/, complete_graphs/ and amwc_instances/ as docs/data.md describes them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from instances import read_network_costs
from peers import Case, bioimage, cut_value, kahip, kahip_memetic
from report import save, seconds, spanning_tree_seconds
from tqdm import tqdm

from diffcomb import Graph, amwc, multicut, set_num_threads

HERE = Path(__file__).parent
SEEDS = range(5)


def files(folder: Path, name: str) -> list[Path]:
    found = sorted((folder / name).glob("*.npz"))
    if not found:
        raise SystemExit(f"no {name}/*.npz in {folder}: set DIFFCOMB_DATA to the folder that holds them")
    return found


def region_graphs(folder: Path, limit: float) -> Iterator[dict]:
    """Ours with five seeds beside peers; objectives less the one of GAEC + Kernighan-Lin, times as ratios to its."""
    for path in tqdm(files(folder, "region_graphs"), desc="region graphs"):
        with np.load(path) as data:
            case = Case(path.stem, Graph(int(data["n"]), data["edges"]), data["costs"])
        yard = bioimage(case, True)
        unit, best = seconds(yard), cut_value(case, yard())
        row = {"instance": path.stem, "edges": case.graph.num_edges, "GAEC + KL": best}
        row["its time / MST"] = unit / spanning_tree_seconds(case.graph, case.costs)
        ours = {"greedy": {"solver": "greedy"}, "effort 0": {"effort": 0}, "default": {}, "effort 4": {"effort": 4}}
        rivals: dict[str, Callable[[], np.ndarray]] = {
            "GAEC": bioimage(case, False),
            "SCC": kahip(case),
            f"memetic SCC, {limit / 2:g} s": kahip_memetic(case, limit / 2),
        }
        for name, run in rivals.items():
            yield {**row, "solver": name, **_differences([cut_value(case, run()) - best]), "time": _ratio(run, unit)}
        for name, options in ours.items():
            runs = [partial(multicut, case.graph, case.costs, seed=seed, **options) for seed in SEEDS]
            found = _differences([run().objective - best for run in runs])
            yield {**row, "solver": name, **found, "time": _ratio(runs[0], unit)}
        run = partial(multicut, case.graph, case.costs, time_limit=limit / 2)
        yield {**row, "solver": f"time_limit={limit / 2:g}", **_differences([run().objective - best])}


def _differences(values: list[float]) -> dict:
    return {"least": min(values), "largest": max(values)}


def _ratio(run: Callable[[], object], unit: float) -> float:
    began = time.perf_counter()
    run()
    once = time.perf_counter() - began
    return (seconds(run) if once < 2 else once) / unit


def small_graphs(folder: Path, _: float) -> Iterator[dict]:
    """Mean gap to the proven optima, and how many are reached."""
    for path in tqdm(files(folder, "small_with_optima"), desc="families of small graphs"):
        with np.load(path) as data:
            bounds, edges, costs, nodes = (data[k] for k in ("edge_ptr", "edges", "costs", "num_nodes"))
            optima = data["optimum"]
        parts = [slice(*bounds[i : i + 2]) for i in range(len(nodes))]
        graphs = [(Graph(int(n), edges[part]), costs[part]) for n, part in zip(nodes, parts, strict=True)]
        row = {"family": path.stem, "nodes": int(nodes.max()), "edges": float(np.diff(bounds).mean())}
        for effort in (1, 16):
            multicut(*graphs[0], effort=effort)
            began = time.perf_counter()
            found = np.array([multicut(graph, values, effort=effort).objective for graph, values in graphs])
            taken = (time.perf_counter() - began) / len(graphs)
            gaps = (found - optima) / np.maximum(np.abs(optima), 1e-12)
            row[f"effort {effort}: mean gap, %"] = 100 * gaps.mean()
            row[f"optimal of {len(graphs)}, effort {effort}"] = int((gaps < 1e-9).sum())
            row[f"ms, effort {effort}"] = 1000 * taken
        yield row


def complete_graphs(folder: Path, limit: float) -> Iterator[dict]:
    """How far what clusters hold is below the largest known sum."""
    for path in tqdm(files(folder, "complete_graphs"), desc="complete graphs"):
        with np.load(path) as data:
            n, values, known = int(data["n"]), data["upper"].astype(float), float(data["best_known_inside"])
        graph = Graph(n, np.stack(np.triu_indices(n, 1), axis=1))
        row = {"instance": path.stem, "nodes": n}
        for name, options in {
            "default": {}, f"{limit:g} s": {"time_limit": limit}, f"{6 * limit:g} s": {"time_limit": 6 * limit}
        }.items():  # fmt: skip
            multicut(graph, values, effort=0)
            began = time.perf_counter()
            inside = values.sum() - multicut(graph, values, **options).objective
            taken = time.perf_counter() - began
            row[f"{name}: short, %"] = 100 * (known - inside) / known
            if not options:
                row["default, s"] = taken
        yield row


def cuts_with_classes(folder: Path, _: float) -> Iterator[dict]:
    """AMWC of a trained network: how far above the best known, in millionths, and the time."""
    for path in tqdm(files(folder, "amwc_instances"), desc="AMWC of images"):
        costs = read_network_costs(path)
        unit, known = spanning_tree_seconds(costs.graph, costs.edge_costs), costs.best_known
        for name, options in (
            ("effort 0", {"effort": 0}), ("default", {}), ("effort 4", {"effort": 4}), ("greedy", {"solver": "greedy"})
        ):  # fmt: skip
            runs = [partial(amwc, *costs[:4], seed=seed, **options) for seed in SEEDS]
            above = [1e6 * (run().objective - known) / abs(known) for run in runs]
            yield {
                "instance": path.stem, "solver": name, "median ppm above": float(np.median(above)),
                **_differences(above), "time / MST": _ratio(runs[0], unit),
            }  # fmt: skip


PARTS = {
    "region": (
        region_graphs,
        "Region graphs",
        "Less GAEC + Kernighan-Lin (bioimage-cpp); time as its share.",
    ),
    "small": (small_graphs, "Small graphs with proven optima", ""),
    "complete": (complete_graphs, "Complete graphs", "Short of the best known sum inside clusters."),
    "amwc": (cuts_with_classes, "AMWC of a trained network", "Millionths above the best known, five seeds."),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--seconds", type=float, default=10, help="time limit of complete graphs; half of it of others")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    set_num_threads(1)
    folder = Path(os.environ.get("DIFFCOMB_DATA", HERE / "nowhere"))
    for name in options.parts or PARTS:
        solve, title, note = PARTS[name]
        save(f"real_{name}", f"## {title}", list(solve(folder, options.seconds)), options.out, note)


if __name__ == "__main__":
    main()
