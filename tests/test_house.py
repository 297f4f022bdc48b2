"""Imports of the library point down only; the floors are those of docs/index.md, "The house"."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "diffcomb"
FLOORS = (  # from the top down; what stands together may import each other
    ("",),  # diffcomb/__init__.py
    ("cli", "__main__", "blockwise.solving", "blockwise"),
    ("blockwise.arguments", "blockwise.volumes", "blockwise.result"),
    ("blockwise.graphs", "blockwise.grids"),
    ("blockwise.parts", "blockwise.runner", "blockwise.sources"),
    ("blockwise.blocks", "blockwise.store"),
    ("lifted_layers",),
    ("layers", "jax", "io"),
    ("losses",),
    ("gradients.wrapping", "gradients.gradcheck", "gradients.diagnose", "gradients"),
    ("gradients.ragged", "gradients.label_outputs", "cut_output", "cells"),
    ("gradients.autograd",),
    ("gradients.call",),
    ("gradients.batch",),
    ("gradients.given", "gradients.estimators"),
    ("gradients.differences", "gradients.noise", "gradients.options"),
    ("gradients.oracle",),
    ("gradients.parallel",),
    ("gradients.calling",),
    ("gradients.schedules",),
    ("gradients.interfaces", "gradients.fused", "gradients.compiling"),
    ("differentiable_cuts", "differentiable_lifted_cuts"),
    ("lifted_cuts", "agglomeration"),
    ("cuts", "warm_differences", "regions", "affinity"),
    ("solve_instances",),
    ("lifted_instance",),
    ("starts", "constraints", "evaluation"),
    ("solvers",),
    ("solvers.lifted_registry",),
    ("solvers.lifted_bound",),
    ("solvers.lower_bound",),
    ("solvers.lifted_exact",),
    ("solvers.kernighan_lin", "solvers.exact", "solvers.lifted"),
    ("solvers.multilevel",),
    ("solvers.run",),
    ("solvers.annealing", "solvers.fusion"),
    (
        "solvers.greedy",
        "solvers.enumeration",
        "solvers.search",
        "solvers.reduction",
        "solvers.persistency",
        "solvers.population",
        "solvers.mutex_watershed",
        "solvers.bounds",
        "solvers.programme",
        "solvers.separation",
    ),
    ("solvers.highs", "solvers.own_solver"),
    ("solvers.hierarchy",),
    ("solvers.level", "solvers.lifted_level"),
    ("solvers.moves",),
    ("solvers.levels",),
    ("solvers.structures", "solvers.limits", "solvers.budget"),
    ("lifting",),
    ("linear_solver",),
    ("lifted_problem",),
    ("problem",),
    ("grid",),
    ("graph",),
    ("conversions",),
    ("labelling",),
    ("_tables",),
    ("_sums", "_matrices", "_union_find", "_ids", "_room", "_labels"),
    ("_arrays", "_implicit", "_numba", "_threads", "_interrupt", "_lock", "_version", "many"),
)


def floor_of(module):
    """The number of the floor of a module, counted from the top; the longest name in FLOORS that it begins with."""
    names = [(len(name), number) for number, floor in enumerate(FLOORS) for name in floor
             if module == name or (name and module.startswith(f"{name}."))]  # fmt: skip
    assert names, f"{module} stands on no floor: add it to FLOORS"
    return max(names)[1]


def imports_of(path):
    """Modules of the package that a file imports when it is run, as names without `diffcomb.`."""
    tree = ast.parse(path.read_text())
    package = list(path.relative_to(PACKAGE).parts[:-1])
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    skipped = {child for node in for_types for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in skipped:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = [part for part in base if part]
            if node.module:
                yield ".".join(base)
            else:
                yield from (".".join([*base, alias.name]) for alias in node.names)


def test_imports_point_down_only():
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        for imported in imports_of(path):
            assert floor_of(imported) >= floor_of(module), f"{module} imports {imported}, which stands above it"


def test_gradients_and_solvers_do_not_import_each_other():
    for one, other in (("gradients", "solvers"), ("solvers", "gradients")):
        for path in (PACKAGE / one).rglob("*.py"):
            assert not any(name.split(".")[0] in (other, "cuts", "differentiable_cuts") for name in imports_of(path))
