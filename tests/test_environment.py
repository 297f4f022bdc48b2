"""The package runs where folders cannot be written and where a killed job has left a damaged cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import diffcomb
from diffcomb import _numba


def run(environment, code, folder=None):
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def test_import_without_a_writable_cache_folder_works_and_warns_once(tmp_path):
    source = Path(diffcomb.__file__).parent
    shutil.copytree(source, tmp_path / "diffcomb", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [p for p in tmp_path.rglob("*") if p.is_dir()]:
        (folder / "__pycache__").touch()  # a file in place of the folder, so that even root cannot write there
    nowhere = str(tmp_path / "diffcomb" / "__pycache__" / "none")
    environment = {
        "PYTHONPATH": str(tmp_path),
        "HOME": nowhere,
        "XDG_CACHE_HOME": nowhere,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    code = "import diffcomb._numba as n, diffcomb.solvers.enumeration as t; n.announce_compilation(t._branch_and_bound)"
    said = run(environment, f"{code}; n.announce_compilation(t._branch_and_bound); print('imported')", tmp_path)
    assert said.stdout == "imported\n"
    assert said.stderr.count("set NUMBA_CACHE_DIR") == 1


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled, hence nothing is cached")
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_cache_files_are_replaced(tmp_path, suffix):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = "from diffcomb.solvers.structures.edge_table import pair_table; print(pair_table(1)[0][0])"
    run(environment, code)
    damaged = list(tmp_path.rglob(f"*pair_table*.{suffix}"))
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2] if suffix == "nbc" else b"")
    done = run(environment, code)
    assert done.stdout == "-1\n"
    assert "pair_table in" in done.stderr
    assert "compiling it anew" in done.stderr
    assert run(environment, code).stderr == ""  # the cache has been written again


def test_unwritable_cache_is_reported_and_the_function_still_runs(tmp_path, caplog):
    def function(x):
        return x + 1

    cache = _numba._Cache(function)
    cache._impl = None  # makes numba's own code fail

    for error in (OSError(28, "No space left on device"), EOFError("a damaged index")):

        def fails(*_, error=error):
            raise error

        cache._save_overload = fails
        caplog.clear()
        with caplog.at_level("WARNING", logger="diffcomb"):
            cache.save_overload(None, None)
        assert "cannot be cached" in caplog.text
    assert np.isclose(_numba.njit(function)(1.0), 2.0)
