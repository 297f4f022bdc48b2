"""Cityscapes, your own folder, label images and the nuclei converter, from files that the tests write."""

import json
from dataclasses import replace
from pathlib import Path

import evaluate
import numpy as np
import prepare_nuclei
import pytest
import train
from cops.config import Config, config_from_dict
from cops.data.cityscapes import CATEGORIES, Cityscapes
from cops.data.coco import CocoPanoptic, DataError
from cops.data.folder import Folder, decode, folder_splits, read_labels
from cops.data.samples import Category, Prediction, Segment
from cops.data.splits import load_splits
from cops.data.writer import PanopticWriter
from cops.recipes import BASELINE, SECOND_STAGE
from cops.scores.quality import PanopticQuality
from jsonargparse import ArgumentParser
from PIL import Image

PAIR = (Category(7, "road", False, (0, 0, 0)), Category(26, "car", True, (0, 0, 0)))


def test_labels_hold_class_and_instance():
    values = np.array([[0, 7, 7002], [26, 26000, 26001], [99, 26001, 7]])
    ids, segments = decode(values, 1000, {7: 0, 26: 1}, PAIR)
    assert segments == (Segment(1, 0), Segment(2, 1, True), Segment(3, 1), Segment(4, 1))
    np.testing.assert_array_equal(ids, [[0, 1, 1], [2, 3, 4], [0, 4, 1]])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_label_values_are_not_rescaled(tmp_path, kind):
    values = np.array([[0, 3], [200, 7]], kind)
    path = tmp_path / ("a.tif" if kind is np.int32 else "a.png")  # PNG ends at 16 bits
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read_labels(path), values)


