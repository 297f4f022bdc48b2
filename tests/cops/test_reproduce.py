"""The command of every table: where a trial writes, what is recorded, and how the program ends."""

import signal
from functools import partial
from pathlib import Path

import pytest
import reproduce
import train
from cops.config import Config
from cops.stopping import run_command


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Call reproduce.py with a table that trains nothing; returns the folder of results."""
    monkeypatch.setitem(reproduce.WHAT, "table1", lambda _, report: report("table1", "Table", [{"a": 1}]))

    def call(*more) -> Path:
        reproduce.main(["table1", f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", *more])
        return tmp_path / "results"

    return call


def test_trial_results_do_not_replace_real_ones(results):
    real = results("--threads=1") / "scenes" / "table1.md"
    before = real.read_text()
    assert "`python examples/panoptic_cops/reproduce.py table1 --data scenes --threads 1`" in before
    trial = results("--threads=1", "--max_steps=2") / "scenes-trial" / "table1.md"
    assert "table1 --data scenes --threads 1 --max_steps 2`" in trial.read_text()
    assert real.read_text() == before
    for resolution in ("grid", "fine"):
        folder = results("--max_steps=1", f"--resolution={resolution}") / f"scenes-{resolution}-trial"
        assert f"table1 --data scenes --resolution {resolution} --max_steps 1`" in (folder / "table1.md").read_text()


def test_tables_show_the_models_that_are_asked_for():
    named = partial(reproduce.Experiment, Config().resolved(), Path("none"), [0])
    assert named().compared("single_seeds") == ("single_mean", "single_svm", "single_mean_svm")
    assert named(["single_svm", "full"]).compared("single_seeds") == ("single_svm",)
    assert named(["control_pixels"]).compared("losses_after") == ("baseline", "control_pixels")
    with pytest.raises(ValueError, match="claim needs a model that is trained through the solver"):
        reproduce.WHAT["claim"](named(["control"]), None)
    with pytest.raises(ValueError, match=r"models must name some of losses: single_mean, .*; got full"):
        named(["full"]).compared("losses")


@pytest.mark.parametrize(("argument", "name"), [("--threads=-1", "threads"), ("--seeds=[0,-1]", "seed")])
def test_numbers_out_of_range_are_refused_before_a_table_is_made(results, argument, name, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        results(argument)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"reproduce.py: error: {name} must be ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_signal_ends_the_program_with_one_line(number, name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: signal.raise_signal(number), "reproduce.py")
    assert stopped.value.code == 128 + number
    assert capsys.readouterr().err == f"\nreproduce.py: stopped by {name}: rerun the same command to resume\n"
    assert 'run_command(main, "reproduce.py")' in Path(reproduce.__file__).read_text()


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("--overwrite", "rerun the same command without --overwrite, which would delete what is done, to resume"),
        ("--overfit=1", "a first test does not resume, rerun the same command to start anew"),
    ],
)
def test_stop_message_does_not_advise_a_command_that_deletes_what_is_done(given, advice, capsys):
    with pytest.raises(SystemExit):
        run_command(lambda: signal.raise_signal(signal.SIGINT), "train.py", train.how_to_go_on(["--seed=1", given]))
    assert capsys.readouterr().err == f"\ntrain.py: stopped by Ctrl-C: {advice}\n"
