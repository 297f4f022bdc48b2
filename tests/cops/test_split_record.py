"""Images that are added or moved after a run began: none that was trained on counts as held out."""

import json
import os
import shutil

import evaluate
import pytest
import train
from cops.config import Config, Dataset
from cops.data.splits import files_of, load_splits
from cops.study.experiments import Experiment
from test_resume_errors import command, error_of, trained_in
from test_splits import write_cityscapes, write_coco


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_in(tmp_path_factory.mktemp("record"))


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run and its data, at the place of the originals."""
    shutil.copytree(run, tmp_path / "kept")
    yield run
    shutil.rmtree(run)
    shutil.copytree(tmp_path / "kept", run)


def add_images(root, count=4):
    for i in range(count):
        for part in ("images", "labels"):
            shutil.copy2(root / part / "0.png", root / part / f"new{i}.png")


def test_more_images_are_refused_because_they_redraw_the_splits(copy, capsys):
    record = json.loads((copy / "run" / "splits.json").read_text())
    names = [*record["train"], *record["validation"], *record["test"]]
    assert sorted(names) == [f"images/{i}.png" for i in range(6)]
    add_images(copy / "data")
    arguments = command(copy / "data", copy / "run")
    error = error_of(train.main, arguments, capsys)
    assert f"has other splits than when the run in {copy / 'run'} began" in error
    assert "images/new2.png is new in train" in error
    assert "restore the images, or give another --out, or --overwrite" in error
    assert error.count("\n") == 1
    checkpoint = str(copy / "run" / "checkpoints" / "baseline.pt")
    for more in ([], [f"--root={copy / 'data'}"]):
        error = error_of(evaluate.main, [checkpoint, *more], capsys)
        assert "has moved from train to test): restore the images, or train on them with another --out" in error
    train.main([*arguments, "--overwrite"])
    assert len(json.loads((copy / "run" / "splits.json").read_text())["train"]) == 7
    evaluate.main([checkpoint])


def test_run_of_an_earlier_version_resumes_and_is_evaluated(copy):
    (copy / "run" / "splits.json").unlink()
    evaluate.main([str(copy / "run" / "checkpoints" / "baseline.pt")])
    train.main(command(copy / "data", copy / "run"))
    assert (copy / "run" / "splits.json").exists()


def test_corrupt_record_is_named(copy, capsys):
    (copy / "run" / "splits.json").write_text("{")
    assert "splits.json is corrupt" in error_of(train.main, command(copy / "data", copy / "run"), capsys)


@pytest.mark.parametrize("what", ["label", "image"])
def test_models_are_scored_again_when_files_of_the_test_split_change(copy, capsys, what):
    arguments, line = command(copy / "data", copy / "run"), "images or labels of the test split have changed since"
    before = train.main(arguments)
    assert line not in capsys.readouterr().out
    settings = Config(data="folder", root=str(copy / "data"), dataset=Dataset(size=16, validation=1)).resolved()
    splits = load_splits(settings)
    (label,) = files_of(splits.test)[0].labels
    changed = label if what == "label" else files_of(splits.test)[0].image
    changed.write_bytes(changed.read_bytes())
    os.utime(changed, (1, 1))
    (copy / "run" / "metrics.json").write_text(json.dumps({"baseline": {**before["baseline"], "PQ": -1.0}}))
    assert train.main(arguments) == before  # the new file is a copy of an equal one
    assert capsys.readouterr().out.count(line) == 1
    train.main(arguments)
    assert line not in capsys.readouterr().out


def test_scores_of_a_record_without_images_are_kept(copy, capsys):
    path = copy / "run" / "splits.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"test_labels": "0", **{k: v for k, v in record.items() if k != "test_files"}}))
    train.main(command(copy / "data", copy / "run"))
    assert "scoring again" not in capsys.readouterr().out
    assert json.loads(path.read_text()) == record


def test_model_that_is_trained_anew_is_scored_anew(copy):
    arguments = command(copy / "data", copy / "run")
    before = train.main(arguments)
    path = copy / "run" / "metrics.json"
    path.write_text(json.dumps({"baseline": {**before["baseline"], "PQ": -1.0}, "other": {"PQ": 1.0}}))
    (copy / "run" / "scores-views8.json").write_text(path.read_text())
    (copy / "run" / "checkpoints" / "baseline.pt").unlink()
    assert train.main(arguments)["baseline"]["PQ"] == before["baseline"]["PQ"]
    assert json.loads((copy / "run" / "scores-views8.json").read_text()) == {"other": {"PQ": 1.0}}


def test_tables_notice_changed_splits_too(copy):
    root = copy / "data"
    experiment = Experiment(
        Config(data="folder", root=str(root), dataset=Dataset(size=16, validation=1)), copy / "e", [0]
    )
    experiment.run(0).log.close()
    add_images(root)
    with pytest.raises(ValueError, match="has other splits than when the run in"):
        experiment.run(0)


@pytest.mark.parametrize("data", ["coco", "cityscapes"])
def test_files_of_every_layout_are_those_of_its_samples(data, tmp_path):
    for split in ("train", "val"):
        {"coco": write_coco, "cityscapes": write_cityscapes}[data](tmp_path, split, ["a", "b", "c"])
    splits = load_splits(Config(data=data, root=str(tmp_path)).resolved())
    for split in splits:
        for key, files in zip(split.image_keys(), files_of(split), strict=True):
            assert files.image.name == key.file_name
            assert all(path.exists() for path in (files.image, *files.labels))
