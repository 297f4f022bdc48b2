"""The shape of a checkout: functions entered by three calls, longest functions and parameter lists, lines per file.

    python benchmarks/house.py              # this checkout
    python benchmarks/house.py ../other     # another one, to compare
    python benchmarks/house.py --order      # also list the functions in the order in which they are entered

Rules of counting:

- *Entered* is every function of `diffcomb` whose code runs at least once, on one thread, with kernels as plain Python
  (NUMBA_DISABLE_JIT=1). The three calls run on another instance first, so that lazy imports do not count.
- Methods, properties, nested functions and lambdas count as one each. Comprehensions and generator expressions belong
  to the function that they stand in.
- The lines of a function run from `def` to its end, without its docstring.
- Parameters include `*args` and `**kwargs`, but neither `self` nor `cls`.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).parent
FOLDERS = ("diffcomb", "examples")
COMPREHENSIONS = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")
Entered = list[tuple[str, str, int]]  # file, qualified name, line


def entered_by(call: Callable[[], object], package: Path) -> Entered:
    """The functions of the package that the call enters in this thread, in order of first entry."""
    seen: dict[tuple[str, str, int], None] = {}

    def note(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        ours = event == "call" and code.co_filename.startswith(f"{package}{os.sep}")
        if ours and not code.co_qualname.endswith(COMPREHENSIONS):
            name = Path(code.co_filename).relative_to(package).as_posix()
            seen.setdefault((name, code.co_qualname, code.co_firstlineno))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(seen)


def trace() -> dict[str, Entered]:
    """Trace the three calls on 42 nodes; this runs in a process of its own, which imports the checkout measured."""
    import numpy as np
    import torch

    import diffcomb
    from diffcomb import LiftedMWC, amwc, grid_graph, perturbed_grad

    package = Path(diffcomb.__file__).parent
    solve = perturbed_grad(amwc, lift=LiftedMWC())
    partitionable = [1, 2]

    def traced(seed: int) -> dict[str, Entered]:
        rng = np.random.default_rng(seed)
        graph = grid_graph((6, 7), [(0, 1), (1, 0)])
        nodes, edges = rng.normal(size=(42, 3)), rng.normal(size=graph.num_edges)
        tensors = [torch.from_numpy(costs).requires_grad_() for costs in (nodes, edges)]
        outputs: list[torch.Tensor] = []

        def forward() -> None:
            outputs.extend(solve(*tensors, graph=graph, partitionable=partitionable))

        def backward() -> None:
            outputs[0].backward(torch.from_numpy(rng.normal(size=tuple(outputs[0].shape))))

        return {
            "amwc": entered_by(lambda: amwc(graph, nodes, edges, partitionable), package),
            "lifted perturbed_grad, forward": entered_by(forward, package),
            "lifted perturbed_grad, warm backward": entered_by(backward, package),
        }

    traced(1)
    return traced(0)


def traced_in(checkout: Path) -> dict[str, Entered]:
    settings = {"PYTHONPATH": str(checkout), "NUMBA_DISABLE_JIT": "1", "DIFFCOMB_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--trace"]
    done = subprocess.run(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Entered] = json.loads(done.stdout)
    return found


def sources(checkout: Path) -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (checkout / folder).rglob("*.py"))


def functions(checkout: Path) -> Iterator[dict[str, Any]]:
    """Every function with a name: where it is, its lines, its parameters."""
    for path in sources(checkout):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = path.relative_to(checkout).as_posix()
                yield {"function": node.name, "file": place, "lines": _lines(node), **_parameters(node.args)}


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def _parameters(arguments: ast.arguments) -> dict[str, int]:
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    bound = positional[:1] in (["self"], ["cls"])
    keyword = len(arguments.kwonlyargs)
    total = len(positional) - bound + keyword + bool(arguments.vararg) + bool(arguments.kwarg)
    return {"parameters": total, "keyword-only": keyword}


def tree(checkout: Path) -> list[str]:
    """The folders with their files and lines, indented."""
    found = {path.relative_to(checkout): len(path.read_text().splitlines()) for path in sources(checkout)}
    folders = {folder for path in found for folder in path.parents if folder != Path()}
    total = {folder: [found[path] for path in found if folder in path.parents] for folder in folders}
    lines = []
    for path in sorted(found.keys() | folders, key=lambda path: [(part.endswith(".py"), part) for part in path.parts]):
        size = f"{found[path]:,}" if path in found else f"{sum(total[path]):,} in {len(total[path])} files"
        lines.append(f"{'  ' * (len(path.parts) - 1) + path.name + '/' * (path in folders):44}{size}")
    return lines


def show(checkout: Path, top: int, order: bool) -> None:
    calls = traced_in(checkout)
    rows: list[dict[str, Any]] = [
        {"call": call, "functions": len(entered), "files": len({file for file, *_ in entered})}
        for call, entered in calls.items()
    ]
    every = list(functions(checkout))
    longest = sorted(every, key=lambda f: -f["lines"])[:top]
    widest = sorted(every, key=lambda f: -f["parameters"])[:top]
    for title, table in (
        ("Entered on 42 nodes", rows),
        ("Longest functions", longest),
        ("Longest parameter lists", widest),
    ):
        print(f"## {title}\n\n{tabulate(table, headers='keys', tablefmt='github')}\n")
    print("## Lines per file\n\n```\n" + "\n".join(tree(checkout)) + "\n```")
    for call, entered in calls.items() if order else ():
        print(f"\n## {call}: in order of first entry\n")
        print("\n".join(f"{file}:{line} {name}" for file, name, line in entered))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=HERE.parent, help="the checkout to measure")
    parser.add_argument("--top", type=int, default=15, help="rows of the tables of functions")
    parser.add_argument("--order", action="store_true", help="list the functions entered, in order")
    parser.add_argument("--trace", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trace:
        print(json.dumps(trace()))
    else:
        show(options.checkout.resolve(), options.top, options.order)


if __name__ == "__main__":
    main()
