"""Scores of predictions that exist, without a checkpoint: equal to the model's own, or a clear error."""

import json
import re
import shutil
from pathlib import Path

import evaluate
import numpy as np
import pytest
from cops.config import Config
from cops.data.coco import CocoPanoptic
from cops.data.output_files import id_png
from cops.data.predictions import Predictions, _numbers
from cops.data.samples import DataError, ImageKey
from cops.data.scenes import CATEGORIES, Scenes
from cops.data.writer import PanopticWriter
from cops.files import save_atomically, write_json
from cops.model.checkpoints import load_checkpoint
from PIL import Image
from prediction_files import prediction

CHECKPOINT = Path(evaluate.__file__).parent / "checkpoints" / "scenes_full_svm.pt"
SIZE = 64
ROWS = [{"id": c.id, "name": c.name, "isthing": int(c.isthing)} for c in CATEGORIES]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three scenes as a test split in COCO panoptic format, and no training split."""
    folder = tmp_path_factory.mktemp("data")
    labels = folder / "annotations" / "panoptic_val"
    labels.mkdir(parents=True)
    (folder / "val").mkdir()
    content = {"images": [], "annotations": [], "categories": ROWS}
    for i in range(3):
        scene = Scenes(3, 2, SIZE)[i]
        Image.fromarray(scene.image).save(folder / "val" / f"{i}.png")
        (labels / f"{i}.png").write_bytes(id_png(scene.ids, {}, [], []))
        content["images"].append({"id": i, "file_name": f"{i}.png"})
        info = [{"id": s.id, "category_id": CATEGORIES[s.category].id, "iscrowd": 0} for s in scene.segments]
        content["annotations"].append({"image_id": i, "file_name": f"{i}.png", "segments_info": info})
    (folder / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    """Imperfect predictions: every segment is shifted by a few pixels."""
    folder = tmp_path_factory.mktemp("predictions") / "p"
    data, writer = CocoPanoptic(root, "val"), PanopticWriter(folder, CATEGORIES)
    for i in range(len(data)):
        sample = data[i]
        ids = np.roll(sample.ids, i, axis=0)
        kept = [(s.id, s.category) for s in sample.segments if (ids == s.id).any()]
        writer.add(sample.name, prediction(ids, kept), sample.image_id, file_name=sample.file_name)
    writer.close()
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "p"))


def scored(root, path, *more):
    return evaluate.main([f"--predictions={path}", "--data=coco", f"--root={root}", *more])


def refused(arguments, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        evaluate.main([str(a) for a in arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def edit(folder, change):
    path = folder / "panoptic.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_scores_of_a_dump_equal_those_of_its_checkpoint(root, tmp_path, capsys):
    """To the last bit, AP and boundary PQ included; only mean IoU needs what a dump does not hold."""
    content = load_checkpoint(CHECKPOINT)
    content["config"]["data"] = "coco"
    save_atomically(content, tmp_path / "coco.pt")
    dump = tmp_path / "dump"
    expected = evaluate.main([str(tmp_path / "coco.pt"), f"--root={root}", f"--dump={dump}"])
    found = scored(root, dump)
    assert found == {name: value for name, value in expected.items() if name != "mIoU"}
    assert 0 < found["PQ"] < 100
    assert found["AP"] > 0
    assert "predictions for 3 of 3 images\nmIoU is left out" in capsys.readouterr().out


def test_predictions_of_other_programs_are_read(root, written, tmp_path, capsys):
    """FOLDER.json beside FOLDER as panopticapi takes them, with no images, no categories and no scores; and one file."""
    expected = scored(root, written)
    folder = Path(shutil.copytree(written, tmp_path / "found"))
    content = json.loads((folder / "panoptic.json").read_text())
    (folder / "panoptic.json").unlink()
    for annotation in content["annotations"]:
        for info in annotation["segments_info"]:
            del info["score"]
    (tmp_path / "found.json").write_text(json.dumps({"annotations": content["annotations"][::-1]}))
    capsys.readouterr()
    for path in (folder, tmp_path / "found.json"):
        found = scored(root, path)
        assert found == {name: value for name, value in expected.items() if name not in ("AP", "AP50")}
        assert "AP is left out: " in capsys.readouterr().out
    (tmp_path / "found.json").rename(folder / "predictions.json")  # as detectron2 writes it
    assert scored(root, folder) == found


def test_data_and_splits_of_a_run_are_taken_from_its_settings(root, written, tmp_path, capsys):
    write_json(Config(data="coco", root=str(root)).to_dict(), tmp_path / "config.json")
    arguments = [f"--predictions={written}", f"--settings={tmp_path / 'config.json'}"]
    assert evaluate.main(arguments) == scored(root, written)
    (tmp_path / "config.json").write_text("[]")
    assert "config.json is not the config.json of a run" in refused(arguments, capsys)


def test_missing_predictions_are_counted_or_scored_as_void(root, folder, capsys):
    whole = scored(root, folder)
    edit(folder, lambda c: (c["annotations"].pop(1), c["annotations"].pop(1)))
    arguments = [f"--predictions={folder}", "--data=coco", f"--root={root}"]
    assert "panoptic.json lacks predictions for 2 of 3 images (1.png, 2.png); --missing void" in refused(
        arguments, capsys
    )
    found = scored(root, folder, "--missing=void")
    assert found["PQ"] < whole["PQ"]
    count = [sum(row["TP"] + row["FN"] for row in scores["classes"]) for scores in (whole, found)]
    assert count[0] == count[1]


def test_predictions_of_other_images_are_counted_or_ignored(root, folder, capsys):
    whole = scored(root, folder)

    def more(content):
        content["images"].append({"id": 7, "file_name": "seven.png"})
        content["annotations"].append({**content["annotations"][0], "image_id": 7})

    edit(folder, more)
    arguments = [f"--predictions={folder}", "--data=coco", f"--root={root}"]
    error = refused(arguments, capsys)
    assert "holds 1 predictions for images that the data lack (seven.png): is it of another split? --extra" in error
    assert scored(root, folder, "--extra=ignore") == whole


def first(content):
    return content["annotations"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"][0].update(name="zebra"), "has other categories than the data: 'zebra' (id 1, stuff)"),
        (lambda c: first(c)["segments_info"][0].update(category_id=99), "has the unknown category id 99"),
        (lambda c: first(c)["segments_info"][0].update(score="high"), "'score' must be a number, got 'high'"),
        (lambda c: first(c)["segments_info"].pop(), "holds ids that segments_info lacks"),
        (lambda c: first(c).update(file_name="none.png"), "none.png is missing"),
        (lambda c: first(c).pop("image_id"), "an annotation is malformed: 'image_id' is missing"),
        (lambda c: c["images"][0].update(id=1.5), "an image is malformed: 'image id' must be an integer, got 1.5"),
        (lambda c: c["images"][0].update(file_name="1.png"), "holds two predictions for the image 1.png"),
        (lambda c: c.pop("annotations"), "lacks the list 'annotations'"),
    ],
)  # fmt: skip
def test_malformed_predictions_are_named(root, folder, capsys, change, message):
    edit(folder, change)
    assert message in refused([f"--predictions={folder}", "--data=coco", f"--root={root}"], capsys)


def test_images_of_another_size_or_kind_are_named(root, folder, capsys):
    arguments = [f"--predictions={folder}", "--data=coco", f"--root={root}"]
    Image.new("RGB", (3, 5)).save(folder / "0_panoptic.png")
    assert "0_panoptic.png has the size (5, 3), and its image 0 has (64, 64)" in refused(arguments, capsys)
    Image.new("L", (64, 64)).save(folder / "0_panoptic.png")
    assert "0_panoptic.png must be an RGB image, got mode L" in refused(arguments, capsys)


def test_order_of_categories_makes_no_difference(root, folder):
    whole = scored(root, folder)
    edit(folder, lambda c: c["categories"].reverse())
    assert scored(root, folder) == whole


def test_json_of_predictions_must_be_clear(root, folder, tmp_path, capsys):
    data = ["--data=coco", f"--root={root}"]
    (folder / "panoptic.json").rename(folder / "a.json")
    (folder / "b.json").write_text("{}")
    error = refused([f"--predictions={folder}", *data], capsys)
    assert "must hold panoptic.json or one other JSON file" in error
    assert "got a.json, b.json: give the file" in error
    assert "do not exist" in refused([f"--predictions={tmp_path / 'none'}", *data], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a checkpoint"),
        (["a.pt", "--predictions=p", "--data=coco"], "give either a checkpoint"),
        (["--predictions=p"], "--predictions needs the data: give --data and --root"),
        (["--predictions=p", "--data=coco", "--settings=c.json"], "--predictions needs the data"),
        (["--predictions=p", "--data=coco"], "give --root"),
        (["--predictions=p", "--data=coco", "--solver=greedy"], "--solver cannot be given together with --predictions"),
        (["--predictions=p", "--data=coco", "--dump=d"], "--dump cannot be given together with --predictions"),
        (["a.pt", "--data=coco"], "--data cannot be given together with a checkpoint"),
        (["a.pt", "--missing=void"], "--missing is for --predictions"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message, capsys):
    assert message in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (ImageKey(5, "a/0.png"), 0),
        (ImageKey(0, "b/0.png"), 1),  # predict.py numbers images as they come: the file name decides
        (ImageKey(10, "x/y/0.jpg"), 0),  # the same id, another folder and suffix
        (ImageKey(10, "z.png"), None),  # the same id by chance
        (ImageKey(99, "elsewhere/2.png"), 2),  # only one image is called so
        (ImageKey(99, "elsewhere/0.png"), None),  # two are
        (ImageKey(11, ""), 1),
        (ImageKey(99, ""), None),
        (ImageKey("aachen", "aachen_other.png"), 3),  # strings do not agree by chance
    ],
)
def test_predictions_find_their_images(key, number):
    images = [
        ImageKey(10, "a/0.png"),
        ImageKey(11, "b/0.png"),
        ImageKey(12, "c/2.png"),
        ImageKey("aachen", "aachen.png"),
    ]
    assert _numbers(images)(key) == number


def test_predictions_of_a_folder_that_predict_wrote_are_found_by_file_name(root, folder):
    """Its ids are numbers from 0 on, in another order than those of the data."""
    numbers = {0: 2, 1: 0, 2: 1}

    def renumber(content):
        for part, key in ((content["images"], "id"), (content["annotations"], "image_id")):
            for entry in part:
                entry[key] = numbers[entry[key]]

    whole = scored(root, folder)
    edit(folder, renumber)
    assert scored(root, folder) == whole
    edit(folder, lambda c: (c["annotations"].clear(), c["images"].clear()))
    with pytest.raises(DataError, match="lacks predictions for 3 of 3 images"):
        Predictions(folder, CocoPanoptic(root, "val"))


@pytest.mark.parametrize("width", ["-1", "0", "1.5", ".nan"])
def test_boundary_width_that_is_no_share_is_refused(width, capsys):
    assert "--boundary must be above 0 and at most 1, got" in refused([CHECKPOINT, f"--boundary={width}"], capsys)


def test_metrics_that_cannot_be_written_are_refused_before_anything_is_scored(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "load_model", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file" / "a.json", "File exists|Not a directory")):
        error = refused([CHECKPOINT, f"--metrics={path}"], capsys)
        assert re.search(rf"error: {re.escape(str(path))} cannot be written: ({reason})\n", error)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
