"""The tests marked `nojit`, run as plain Python: numba may hide an out-of-bounds index or an overflow, Python does not.

Only so can coverage see kernels. The table of all files is printed by

    NUMBA_DISABLE_JIT=1 python -m pytest tests -m nojit --cov

and the run fails below the share of lines that pyproject.toml asks for (``fail_under``, in percent).
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_marked_tests_pass_without_compilation_and_cover_solvers_and_gradients(tmp_path):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1", "DIFFCOMB_DATA": "",
                   "PYTEST_ADDOPTS": "", "COVERAGE_FILE": str(tmp_path / "coverage")}  # fmt: skip
    chosen = ["-q", "-x", "-p", "no:cacheprovider", "-m", "nojit", "--cov", "--ignore", "tests/cops"]
    command = [sys.executable, "-m", "pytest", "tests", *chosen]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]["fail_under"]
    assert least >= 95
    assert f"Required test coverage of {least}" in done.stdout
