"""What ends a run early, and what a run or a checkpoint does not fit: a message, and nothing lost."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
import train
from cops import files
from cops.config import Config, Dataset
from cops.data.splits import load_splits
from cops.files import DiskFullError, read_scores, save_atomically, write_json
from cops.model.checkpoints import CheckpointError, load_checkpoint, load_model
from cops.study.run import RunLog
from PIL import Image
from tensorboard.summary.writer.record_writer import RecordWriter

CLASSES = [{"id": 1, "name": "floor", "isthing": False}, {"id": 2, "name": "cell", "isthing": True}]
ARGUMENTS = [
    "--data=folder", "--dataset.size=16", "--dataset.validation=1", "--model.distances=[1,2]", "--pretrain.steps=3",
    "--pretrain.batch=2", "--finetune.steps=2", "--finetune.batch=2", "--finetune.evaluate_every=1", "--pictures=0",
    "--save_every=1", "--threads=1",
]  # fmt: skip


def write_data(root, values=(1, 2001)):
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    rng = np.random.default_rng(0)
    for i in range(6):
        labels = np.full((16, 16), values[0], np.uint16)
        labels[4:12, 4:12] = values[1]
        Image.fromarray(labels).save(root / "labels" / f"{i}.png")
        Image.fromarray((rng.integers(0, 50, (16, 16)) + 150 * (labels > 1000)).astype(np.uint8)).save(
            root / "images" / f"{i}.png"
        )
    return root


def command(root, out, models="[]", *more):
    return [*ARGUMENTS, f"--root={root}", f"--out={out}", f"--finetune.models={models}", *more]


def trained_in(folder):
    """The folder, with data and a run that trained on them."""
    train.main(command(write_data(folder / "data"), folder / "run"))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_in(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def classes(trained):
    """Changes the classes of the data for one test."""

    def change(how):
        changed = [dict(c) for c in CLASSES]
        how(changed)
        (trained / "data" / "classes.json").write_text(json.dumps({"classes": changed}))

    yield change
    change(lambda _: None)


def error_of(call, arguments, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        call(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


ORDER = "another order: number 1 is 'floor' (id 1, stuff) in {}, and 'cell' (id 2, thing) in the data"
CHANGES = [
    (lambda c: c.reverse(), ORDER),
    (lambda c: c[1].update(name="nucleus"), "'cell' (id 2, thing) in {} is 'nucleus' (id 2, thing) in the data"),
    (lambda c: c[0].update(isthing=True), "'floor' (id 1, stuff) in {} is 'floor' (id 1, thing) in the data"),
    (lambda c: c.append({"id": 3, "name": "new", "isthing": False}), "'new' (id 3, stuff) in the data is absent in {}"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=["order", "name", "kind", "more"])
def test_other_categories_are_refused_and_named(trained, classes, capsys, change, message):
    classes(change)
    error = error_of(train.main, command(trained / "data", trained / "run"), capsys)
    assert message.format("the run") in error
    assert "give another --out, or --overwrite" in error
    checkpoint = trained / "run" / "checkpoints" / "baseline.pt"
    error = error_of(evaluate.main, [str(checkpoint)], capsys)
    assert message.format("the model") in error
    assert "baseline.pt was trained on" in error


@pytest.mark.parametrize("name", ["baseline.pt", "baseline.last.pt"])
def test_run_without_a_list_of_categories_takes_them_from_its_checkpoints(trained, classes, tmp_path, capsys, name):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_bytes((trained / "run" / "config.json").read_bytes())
    (run / "checkpoints" / name).write_bytes((trained / "run" / "checkpoints" / "baseline.pt").read_bytes())
    classes(lambda c: c.reverse())
    error = error_of(train.main, command(trained / "data", run, "[control_mean]"), capsys)
    assert f"{name} was trained with other categories" in error
    assert ORDER.format("the checkpoint") in error


def test_test_split_is_scored_without_the_training_split(trained, tmp_path, capsys):
    root = tmp_path / "data"
    write_data(root / "val")
    (root / "val" / "classes.json").rename(root / "classes.json")
    metrics = evaluate.main([str(trained / "run" / "checkpoints" / "baseline.pt"), f"--root={root}"])
    assert 0 <= metrics["PQ"] <= 100
    capsys.readouterr()


def test_undefined_scores_are_nan_in_tables_and_null_in_json(tmp_path, capsys):
    """Only training images have labels: validation chooses no step, every score is nan, and files are valid JSON."""
    root, out = write_data(tmp_path / "data", (0, 0)), tmp_path / "run"
    settings = Config(data="folder", root=str(root), dataset=Dataset(validation=1)).resolved()
    for key in load_splits(settings).train.image_keys():
        Image.fromarray(np.full((16, 16), 1, np.uint16)).save(root / "labels" / key.file_name)
    arguments = command(root, out, "[control_mean]")
    for _ in range(2):  # the second call reads metrics.json
        metrics = train.main(arguments)
        assert all(math.isnan(v) for row in metrics.values() for v in row.values())
        assert "nan: neither the ground truth nor a prediction has" in capsys.readouterr().out
    scores = evaluate.main([str(out / "checkpoints" / "control_mean.pt"), f"--metrics={out / 'scores.json'}"])
    assert all(math.isnan(scores[k]) for k in ("PQ", "PQ_th", "SQ", "PQ_b", "AP", "AP50", "mIoU"))
    assert "nan: neither the ground truth nor" in capsys.readouterr().out

    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    for text in [(out / name).read_text() for name in ("metrics.json", "scores.json")] + (
        out / "log.jsonl"
    ).read_text().splitlines():
        json.loads(text, parse_constant=refuse)
    assert json.loads((out / "scores.json").read_text())["PQ"] is None
    assert load_checkpoint(out / "checkpoints" / "control_mean.pt")["curve"]


def test_numbers_that_are_not_finite_become_null_and_null_becomes_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json({"a": {"PQ": math.nan, "SQ": 1.5}, "b": {"PQ": math.inf}}, path)
    assert json.loads(path.read_text()) == {"a": {"PQ": None, "SQ": 1.5}, "b": {"PQ": None}}
    scores = read_scores(path)
    assert scores["a"]["SQ"] == 1.5
    assert math.isnan(scores["a"]["PQ"])
    assert read_scores(tmp_path / "none.json") == {}
    for text in ("{", "[1]", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json is corrupt .* delete it to score the models anew"):
            read_scores(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("config"), "the key 'config' is missing"),
        (lambda c: c.pop("categories"), "the key 'categories' is missing"),
        (lambda c: c["config"]["model"].update(depth=3), "unexpected keyword argument 'depth'"),
        (lambda c: c["config"]["model"].update(distances=[1, 2, 4]), "Missing key"),
        (lambda c: c["model"].popitem(), "Missing key"),
        (lambda c: c["model"].update(other=torch.zeros(1)), "Unexpected key"),
        (lambda c: c.update(model=[1]), "does not fit"),
        (lambda c: c["model"].update(dict.fromkeys(c["model"], 3)), "does not fit"),
        (lambda c: c["categories"].pop(), "size mismatch"),
        (lambda c: c["categories"][0].pop("color"), "the key 'color' is missing"),
        (lambda c: c.update(optimizer={}), "belongs to an unfinished stage"),
    ],
)
def test_checkpoints_that_do_not_fit_are_named(trained, tmp_path, capsys, change, message):
    content = load_checkpoint(trained / "run" / "checkpoints" / "baseline.pt")
    change(content)
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=rf"other\.pt .*{message}") as raised:
        load_model(tmp_path / "other.pt")
    assert len(str(raised.value)) < 900
    assert "other.pt" in error_of(evaluate.main, [str(tmp_path / "other.pt")], capsys)


def test_folders_and_foreign_files_are_no_checkpoints(trained, tmp_path, capsys):
    assert "is a folder: give a checkpoint, such as" in error_of(evaluate.main, [str(trained / "run")], capsys)
    (tmp_path / "a.pt").write_text("x")
    with pytest.raises(CheckpointError, match=r"a\.pt is corrupt, or not one of this program"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("key", ["optimizer", "scheduler", "state", "model"])
def test_unfinished_checkpoints_that_do_not_fit_are_named(trained, tmp_path, capsys, key):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_bytes((trained / "run" / "config.json").read_bytes())
    model = load_checkpoint(trained / "run" / "checkpoints" / "baseline.pt")["model"]
    content = {"model": model, "optimizer": {}, "scheduler": {}, "state": {}}
    content[key] = {"other": torch.zeros(1)}
    torch.save(content, run / "checkpoints" / "baseline.last.pt")
    error = error_of(train.main, command(trained / "data", run), capsys)
    assert "baseline.last.pt does not fit" in error
    assert "delete it to train that stage anew" in error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_keeps_the_old_file_and_is_named(tmp_path, monkeypatch, number):
    save_atomically({"model": 1}, tmp_path / "a.pt")
    write_json([1], tmp_path / "a.json")

    def full(_):
        raise OSError(number, "no space")

    monkeypatch.setattr(files.os, "fsync", full)
    for write, name in ((save_atomically, "a.pt"), (write_json, "a.json")):
        with pytest.raises(
            DiskFullError, match=rf"^the disk is full: .*{name} could not be written .* free some space"
        ):
            write({"model": 2}, tmp_path / name)
    assert load_checkpoint(tmp_path / "a.pt") == {"model": 1}
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
    assert len(list(tmp_path.iterdir())) == 2


def test_run_on_a_full_disk_ends_with_a_message_twice_and_resumes_when_there_is_space(
    trained, tmp_path, monkeypatch, capsys
):
    real, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) > 6:  # config, categories, splits, environment and two checkpoints
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(files.os, "fsync", full)
    arguments = command(trained / "data", tmp_path / "run")
    assert "the disk is full" in (error := error_of(train.main, arguments, capsys))
    assert "baseline.last.pt could not be written" in error
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "baseline.last.pt")["state"]["step"] == 2
    assert "environment.json could not be written" in error_of(train.main, arguments, capsys)
    monkeypatch.undo()
    train.main(arguments)
    a, b = (load_checkpoint(p / "run" / "checkpoints" / "baseline.pt")["model"] for p in (trained, tmp_path))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_logs_on_a_full_disk_are_named_and_the_first_error_stays(tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def add_while_full(folder, owner, names, after=lambda: None):
        with RunLog(folder) as log, pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(owner, name, full)
            for step in range(100):
                log.add("baseline", step, {"loss": 1.0})
                time.sleep(0.01)
                after()

    def stop():
        raise ZeroDivisionError

    hook = threading.excepthook
    with RunLog(tmp_path):
        pass
    assert threading.excepthook is hook
    with pytest.raises(DiskFullError, match=r"log\.jsonl could not be written"):
        add_while_full(tmp_path / "a", Path, ["open"])
    with pytest.raises(DiskFullError, match="tensorboard could not be written"):
        add_while_full(tmp_path / "b", RecordWriter, ["write", "flush"])
    with pytest.raises(ZeroDivisionError):
        add_while_full(tmp_path / "c", RecordWriter, ["write", "flush"], stop)


def test_log_is_whole_after_a_resume_on_a_full_disk(tmp_path, monkeypatch):
    with RunLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.add("baseline", step, {"loss": 1.0})
        before = log.path.read_text()

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", full)
        with pytest.raises(DiskFullError, match=r"log\.jsonl could not be written"):
            log.resume("baseline", 1)
        assert log.path.read_text() == before
        monkeypatch.undo()
        log.resume("baseline", 1)
        assert log.path.read_text().count("\n") == 1


def start(arguments, *before):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-W", "ignore", *before, train.__file__, *arguments]
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_signals_end_training_with_a_message_and_it_resumes(trained, tmp_path, number, status, name):
    out = tmp_path / "run"
    arguments = command(trained / "data", out, "[]", "--pretrain.steps=100000")
    process = start(arguments)
    deadline = time.time() + 240
    while not (out / "checkpoints" / "baseline.last.pt").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == status
    assert f"train.py: stopped by {name}: rerun the same command to resume" in error
    assert "Traceback" not in error
    assert load_checkpoint(out / "checkpoints" / "baseline.last.pt")["state"]["step"] >= 1


def test_size_limit_of_files_ends_training_without_a_traceback(trained, tmp_path):
    """The system itself refuses to write on, as a full disk does."""
    limited = (  # from within: a fork that sets it fails where JAX has started threads
        "import resource, runpy, sys; sys.argv = sys.argv[1:]; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY)); "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    process = start(command(trained / "data", tmp_path / "run"), "-c", limited)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "baseline.last.pt could not be written (File too large)" in error
    assert "Traceback" not in error
