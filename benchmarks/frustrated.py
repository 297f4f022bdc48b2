"""Frustrated graphs, whose costs contradict each other whatever the clusters: objectives and times beside peers.

    python benchmarks/frustrated.py [--seconds 5] [--large]

Random graphs with costs of random signs, mostly attractive ones, or normal costs, and communities behind noise: edges
attract within them and repel between them, but for a share of wrong ones. One thread. Objectives are means over three
draws; a time is the median of the draws. Peers: pip install bioimage-cpp chszlablib
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from peers import Case, bioimage, cut_value, kahip, kahip_memetic
from report import save
from tqdm import tqdm

from diffcomb import Graph, multicut, set_num_threads

HERE = Path(__file__).parent
DRAWS = range(3)
Draw = Callable[[int], tuple[Case, float | None]]


def random_edges(rng: np.random.Generator, n: int, degree: int) -> np.ndarray:
    edges = rng.integers(0, n, (n * degree // 2, 2))
    return np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)


def of_random_costs(n: int, degree: int, signs: bool, seed: int) -> tuple[Case, float | None]:
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, n, degree)
    costs = rng.choice([-1.0, 1.0], len(edges)) if signs else rng.normal(size=len(edges))
    kind = "signs" if signs else "normal costs"
    return Case(f"random {kind}, {n} nodes, degree {degree}", Graph(n, edges), costs), None


def of_few_repulsive_edges(n: int, degree: int, share: float, seed: int) -> tuple[Case, float | None]:
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, n, degree)
    costs = np.where(rng.random(len(edges)) < share, -1.0, 1.0)
    return Case(f"{share:.0%} repulsive, {n} nodes, degree {degree}", Graph(n, edges), costs), None


def communities(n: int, degree: int, count: int, wrong: float, seed: int) -> tuple[Case, float | None]:
    """Half of the edges are within communities, about; also the cost of the true ones."""
    rng = np.random.default_rng(seed)
    truth = np.sort(rng.integers(0, count, n))
    within = rng.integers(0, n, n * degree // 4)
    near = np.clip(within + rng.integers(-n // count // 2, n // count // 2, len(within)), 0, n - 1)
    edges = np.concatenate([random_edges(rng, n, degree // 2), np.stack([within, near], axis=1)])
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    attract = truth[edges[:, 0]] == truth[edges[:, 1]]
    costs = np.where(attract ^ (rng.random(len(edges)) < wrong), 1.0, -1.0)
    case = Case(f"{count} communities, {wrong:.0%} wrong, {n} nodes, degree {degree}", Graph(n, edges), costs)
    return case, cut_value(case, truth)


def draws(large: bool) -> Iterator[Draw]:
    for n, degree in ((300, 20), (2000, 16), (2000, 100), (5000, 8), *(((20_000, 8),) if large else ())):
        yield partial(of_random_costs, n, degree, True)
    for degree in (8, 16, 30, 100):
        yield partial(of_random_costs, 2000, degree, False)
    yield partial(of_few_repulsive_edges, 5000, 6, 0.3)
    for degree, count, wrong in ((30, 50, 0.15), (30, 50, 0.3), (60, 20, 0.3), (60, 20, 0.4)):
        yield partial(communities, 5000, degree, count, wrong)


def solvers(case: Case, seed: int, limit: float) -> dict[str, Callable[[], np.ndarray]]:
    ours = partial(multicut, case.graph, case.costs, seed=seed)
    return {
        "effort 0": lambda: ours(effort=0).clusters,
        "default": lambda: ours().clusters,
        f"{limit:g} s": lambda: ours(time_limit=limit).clusters,
        "GAEC + KL": bioimage(case, True),
        "SCC": kahip(case),
        f"memetic SCC, {limit:g} s": kahip_memetic(case, limit),
    }


def measured(draw: Draw, limit: float) -> dict:
    found: dict[str, list[float]] = {}
    taken: dict[str, list[float]] = {}
    for seed in DRAWS:
        case, truth = draw(seed)
        if truth is not None:
            found.setdefault("true ones", []).append(truth)
        for name, run in solvers(case, seed, limit).items():
            began = time.perf_counter()
            clusters = run()
            taken.setdefault(name, []).append(time.perf_counter() - began)
            found.setdefault(name, []).append(cut_value(case, clusters))
    limited = (f"{limit:g} s", f"memetic SCC, {limit:g} s")
    times = {f"{name}, ms": 1000 * statistics.median(values) for name, values in taken.items() if name not in limited}
    return {"graph": case.name, "edges": case.graph.num_edges,
            **{name: statistics.fmean(values) for name, values in found.items()}, **times}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of searches with a time limit")
    parser.add_argument("--large", action="store_true", help="20,000 nodes as well")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    o = parser.parse_args()
    set_num_threads(1)
    multicut(Graph(3, [(0, 1), (1, 2)]), np.array([1.0, -1.0]))  # compiles
    rows = [measured(draw, o.seconds) for draw in tqdm(list(draws(o.large)), desc="frustrated graphs")]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    save("frustrated", "## Frustrated graphs", [{c: row.get(c) for c in columns} for row in rows], o.out,
         "Objectives, the less the better, and milliseconds.")  # fmt: skip


if __name__ == "__main__":
    main()