def test_files_that_are_not_label_images_are_refused(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="must have one channel of 8, 16 or 32 bits, got an image of mode RGB"):
        read_labels(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.png cannot be read as an image"):
        read_labels(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"the label .*c\.png is missing"):
        read_labels(tmp_path / "c.png")


def cityscapes_values():
    """Road, sky, a group of cars, two cars, a person, and a class that is ignored in evaluation."""
    values = np.full((32, 64), 7, np.uint16)
    values[:10] = 23
    values[12:22, 2:14], values[12:22, 14:30], values[24:30, 3:20] = 26000, 26001, 26
    values[10:28, 40:46] = 24000
    values[28:, 50:] = 4
    return values


@pytest.fixture
def cityscapes(tmp_path):
    for split, city, count in (("train", "aachen", 3), ("val", "frankfurt", 2)):
        for kind in ("leftImg8bit", "gtFine"):
            (tmp_path / kind / split / city).mkdir(parents=True)
        for i in range(count):
            name = f"{city}_00000{i}_000019"
            image = np.full((32, 64, 3), 40 * i, np.uint8)
            Image.fromarray(image).save(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
            values = np.roll(cityscapes_values(), i, axis=1)
            Image.fromarray(values).save(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png")
    return tmp_path


def test_cityscapes_from_the_download(cityscapes):
    data = Cityscapes(cityscapes, "val")
    assert [len(data), len(data.categories), sum(c.isthing for c in data.categories)] == [2, 19, 8]
    s = data[0]
    assert s.image_id == s.name == "frankfurt_000000_000019"
    found = {(data.categories[x.category].name, x.iscrowd, int((s.ids == x.id).sum())) for x in s.segments}
    assert ("car", True, 102) in found
    assert ("car", False, 120) in found
    assert ("person", False, 108) in found
    assert len(found) == 6
    assert s.ids[30, 60] == 0
    splits = load_splits(Config(data="cityscapes", root=str(cityscapes)).resolved())
    assert [len(x) for x in splits] == [2, 1, 2]


def test_cityscapes_faults_are_named(cityscapes, tmp_path):
    label = next((cityscapes / "gtFine" / "val").rglob("*000001_000019*"))
    label.unlink()
    with pytest.raises(DataError, match=r"frankfurt_000001_000019 must have both an image .* and ground truth"):
        Cityscapes(cityscapes, "val")
    with pytest.raises(DataError, match=r"must hold images <city>/\*_leftImg8bit\.png, got none"):
        Cityscapes(tmp_path / "gtFine", "val")
    with pytest.raises(DataError, match="give --root"):
        load_splits(Config(data="cityscapes").resolved())


def imperfect(sample, categories):
    """A prediction with a shifted car, a swapped class, a lost person and a false one."""
    ids = np.roll(sample.ids, 1, axis=0)
    segments = [Segment(s.id, s.category) for s in sample.segments]
    person = next(s for s in segments if categories[s.category].name == "person")
    ids[ids == person.id] = segments[0].id
    new = len(segments) + 1
    ids[26:31, 22:30] = new
    segments.append(Segment(new, person.category))
    kept = tuple(s for s in segments if (ids == s.id).any())
    none = np.zeros(0)
    return Prediction(ids, kept, (1.0,) * len(kept), none, none, none, none)


@pytest.mark.filterwarnings("ignore")
def test_the_official_cityscapes_evaluation_agrees(cityscapes, tmp_path):
    """It reads our dump, and finds our PQ, SQ and RQ of every class to 1e-6."""
    preparation = pytest.importorskip("cityscapesscripts.preparation.createPanopticImgs")
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPanopticSemanticLabeling")
    truth = tmp_path / "truth"
    truth.mkdir()
    preparation.convert2panoptic(str(cityscapes / "gtFine"), str(truth), False, ["val"])
    data = Cityscapes(cityscapes, "val")
    quality, writer = PanopticQuality(data.categories), PanopticWriter(tmp_path / "dump", data.categories)
    for i in range(len(data)):
        prediction = imperfect(data[i], data.categories)
        quality.add(prediction.ids, prediction.segments, data[i])
        writer.add(data[i].name, prediction, data[i].image_id)
    arguments = [str(p) for p in (truth / "cityscapes_panoptic_val.json", truth / "cityscapes_panoptic_val",
                                  writer.close(), tmp_path / "dump", tmp_path / "result.json")]  # fmt: skip
    result = official.evaluatePanoptic(*arguments)
    ours = quality.result()
    assert 20 < ours["PQ"] < 90
    for part, key in (("All", "PQ"), ("Things", "PQ_th"), ("Stuff", "PQ_st")):
        assert 100 * result[part]["pq"] == pytest.approx(ours[key], abs=1e-6)
    assert 100 * result["All"]["sq"] == pytest.approx(ours["SQ"], abs=1e-6)
    assert 100 * result["All"]["rq"] == pytest.approx(ours["RQ"], abs=1e-6)
    # The JSON of createPanopticImgs is read as well, and says the same as the instance ids.
    samples = [data[i] for i in range(len(data))]
    for path in list((cityscapes / "gtFine" / "val").rglob("*_instanceIds.png")):
        path.unlink()
    for path in truth.iterdir():
        path.rename(cityscapes / "gtFine" / path.name)
    again = Cityscapes(cityscapes, "val")
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(again[i].class_map(), sample.class_map())
        kinds = [{(s.category, s.iscrowd) for s in x.segments} for x in (again[i], sample)]
        assert kinds[0] == kinds[1]


@pytest.fixture
def own(tmp_path):
    classes = [{"id": 1, "name": "floor", "isthing": False}, {"id": 2, "name": "cell", "isthing": True}]
    (tmp_path / "classes.json").write_text(json.dumps({"divisor": 100, "classes": classes}))
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 9), 1000 * i, np.uint16)).save(tmp_path / "images" / f"{i}.png")
        values = np.ones((8, 9), np.uint16)
        values[2:5, 2:5], values[2:5, 5:8], values[0, 0] = 201, 202 + i, 0
        Image.fromarray(values).save(tmp_path / "labels" / f"{i}.png")
    return tmp_path


def test_own_folder_of_images_and_labels_is_read(own):
    train, test = folder_splits(own)
    assert (len(train), len(test)) == (5, 1)
    s = train[0]
    assert s.image.shape == (8, 9, 3)
    assert [x.category for x in s.segments] == [0, 1, 1]
    assert s.ids[0, 0] == 0
    assert len(load_splits(Config(data="folder", root=str(own)).resolved()).validation) == 1
    for split in ("train", "val"):
        (own / split).mkdir()
    (own / "images").rename(own / "train" / "images")
    (own / "labels").rename(own / "train" / "labels")
    with pytest.raises(DataError, match=r"the folder .*val/images is missing"):
        folder_splits(own)


