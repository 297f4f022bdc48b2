"""Run pytest again and again in forks of one process that has imported what takes long to import.

Reads one command a line from standard input, a JSON list ``[file for the output, seconds, pytest's arguments ...]``, and
answers with pytest's exit status (or minus the number of the signal that ended it). The package under test must not have
been imported by the process that forks: each fork imports the copy as it is at that moment.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys

HEAVY = (
    "hypothesis", "hypothesis.extra.numpy", "networkx", "numba.extending", "numpy", "pytest", "scipy.optimize",
    "scipy.sparse.csgraph", "torch", "zarr",
)  # fmt: skip


def run(output, seconds, arguments):
    """Run pytest once; returns its exit status."""
    if not hasattr(os, "fork"):
        with open(output, "w") as file:
            command = [sys.executable, "-m", "pytest", *arguments]
            return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=seconds).returncode
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # ends the process
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        status = sys.modules["pytest"].main(arguments)
        sys.stdout.flush()
        os._exit(int(status))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for name in HEAVY:
        importlib.import_module(name)
    assert "diffcomb" not in sys.modules
    gc.freeze()  # no fork looks through what was imported here
    for line in sys.stdin:
        output, seconds, *arguments = json.loads(line)
        print(run(output, seconds, arguments), flush=True)
