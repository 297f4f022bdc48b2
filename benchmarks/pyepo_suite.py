"""Compare PyEPO's implementations with ours on PyEPO's own problems: regret, and time of a backward pass.

    pip install -e ".[bench,peers]"
    python benchmarks/pyepo_suite.py

All methods use the same data, linear model, optimiser (Adam, 1e-2), batches and epochs. They also use the same exact
solver, a dynamic programme in numba, so that only the gradient differs. Only the table of times runs PyEPO with its
default solver.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyepo
import torch
from pyepo.model.opt import optModel
from report import save
from tqdm import tqdm

from diffcomb import (
    IMLE,
    Adaptive,
    Blackbox,
    CentralDifference,
    Contrastive,
    FenchelYoung,
    LogGrid,
    NegativeIdentity,
    Normal,
    PerturbedOptimizer,
    Ranking,
    Relative,
    SPOPlus,
    SumOfGamma,
    perturbed_grad,
    solver_loss,
)

HERE = Path(__file__).parent
TRAIN, TEST = 1000, 1000
Solver = Callable[[np.ndarray], np.ndarray]


@numba.njit(cache=True, nogil=True)
def shortest_paths(costs: np.ndarray, h: int, w: int, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Arcs of the cheapest path from corner to corner, to the right and down, of every row of costs."""
    out = np.zeros_like(costs)
    for b in range(len(costs)):
        c = costs[b]
        value = np.zeros((h, w))
        for i in range(h - 1, -1, -1):
            for j in range(w - 1, -1, -1):
                if i < h - 1 or j < w - 1:
                    a = value[i, j + 1] + c[right[i, j]] if j < w - 1 else np.inf
                    d = value[i + 1, j] + c[down[i, j]] if i < h - 1 else np.inf
                    value[i, j] = min(a, d)
        i = j = 0
        while i < h - 1 or j < w - 1:
            if j < w - 1 and (i == h - 1 or value[i, j + 1] + c[right[i, j]] <= value[i + 1, j] + c[down[i, j]]):
                out[b, right[i, j]] = 1
                j += 1
            else:
                out[b, down[i, j]] = 1
                i += 1
    return out


