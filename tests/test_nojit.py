"""The kernels as plain Python: numba may hide an out-of-bounds index or an overflow, Python does not."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_kernels_pass_their_tests_without_compilation():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "DIFFCOMB_DATA": ""}
    chosen = "feasible or letter or optimal or renumbering or faces or init or Odd or pair_table or contraction or adjacency or settling or pair_updates or must or trace"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen]
    files = [
        str(HERE / name)
        for name in ("test_solvers.py", "test_solver_parts.py", "test_multilevel.py", "test_graph.py", "test_chains.py")
    ]
    done = subprocess.run([*command, *files], env=environment, cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