def test_images_without_things_and_classes_without_instances_train(own, tmp_path, capsys):
    """Nothing but stuff, nothing but void, nothing but things, a class that no image shows: every stage goes through."""
    classes = json.loads((own / "classes.json").read_text())
    classes["classes"] += [{"id": 3, "name": "absent", "isthing": True}, {"id": 4, "name": "gone", "isthing": False}]
    (own / "classes.json").write_text(json.dumps(classes))
    for i, value in enumerate((1, 0, 201, 1)):
        Image.fromarray(np.full((8, 9), value, np.uint16)).save(own / "labels" / f"{i}.png")
    out = tmp_path / "run"
    arguments = ["--data=folder", f"--root={own}", "--dataset.size=16", "--model.distances=[1,2]", "--max_steps=3"]
    metrics = train.main([*arguments, f"--out={out}", "--finetune.batch=2", "--pretrain.batch=2", "--threads=1",
                          f"--finetune.models={list(SECOND_STAGE)}"])  # fmt: skip
    assert list(metrics) == [BASELINE, *SECOND_STAGE]
    assert all(0 <= scores["PQ"] <= 100 for scores in metrics.values())
    log = [json.loads(line) for line in (tmp_path / "run-trial" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in log if "loss" in line)
    assert {line["stage"] for line in log} == set(metrics) - {"control_search"}
    reports = evaluate.main([f"{tmp_path}/run-trial/checkpoints/full.pt"])
    found = {row["class"]: row["TP"] + row["FN"] for row in reports["classes"]}
    assert found["floor"] == 1
    assert not found.get("absent")
    assert not found.get("gone")
    capsys.readouterr()


@pytest.mark.parametrize("name", ["scenes", "nuclei", "cityscapes", "coco"])
def test_configuration_files_match_table_2_of_the_paper(name, tmp_path, capsys):
    path = Path(train.__file__).parent / "configs" / f"{name}.yaml"
    if name != "scenes":
        with pytest.raises(SystemExit):
            train.main([f"--config={path}", f"--root={tmp_path / 'nowhere'}", f"--out={tmp_path / 'run'}"])
        assert "nowhere" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    parser = ArgumentParser()
    parser.add_class_arguments(Config)
    c = config_from_dict(parser.parse_path(path).as_dict()).resolved()
    if name in ("scenes", "nuclei"):
        assert replace(c, root=None, out=None) == replace(Config(data=c.data).resolved(), out=None)  # the defaults
    else:
        paper = {"cityscapes": (12, 24, 3000, 10, 1e-3, 200, 2048), "coco": (48, 24, 10000, 100, 5e-4, 200, 4096)}
        f, d = c.finetune, c.dataset
        found = (c.pretrain.batch, f.batch, f.steps, c.full.weight, c.pretrain.lr, d.reject_things, d.reject_stuff)
        assert found == paper[name]
        assert list(d.shortest_edges) == list(range(512, 2049, 32) if name == "cityscapes" else range(448, 769, 64))
        assert c.full.num_lambdas == 5
        assert c.full.dropout == 0.1


def test_every_configuration_file_trains_in_a_folder_of_its_own():
    parser = ArgumentParser()
    parser.add_class_arguments(Config)
    paths = list((Path(train.__file__).parent / "configs").glob("*.yaml"))
    folders = [config_from_dict(parser.parse_path(path).as_dict()).resolved().out for path in paths]
    assert sorted(folders) == sorted(f"runs/{'scenes-quick' if p.stem == 'quick' else p.stem}" for p in paths)


def test_abbreviation_of_quick_is_refused_since_its_settings_would_be_missing(capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["--qui"])
    assert stopped.value.code == 2
    assert "--qui" in capsys.readouterr().err


def test_trial_leaves_the_share_of_images_that_validate():
    images, scenes = (train.shortened(Config(data=data).resolved(), 99) for data in ("coco", "scenes"))
    assert images.dataset.validation is None
    assert scenes.dataset.validation == 99


def test_quick_run_presets_settings_and_those_given_beside_it_win(tmp_path, monkeypatch, capsys):
    configs = []
    monkeypatch.setattr(train, "train", lambda config, overwrite: configs.append(config))
    train.main(["--quick"])
    train.main(["--pretrain.steps=7", "--quick", f"--out={tmp_path}"])
    quick, changed = configs
    assert (quick.out, quick.dataset.size, quick.finetune.models) == ("runs/scenes-quick", 64, ["full_svm"])
    assert changed == replace(quick, out=str(tmp_path), pretrain=replace(quick.pretrain, steps=7))
    with pytest.raises(SystemExit):
        train.main(["--quick", "--data=folder", f"--root={tmp_path}"])
    assert "--quick needs data='scenes', got 'folder'" in capsys.readouterr().err
    assert len(configs) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "classes.json").unlink(), r"classes\.json is missing"),
        (lambda r: (r / "classes.json").write_text('{"divisor": 1, "classes": []}'), "'divisor' must be an integer above 1"),
        (lambda r: (r / "classes.json").write_text('{"classes": []}'), r"class ids must be different numbers .* got \[\]"),
        (lambda r: (r / "classes.json").write_text('{"classes": [{"id": 1}]}'), "a category is malformed: 'name' is missing, in {'id': 1}"),
        (lambda r: (r / "labels" / "3.png").unlink(), r"3\.png has no label of the same name"),
        (lambda r: (r / "images" / "3.png").unlink(), r"3\.png has no image of the same name"),
        (lambda r: Image.fromarray(np.full((8, 9), 305, np.uint16)).save(r / "labels" / "0.png"), "holds class 3, which"),
        (lambda r: Image.fromarray(np.ones((8, 8), np.uint16)).save(r / "labels" / "0.png"), "differ in size"),
    ],
)  # fmt: skip
def test_faults_of_a_folder_are_named(own, change, message):
    change(own)
    with pytest.raises(DataError, match=message):
        Folder(own)[0]