@numba.njit(cache=True, nogil=True)
def knapsacks(costs: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """Items of the lowest total cost within the capacity, for every row of costs."""
    out = np.zeros_like(costs)
    n = costs.shape[1]
    for b in range(len(costs)):
        value = np.zeros(capacity + 1)
        take = np.zeros((n, capacity + 1), np.bool_)
        for i in range(n):
            for room in range(capacity, weights[i] - 1, -1):
                if value[room - weights[i]] + costs[b, i] < value[room]:
                    value[room] = value[room - weights[i]] + costs[b, i]
                    take[i, room] = True
        room = capacity
        for i in range(n - 1, -1, -1):
            if take[i, room]:
                out[b, i] = 1
                room -= weights[i]
    return out


@numba.njit(cache=True, nogil=True)
def tours(costs: np.ndarray, n: int, edge: np.ndarray) -> np.ndarray:
    """Edges of the shortest tour through n nodes, by Held and Karp, for every row of costs."""
    out = np.zeros_like(costs)
    full = 1 << (n - 1)
    for b in range(len(costs)):
        value = np.full((full, n - 1), np.inf)
        parent = np.full((full, n - 1), -1)
        for j in range(n - 1):
            value[1 << j, j] = costs[b, edge[n - 1, j]]
        for s in range(1, full):
            for j in range(n - 1):
                if value[s, j] < np.inf:
                    for k in range(n - 1):
                        if not s >> k & 1:
                            new = value[s, j] + costs[b, edge[j, k]]
                            if new < value[s | 1 << k, k]:
                                value[s | 1 << k, k] = new
                                parent[s | 1 << k, k] = j
        j, low = -1, np.inf
        for k in range(n - 1):
            total = value[full - 1, k] + costs[b, edge[k, n - 1]]
            if total < low:
                j, low = k, total
        out[b, edge[j, n - 1]] += 1
        s = full - 1
        while parent[s, j] >= 0:
            i = parent[s, j]
            out[b, edge[i, j]] += 1
            s, j = s ^ (1 << j), i
        out[b, edge[j, n - 1]] += 1
    return out


@dataclass
class Case:
    """A problem of PyEPO: features, costs, a solver for batches, and PyEPO's own model with its default solver."""

    name: str
    x: torch.Tensor
    c: torch.Tensor
    solver: Solver
    maximise: bool
    default: Callable[[], optModel]


def shortest_path(deg: int, noise: float, seed: int) -> Case:
    x, c = pyepo.data.shortestpath.genData(TRAIN + TEST, 5, (5, 5), deg=deg, noise_width=noise, seed=seed)
    default = pyepo.model.grb.shortestPathModel
    with contextlib.redirect_stdout(io.StringIO()):
        arcs = default((5, 5)).arcs
    right, down = np.full((5, 5), -1), np.full((5, 5), -1)
    for number, (u, v) in enumerate(arcs):
        (right if v == u + 1 else down)[u // 5, u % 5] = number
    return _case(
        f"shortest path 5x5, degree {deg}, noise {noise:g}", x, c,
        lambda costs: shortest_paths(costs, 5, 5, right, down), False, lambda: default((5, 5)),
    )  # fmt: skip


def knapsack(seed: int) -> Case:
    weights, x, c = pyepo.data.knapsack.genData(TRAIN + TEST, 5, 16, deg=4, noise_width=0.5, seed=seed)
    units = np.round(100 * weights[0]).astype(np.int64)
    return _case(
        "knapsack, 16 items, degree 4, noise 0.5", x, c, lambda costs: knapsacks(costs, units, 2000), True,
        lambda: pyepo.model.grb.knapsackModel(weights, [20]),
    )  # fmt: skip


def tsp(seed: int) -> Case:
    x, c = pyepo.data.tsp.genData(TRAIN + TEST, 5, 10, deg=4, noise_width=0.5, seed=seed)
    edge = np.zeros((10, 10), np.int64)
    for number, (i, j) in enumerate(itertools.combinations(range(10), 2)):
        edge[i, j] = edge[j, i] = number
    return _case(
        "TSP, 10 nodes, degree 4, noise 0.5", x, c, lambda costs: tours(costs, 10, edge), False,
        lambda: pyepo.model.grb.tspDFJModel(10),
    )  # fmt: skip


def _case(name: str, x: np.ndarray, c: np.ndarray, solver: Solver, maximise: bool, default: Callable) -> Case:
    return Case(name, torch.from_numpy(x).float(), torch.from_numpy(c).float(), solver, maximise, default)


class Shared(optModel):
    """One of the solvers above as a model of PyEPO."""

    def __init__(self, case_solver: Solver, num_cost: int, maximise: bool) -> None:
        self.case_solver, self.size, self.maximise = case_solver, num_cost, maximise
        self.modelSense = pyepo.EPO.MAXIMIZE if maximise else pyepo.EPO.MINIMIZE
        super().__init__()

    def _getModel(self):
        return None, list(range(self.size))

    def setObj(self, c) -> None:
        self.costs = np.asarray(c, np.float64)

    def solve(self):
        sign = -1 if self.maximise else 1
        w = self.case_solver(sign * self.costs[None])[0]
        return w, float(self.costs @ w)


def theirs(method: str, model: optModel, dataset) -> Callable:
    """PyEPO's implementation as a function (predicted costs, true costs, true solutions) -> loss."""
    f = pyepo.func
    layers = {
        "SPO+": lambda: f.SPOPlus(model),
        "perturbed Fenchel-Young": lambda: f.perturbedFenchelYoung(model, n_samples=3, sigma=1.0),
        "negative identity": lambda: f.negativeIdentity(model),
        "black-box, one scale": lambda: f.blackboxOpt(model, lambd=20),
        "perturbed optimiser": lambda: f.perturbedOpt(model, n_samples=10, sigma=0.5),
        "I-MLE": lambda: f.implicitMLE(model, n_samples=10, sigma=1.0, lambd=20),
        "adaptive I-MLE": lambda: f.adaptiveImplicitMLE(model, n_samples=10, sigma=1.0, two_sides=True),
        "contrastive NCE": lambda: f.noiseContrastiveEstimation(model, solve_ratio=0.05, dataset=dataset),
        "contrastive MAP": lambda: f.contrastiveMAP(model, solve_ratio=0.05, dataset=dataset),
        "ranking, listwise": lambda: f.listwiseLearningToRank(model, solve_ratio=0.05, dataset=dataset),
    }
    if method not in layers:
        return None
    layer = layers[method]()
    if method == "SPO+":
        return lambda p, c, w, z: layer(p, c, w, z)
    if method in ("perturbed Fenchel-Young", "contrastive NCE", "contrastive MAP"):
        return lambda p, c, w, z: layer(p, w)
    if method == "ranking, listwise":
        return lambda p, c, w, z: layer(p, c)
    return lambda p, c, w, z: torch.nn.functional.l1_loss((layer(p) * c).sum(1, keepdim=True), z)


def ours(method: str, solver: Solver, maximise: bool, seed: int) -> Callable:
    """Our implementation as such a function; rewards are negative costs."""
    sign = -1 if maximise else 1
    g = torch.Generator().manual_seed(seed)
    estimators = {
        "black-box, one scale": Blackbox(20.0),
        "black-box, five scales": Blackbox(LogGrid(2, 2000, 5)),
        "black-box, five relative scales": Blackbox(Relative(LogGrid(0.03, 30, 5))),
        "black-box, adaptive": Blackbox(Adaptive(2.0, initial=0.1)),
        "central differences, five scales": CentralDifference(LogGrid(2, 2000, 5)),
        "negative identity": NegativeIdentity("none"),
        "perturbed optimiser": PerturbedOptimizer(0.5, 10),
        "I-MLE": IMLE(20.0, samples=10, noise=SumOfGamma(5)),
        "adaptive I-MLE": IMLE(Adaptive(2.0, initial=0.1), samples=10, noise=SumOfGamma(5), central=True),
    }
    losses = {
        "SPO+": SPOPlus(),
        "perturbed Fenchel-Young": FenchelYoung(1.0, 3, Normal()),
        "contrastive NCE": Contrastive("nce", share=0.05),
        "contrastive MAP": Contrastive("map", share=0.05),
        "ranking, listwise": Ranking("listwise", share=0.05),
    }
    if method in estimators:
        layer = perturbed_grad(solver, estimator=estimators[method], cost_ndims=1, vectorized=True, generator=g)
        return lambda p, c, w, z: torch.nn.functional.l1_loss((layer(sign * p) * c).sum(1, keepdim=True), z)
    if method in losses:
        loss = solver_loss(solver, losses[method], cost_ndims=1, vectorized=True, generator=g)
        return lambda p, c, w, z: loss(sign * p, target=w, true_costs=sign * c)
    if method == "two-stage MSE":
        return lambda p, c, w, z: torch.nn.functional.mse_loss(p, c)
    return None


METHODS = [
    "two-stage MSE", "SPO+", "perturbed Fenchel-Young", "negative identity", "black-box, one scale",
    "black-box, five scales", "black-box, five relative scales", "black-box, adaptive",
    "central differences, five scales", "perturbed optimiser", "I-MLE", "adaptive I-MLE", "contrastive NCE",
    "contrastive MAP", "ranking, listwise",
]  # fmt: skip


def train(
    case: Case, loss: Callable, seed: int, epochs: int, batch: int = 32, scale: float = 1.0
) -> tuple[float, float]:
    """Regret on the test split in percent, after the last epoch and after the best epoch."""
    sign = -1 if case.maximise else 1
    best = torch.from_numpy(case.solver((sign * case.c).numpy().astype(np.float64))).float()
    value = (case.c * best).sum(1, keepdim=True)
    torch.manual_seed(seed)
    model = torch.nn.Linear(case.x.shape[1], case.c.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    regrets = []
    for epoch in range(epochs):
        for rows in torch.randperm(TRAIN).split(batch):
            result = scale * loss(model(case.x[rows]), case.c[rows], best[rows], value[rows])
            optimizer.zero_grad()
            result.backward()
            optimizer.step()
        if epoch % 2 or epoch == epochs - 1:
            with torch.no_grad():
                predicted = model(case.x[TRAIN:]).numpy().astype(np.float64)
            w = torch.from_numpy(case.solver(sign * predicted)).float()
            excess = sign * ((case.c[TRAIN:] * w).sum() - value[TRAIN:].sum())
            regrets.append(100 * float(excess / value[TRAIN:].abs().sum()))
    return regrets[-1], min(regrets)


def compare(make: Callable[[int], Case], seeds: int, epochs: int, methods: list[str]) -> list[dict[str, object]]:
    rows = []
    for method in tqdm(methods, desc=make(42).name):
        row: dict[str, object] = {"problem": make(42).name, "method": method}
        for side in ("PyEPO", "ours"):
            found = []
            for seed in range(seeds):
                case = make(42 + seed)
                if side == "ours":
                    loss = ours(method, case.solver, case.maximise, seed)
                else:
                    model = Shared(case.solver, case.c.shape[1], case.maximise)
                    needs_pool = "contrastive" in method or "ranking" in method
                    loss = theirs(method, model, _dataset(model, case) if needs_pool else None)
                if loss is not None:
                    found.append(train(case, loss, seed, epochs))
            final, best = np.array(found).T if found else (None, None)
            row[f"{side}, last"] = f"{final.mean():.2f} ± {final.std(ddof=1):.2f}" if found else None
            row[f"{side}, best epoch"] = f"{best.mean():.2f} ± {best.std(ddof=1):.2f}" if found else None
        rows.append(row)
    return rows


def _dataset(model: optModel, case: Case):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return pyepo.data.dataset.optDataset(model, case.x[:TRAIN].numpy(), case.c[:TRAIN].numpy())


def robustness(seeds: int, epochs: int) -> list[dict[str, object]]:
    """Regret with one scale and with five, for several batch sizes and scales of the loss."""
    rows = []
    settings = [(8, 1.0), (32, 1.0), (128, 1.0), (32, 0.01), (32, 100.0)]
    for batch, scale in tqdm(settings, desc="batch sizes and loss scales"):
        row: dict[str, object] = {"batch": batch, "loss times": scale}
        for method in ("black-box, one scale", "black-box, five scales", "black-box, five relative scales"):
            found = []
            for seed in range(seeds):
                case = shortest_path(4, 0.5, 42 + seed)
                found.append(train(case, ours(method, case.solver, False, seed), seed, epochs, batch, scale)[0])
            row[method] = f"{np.mean(found):.2f} ± {np.std(found, ddof=1):.2f}"
        rows.append(row)
    return rows


def times() -> list[dict[str, object]]:
    """Milliseconds of one forward and backward pass for a batch of 32."""
    rows = []
    for case in (shortest_path(4, 0.5, 42), knapsack(42), tsp(42)):
        with contextlib.redirect_stdout(io.StringIO()):
            default = case.default()
        shared = Shared(case.solver, case.c.shape[1], case.maximise)
        best = torch.from_numpy(case.solver((-1 if case.maximise else 1) * case.c[:32].numpy().astype(np.float64)))
        for method in ("black-box, one scale", "black-box, five scales", "adaptive I-MLE", "SPO+"):
            row: dict[str, object] = {"problem": case.name.split(",")[0], "method": method}
            sides = {
                "PyEPO, default solver": theirs(method, default, None),
                "PyEPO, our solver": theirs(method, shared, None),
                "ours": ours(method, case.solver, case.maximise, 0),
            }
            for side, loss in sides.items():
                row[f"{side}, ms"] = None if loss is None else 1000 * _backward_seconds(loss, case, best.float())
            slow = row["PyEPO, default solver, ms"]
            row["ratio"] = None if slow is None else slow / row["ours, ms"]
            rows.append(row)
    return rows


def _backward_seconds(loss: Callable, case: Case, best: torch.Tensor, repeats: int = 7) -> float:
    """Median of forward and backward together, since convex losses make their solves in the forward pass."""
    spent = []
    value = (case.c[:32] * best).sum(1, keepdim=True)
    for repeat in range(repeats + 1):
        noise = torch.Generator().manual_seed(repeat)
        predicted = (case.c[:32] + torch.randn(32, case.c.shape[1], generator=noise)).requires_grad_()
        began = time.perf_counter()
        loss(predicted, case.c[:32], best, value).backward()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", choices=["regret", "robustness", "times"], help="one of the three tables")
    options = parser.parse_args()
    if options.only in (None, "times"):
        note = (
            "Forward and backward pass together for a batch of 32, median of 7 runs. "
            "PyEPO's default solver is Gurobi, in one process."
        )
        save("pyepo_times", "## PyEPO's problems: time", times(), options.out, note)
    if options.only in (None, "robustness"):
        note = f"Shortest path 5x5, degree 4, noise 0.5: regret in %, last epoch, mean ± sd of {options.seeds} seeds."
        save(
            "pyepo_robustness",
            "## One scale against five",
            robustness(options.seeds, options.epochs),
            options.out,
            note,
        )
    if options.only in (None, "regret"):
        note = (
            f"Normalised test regret in %, mean ± sd of {options.seeds} seeds (data and initial weights), "
            f"{options.epochs} epochs. Both use the same exact solver."
        )
        rows = compare(lambda seed: shortest_path(4, 0.5, seed), options.seeds, options.epochs, METHODS)
        others = [lambda seed: shortest_path(2, 0.0, seed), lambda seed: shortest_path(6, 0.5, seed), knapsack, tsp]
        few = [m for m in METHODS if not any(word in m for word in ("contrastive", "ranking", "I-MLE", "optimiser"))]
        rows += [row for make in others for row in compare(make, options.seeds, options.epochs, few)]
        save("pyepo_regret", "## PyEPO's problems: regret", rows, options.out, note)


if __name__ == "__main__":
    main()
