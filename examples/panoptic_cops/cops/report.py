"""Tables as Markdown and curves as SVG, each with the command that made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Draw = Callable[[Path], None]


class save:
    """Writes results into a folder; called with a name, a title, rows, and maybe a note and a drawing.

    Parameters
    ----------
    folder : path
    command : str
        What a reader has to type to get the same.
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

    def picture(self, name: str, draw: Draw, suffix: str = ".png") -> None:
        """Draw into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draw(self.folder / f"{name}{suffix}")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table whose columns are those of all rows, in order of appearance."""
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