def test_nuclei_are_converted(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(4):
        folder = tmp_path / "stage1" / f"cell{i}"
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        grey = rng.integers(0, 60, (10, 12, 1), np.uint8).repeat(3, 2)
        if i == 3:
            grey[..., 0] = 220  # stained tissue
        Image.fromarray(grey).save(folder / "images" / f"cell{i}.png")
        for k in range(2):
            mask = np.zeros((10, 12), np.uint8)
            mask[2:6, 2 + 2 * k : 6 + 2 * k] = 255
            Image.fromarray(mask).save(folder / "masks" / f"{k}.png")
    arguments = [str(tmp_path / "stage1"), f"--out={tmp_path / 'out'}", "--test=0.3"]
    prepare_nuclei.main(arguments)
    train, test = CocoPanoptic(tmp_path / "out", "train"), CocoPanoptic(tmp_path / "out", "val")
    assert (len(train), len(test)) == (2, 1)
    sample = train[0]
    areas = [int((sample.ids == s.id).sum()) for s in sample.segments]
    assert [train.categories[s.category].name for s in sample.segments] == ["background", "nucleus", "nucleus"]
    assert areas == [96, 16, 8]  # the first mask keeps the pixels that both claim
    (label,) = (tmp_path / "out" / "annotations" / "panoptic_val").iterdir()
    before = label.stat().st_mtime_ns
    prepare_nuclei.main([*arguments, "--modality=fluorescence"])
    assert label.stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        prepare_nuclei.main([str(tmp_path / "none")])
    assert "does not exist" in capsys.readouterr().err


def test_public_samples(data_root):
    data = Cityscapes(data_root / "cityscapes_sample", "dummy")
    names = [data.categories[s.category].name for s in data[0].segments]
    assert names.count("car") == 6
    assert sum(s.iscrowd for s in data[0].segments) == 1
    sample = CocoPanoptic(data_root / "coco_sample", "val")[0]
    assert sample.image_id in (142238, 439180)


def test_the_categories_are_the_official_ones():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    official = [(x.id, x.name, x.hasInstances, x.color) for x in labels if not x.ignoreInEval and x.id >= 0]
    assert [(c.id, c.name, c.isthing, c.color) for c in CATEGORIES] == official
