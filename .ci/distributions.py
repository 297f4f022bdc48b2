"""Build wheel and sdist, install each in a fresh environment, and use it from outside the checkout.

    python .ci/distributions.py [pip options, for example -c constraints.txt]

Needs the package `build`. Prints what it checked; a failure is an assertion or a command that ends with an error.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = {"diffcomb.jax"}  # needs an extra
SMOKE = f"""
import importlib, importlib.metadata, pathlib, pkgutil, sys
import numpy as np
import diffcomb
home = pathlib.Path(diffcomb.__file__).parent
assert home.is_relative_to(sys.prefix), f"imported from {{home}}"
assert (home / "py.typed").exists(), "py.typed is missing"
assert importlib.metadata.version("diffcomb") == diffcomb.__version__
modules = [m.name for m in pkgutil.walk_packages([str(home)], "diffcomb.") if m.name not in {OPTIONAL}]
for name in modules:
    importlib.import_module(name)
for name in diffcomb.__all__:
    getattr(diffcomb, name)
graph = diffcomb.grid_graph((1, 3))
solution = diffcomb.amwc(graph, np.zeros((3, 2)), np.array([2.0, -1.0]), partitionable=[True, False])
assert (solution.objective, solution.edge_labels.tolist()) == (-1.0, [0, 1]), solution
print(f"{{len(modules)}} modules imported and one cut solved with Python {{sys.version.split()[0]}}")
"""


def run(*command: object, folder: Path = ROOT) -> str:
    """Run a command; its output is shown, and returned."""
    done = subprocess.run([str(c) for c in command], cwd=folder, text=True, stdout=subprocess.PIPE)
    print(done.stdout, end="", flush=True)
    done.check_returncode()
    return done.stdout


def tracked() -> set[str]:
    """The files of the library that git knows."""
    return set(run("git", "ls-files", "diffcomb").split())


def contents(archive: Path) -> set[str]:
    """The files of the library in a wheel or an sdist."""
    if archive.suffix == ".whl":
        names = zipfile.ZipFile(archive).namelist()
    else:
        with tarfile.open(archive) as file:
            names = [re.sub(r"^[^/]*/", "", member.name) for member in file.getmembers() if member.isfile()]
    return {name for name in names if name.startswith("diffcomb/")}


def main(pip_options: list[str]) -> None:
    """Build, compare the lists of files, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "dist"
        run(sys.executable, "-m", "build", "--outdir", built)
        archives = sorted(built.iterdir())
        assert [a.suffix for a in archives] == [".whl", ".gz"], archives
        expected = tracked()
        for number, archive in enumerate(archives):
            assert contents(archive) == expected, f"{archive.name} differs by {contents(archive) ^ expected}"
            environment = Path(folder) / f"environment{number}"
            venv.create(environment, with_pip=True)
            python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
            run(python, "-m", "pip", "install", "--quiet", *pip_options, archive)
            print(archive.name, end=": ", flush=True)
            run(python, "-I", "-W", "error", "-c", SMOKE, folder=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
