"""Two processes in one run folder: the second one is refused, until the first one ends, however it ends."""

import subprocess
import sys

import pytest
import reproduce
import train
from test_resume_errors import command, error_of, write_data

from diffcomb._lock import locked

HOLD = (
    "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(flush=True); time.sleep(99)"
)


def test_second_process_in_a_run_folder_is_refused_until_the_first_one_is_killed(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE)
    try:
        first.stdout.readline()
        arguments = command(write_data(tmp_path / "data"), out)
        for more in ([], ["--overwrite"]):
            error = error_of(train.main, [*arguments, *more], capsys)
            assert error.startswith(f"train.py: error: another process is training in {out}: wait until it ends, ")
        assert not list(out.iterdir())
    finally:
        first.kill()
        first.communicate()
    train.main(arguments)
    train.main(arguments)


def test_tables_lock_the_folder_of_every_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(reproduce.WHAT, "table1", lambda *_: None)
    arguments = ["table1", f"--runs={tmp_path}", "--seeds=[0,1]"]
    with locked(tmp_path / "scenes" / "seed1", "is training in"):
        for more in ([], ["--views=8"]):  # which score the same runs
            error = error_of(reproduce.main, [*arguments, *more], capsys)
            assert f"is training in {tmp_path / 'scenes' / 'seed1'}" in error
    reproduce.main([*arguments, "--views=8"])
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_folder_is_unlocked_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a", "uses"):
        raise ZeroDivisionError
    again = pytest.raises(ValueError, match=f"another process uses {tmp_path}")
    with locked(tmp_path / "a", "uses"), again, locked(tmp_path / "a", "uses"):
        pass
