"""Draw the pictures of the documentation: ``python docs/figures.py``."""

import json
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffcomb import amwc, grid_graph, multicut, mwc

HERE = Path(__file__).parent
PALETTE = ["#4c78a8", "#f2cf5b", "#e45756", "#72b7b2", "#b279a2", "#54a24b", "#9d755d", "#ff9da6"]


def problems() -> None:
    """One instance, its costs, and the solutions of the three problems."""
    rng = np.random.default_rng(4)
    H, W = 7, 10
    truth = np.zeros((H, W), int)  # class 0 is stuff, class 1 is stuff, class 2 is a thing with two touching instances
    truth[:, 6:] = 1
    truth[1:4, 2:5], truth[4:6, 2:5] = 2, 3
    classes = np.minimum(truth, 2).ravel()
    graph = grid_graph((H, W))
    u, v = graph.edges.T
    edge_costs = np.where(truth.ravel()[u] == truth.ravel()[v], 1.0, -1.0) + 0.55 * rng.normal(size=len(u))
    node_costs = 0.8 * rng.normal(size=(H * W, 3)) - 1.2 * np.eye(3)[classes]
    solutions = [
        ("multicut: clusters", multicut(graph, edge_costs, solver="exact"), None),
        ("multiway cut: classes", mwc(graph, node_costs, edge_costs, solver="exact"), "class"),
        ("asymmetric multiway cut,\nP = {2}", amwc(graph, node_costs, edge_costs, [2], solver="exact"), "both"),
    ]
    figure = Figure(figsize=(13, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    y, x = np.divmod(np.arange(H * W), W)
    for axis in axes:
        axis.set_aspect("equal")
        axis.invert_yaxis()
        axis.axis("off")
    for (a, b), cost in zip(graph.edges, edge_costs, strict=True):
        color = "#2a7f3f" if cost > 0 else "#c0392b"
        axes[0].plot(x[[a, b]], y[[a, b]], color=color, lw=0.6 + 1.6 * abs(cost), zorder=1)
    axes[0].scatter(x, y, s=60, c=[PALETTE[k] for k in node_costs.argmin(1)], zorder=2, edgecolor="white")
    axes[0].set_title("costs: green attractive,\nred repulsive; dots: cheapest class")
    for axis, (title, s, kind) in zip(axes[1:], solutions, strict=True):
        for (a, b), cut in zip(graph.edges, s.edge_labels, strict=True):
            axis.plot(
                x[[a, b]],
                y[[a, b]],
                color="#bbbbbb" if not cut else "#222222",
                lw=1.5,
                ls=":" if cut else "-",
                zorder=1,
            )
        colors = s.clusters if kind is None else s.node_labels
        axis.scatter(x, y, s=60, c=[PALETTE[k % len(PALETTE)] for k in colors], zorder=2, edgecolor="white")
        if kind == "both":
            things = [c for c in range(s.num_clusters) if s.node_labels[s.clusters == c][0] == 2]
            for number, c in enumerate(things):
                for i in np.flatnonzero(s.clusters == c):
                    axis.text(
                        x[i], y[i], "ABCDEFG"[number], ha="center", va="center", fontsize=6, color="white", zorder=3
                    )
        axis.set_title(f"{title}\nobjective {s.objective:.2f}")
    figure.savefig(HERE / "pictures" / "problems.svg", metadata={"Date": None})


def interpolation() -> None:
    """The loss of an arg-min in one cost, and its interpolation at several scales."""
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    c = np.linspace(-3, 3, 601)
    g = np.array([1.0, 0.0])  # taking the first item is a loss of 1

    def loss(first: np.ndarray) -> np.ndarray:
        return (first < 0).astype(float)

    axis.plot(c, loss(c), color="#222222", lw=2, label="loss of the solution: gradient 0")
    for scale, color in ((0.5, "#e45756"), (1.5, "#4c78a8"), (3.0, "#54a24b")):
        # (V(c + λ g) - V(c)) / λ with V(c) = min(c_1, 0)
        value = (np.minimum(c + scale * g[0], 0) - np.minimum(c, 0)) / scale
        axis.plot(c, value, color=color, label=f"interpolated, λ = {scale}")
    axis.set_xlabel("cost of the first of two items (the second costs 0)")
    axis.legend()
    figure.savefig(HERE / "pictures" / "interpolation.svg", metadata={"Date": None})


def blockwise() -> None:
    """How much block-wise solves lose, over halo and block size; from the table of benchmarks/blockwise.py quality."""
    rows = json.loads((HERE.parent / "benchmarks" / "results" / "blockwise_quality.json").read_text())["rows"]
    instances = list(dict.fromkeys(row["instance"] for row in rows))
    figure = Figure(figsize=(3.4 * len(instances), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, instance in zip(np.atleast_1d(figure.subplots(1, len(instances))), instances, strict=True):
        own = [row for row in rows if row["instance"] == instance]
        for color, block in zip(PALETTE, dict.fromkeys(row["block"] for row in own), strict=False):
            points = [row for row in own if row["block"] == block]
            halos = [row["halo"] for row in points]
            for what, style in (("blocks", "o--"), ("polished", "o-")):
                label = f"block {block}" if what == "polished" else None
                axis.plot(halos, [row[f"{what}, ppm above"] for row in points], style, color=color, ms=3, label=label)
        axis.set_yscale("symlog", linthresh=10)
        axis.axhline(0, color="#bbbbbb", lw=0.8)
        axis.set_title(instance, fontsize=9)
        axis.set_xlabel("halo")
        axis.legend(fontsize=7)
    figure.axes[0].set_ylabel("ppm above one piece\n(dashed: without polish)")
    figure.savefig(HERE / "pictures" / "blockwise.svg", metadata={"Date": None})


def exact() -> None:
    """Seconds to a proof over the number of edges; from the table of benchmarks/bounds.py exact."""
    rows = json.loads((HERE.parent / "benchmarks" / "results" / "exact.json").read_text())["rows"]
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()

    def kind_of(name: str) -> str:
        if "train" in name:
            return "region graphs of EM volumes"
        if name.startswith("lifted"):
            return "lifted grids of noise"
        return "random graphs" if name.startswith(("BA-", "ER-", "WS-")) else "small graphs from images and networks"

    kinds = "region graphs of EM volumes", "small graphs from images and networks", "random graphs"
    for kind, color in zip((*kinds, "lifted grids of noise"), PALETTE[:1] + PALETTE[2:5], strict=True):
        for proven, marker in ((True, "o"), (False, "x")):
            all_of = "yes", "5/5", "1/1"
            chosen = [r for r in rows if kind_of(r["instance"]) == kind and (r["proven"] in all_of) == proven]
            seconds = [max(row["median, s"], 1e-3) for row in chosen]
            label = kind if proven else f"{kind}, not all within five seconds"
            if chosen:
                axis.loglog([row["edges"] for row in chosen], seconds, marker, color=color, label=label, ms=5)
    axis.set_xlabel("edges")
    axis.set_ylabel("seconds to the proof, median")
    axis.legend(fontsize=7)
    figure.savefig(HERE / "pictures" / "exact.svg", metadata={"Date": None})


if __name__ == "__main__":
    (HERE / "pictures").mkdir(exist_ok=True)
    problems()
    interpolation()
    blockwise()
    exact()
    print(f"wrote problems.svg, interpolation.svg, blockwise.svg and exact.svg in {HERE / 'pictures'}")
