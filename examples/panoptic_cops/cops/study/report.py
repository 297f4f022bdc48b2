"""Tables as Markdown and curves as SVG, each with the command that made it, and the numbers of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_json

Draw = Callable[[Path], None]
CITYSCAPES_BASELINE = {"PQ": "58.5", "PQ_th": "48.3", "PQ_st": "66.0"}
CITYSCAPES_FULL = {"PQ": "62.1", "PQ_th": "55.1", "PQ_st": "67.2"}
SEEDS = (61.41, 62.01, 61.77, 61.33, 61.91, 62.07)  # full training for 1,500 iterations
ROWS: dict[str, list[dict[str, str]]] = {
    "table1": [
        {"model": "paper: baseline (Cityscapes val)", **CITYSCAPES_BASELINE, "SQ": "80.3", "RQ": "71.8"},
        {"model": "paper: full (Cityscapes val)", **CITYSCAPES_FULL, "SQ": "81.5", "RQ": "75.2"},
        {"model": "paper: baseline (COCO val)", "PQ": "34.3", "PQ_th": "34.9", "PQ_st": "33.4"},
        {"model": "paper: full (COCO val)", "PQ": "38.4", "PQ_th": "40.5", "PQ_st": "35.2"},
    ],
    "table4": [
        {"model": "paper: PQ surrogate", **CITYSCAPES_FULL},
        {"model": "paper: separate losses", "PQ": "57.8", "PQ_th": "45.7", "PQ_st": "66.6"},
    ],
    "table6": [
        {"model": "paper: baseline", "AP": "32.7", "mIoU": "78.5"},
        {"model": "paper: full", "AP": "34.1", "mIoU": "79.3"},
    ],
    "table7": [
        {"model": "paper: baseline", "PQ_b": "35.2", "SQ_b": "62.3", "RQ_b": "55.9"},
        {"model": "paper: full", "PQ_b": "38.9", "SQ_b": "64.3", "RQ_b": "59.7"},
    ],
    "table8": [
        {"model": "paper", "grid": "1/4", "PQ": "62.1", "SQ": "81.5", "RQ": "75.2", "AP": "34.1", "seconds": "2"},
        {"model": "paper", "grid": "1", "PQ": "63.1", "SQ": "82.9", "RQ": "75.4", "AP": "38.2", "seconds": "15"},
    ],
    "table9": [
        {
            "model": "paper: full (Cityscapes)", **CITYSCAPES_FULL,
            "PQ, oracle": "81.1", "PQ_th, oracle": "67", "PQ_st, oracle": "91.4",
        },
    ],
}  # fmt: skip
TIMES = (
    "The paper (batch 24, 24 processes): AMWC 2.5 s, MWC 6.1 s, all 16.8 s on Cityscapes; 3.5, 9 and 15.7 s on COCO."
)


class save:
    """Writes results into a folder; called with a name, a title, rows, and maybe a note and a drawing.

    Parameters
    ----------
    folder : path
    command : str
        The command that makes these results.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command

    def __call__(
        self, name: str, title: str, rows: Sequence[dict[str, Any]], note: str = "", draw: Draw | None = None
    ) -> None:
        """Write NAME.md, and NAME.svg if there is a drawing; print the table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = f"### {title}\n\n`{self.command}`\n\n{markdown(rows)}\n"
        if note:
            text += f"\n{note}\n"
        if draw is not None:
            self.picture(name, draw, ".svg")
        path = self.folder / f"{name}.md"
        path.write_text(text)
        print(f"\n{text}\nwrote {path}")

    def numbers(self, name: str, values: dict[str, Any]) -> None:
        """Write what a table is made of, unrounded, into the folder: NAME.json."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json({"command": self.command, **values}, self.folder / f"{name}.json")

    def picture(self, name: str, draw: Draw, suffix: str = ".png") -> None:
        """Draw into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draw(self.folder / f"{name}{suffix}")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with the columns of all rows, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(name, "")) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def curves(lines: dict[str, tuple[np.ndarray, np.ndarray]], x: str, y: str, window: int = 9) -> Draw:
    """Draw lines; those of many points pale, with their running mean on top."""

    def draw(path: Path) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axis = figure.subplots()
        for number, (label, (steps, values)) in enumerate(lines.items()):
            color = f"C{number}"
            if len(values) > 3 * window:
                axis.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
                values = np.convolve(values, np.full(window, 1 / window), mode="valid")
                steps = steps[window // 2 : window // 2 + len(values)]
                axis.plot(steps, values, color=color, label=label)
            else:
                axis.plot(steps, values, "o-", color=color, label=label)
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        axis.legend()
        figure.savefig(path)

    return draw
