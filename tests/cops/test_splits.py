"""Which images are held out, test splits that stand alone, and the first test on a single image."""

import json
from dataclasses import replace

import evaluate
import numpy as np
import pytest
import torch
import train
from cops.config import Config, Dataset, config_from_dict
from cops.data.checks import check
from cops.data.coco import CocoPanoptic
from cops.data.held_out import hold_out, in_order_of_names
from cops.data.output_files import id_png
from cops.data.samples import DataError, ImageKey, Sample, random_crop
from cops.data.scenes import Scenes
from cops.data.splits import NOTHING_LABELLED, load_split, load_splits
from cops.files import read_scores, save_atomically
from cops.model.checkpoints import make_segmenter
from cops.study import overfit
from cops.study.overfit import overfitting
from cops.study.run import Run, RunLog
from PIL import Image

ARGUMENTS = ["--data=folder", "--dataset.size=16", "--model.distances=[1,2]", "--threads=1", "--pictures=1"]
CLASSES = [{"id": 7, "name": "road", "isthing": 0}, {"id": 26, "name": "car", "isthing": 1}]


def write_coco(root, split, names):
    """One split whose images are written in the given order; each holds a road and a car."""
    labels = root / "annotations" / f"panoptic_{split}"
    labels.mkdir(parents=True)
    (root / split).mkdir()
    content = {"images": [], "annotations": [], "categories": CLASSES}
    for i, name in enumerate(names):
        ids = np.ones((16, 16), np.int64)
        ids[4:12, 4:12] = 2
        Image.fromarray((60 * ids).astype(np.uint8)).save(root / split / f"{name}.png")
        (labels / f"{name}.png").write_bytes(id_png(ids, {}, [], []))
        content["images"].append({"id": i, "file_name": f"{name}.png"})
        info = [{"id": 1, "category_id": 7, "iscrowd": 0}, {"id": 2, "category_id": 26, "iscrowd": 0}]
        content["annotations"].append({"image_id": i, "file_name": f"{name}.png", "segments_info": info})
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))


def write_folder(root, names, split="."):
    """Your own data."""
    (root / "classes.json").write_text(json.dumps({"classes": [{**c, "isthing": bool(c["isthing"])} for c in CLASSES]}))
    for part in ("images", "labels"):
        (root / split / part).mkdir(parents=True)
    for name in names:
        values = np.full((16, 16), 7, np.uint16)
        values[4:12, 4:12] = 26001
        Image.fromarray((values // 200).astype(np.uint8)).save(root / split / "images" / f"{name}.png")
        Image.fromarray(values).save(root / split / "labels" / f"{name}.png")


def write_cityscapes(root, split, names):
    for kind in ("leftImg8bit", "gtFine"):
        (root / kind / split / "ulm").mkdir(parents=True)
    for name in names:
        values = np.full((16, 16), 7, np.uint16)
        values[4:12, 4:12] = 26000
        Image.fromarray((values // 200).astype(np.uint8)).convert("RGB").save(
            root / "leftImg8bit" / split / "ulm" / f"{name}_leftImg8bit.png"
        )
        Image.fromarray(values).save(root / "gtFine" / split / "ulm" / f"{name}_gtFine_instanceIds.png")


SLICES = [f"slice_{i}" for i in (3, 10, 1, 2, 11, 9, 4, 5, 8, 7, 6, 12)]


def numbers(dataset):
    return [int(key.file_name.removesuffix(".png").split("_")[1]) for key in dataset.image_keys()]


def config(data, root, **more):
    return Config(data=data, root=str(root), dataset=Dataset(**more)).resolved()


def test_last_images_are_held_out_with_a_gap_in_the_order_of_numbers_in_names(tmp_path):
    write_coco(tmp_path, "train", SLICES)
    write_coco(tmp_path, "val", ["slice_90"])
    splits = load_splits(config("coco", tmp_path, held_out="last", gap=2, validation=3))
    assert [numbers(s) for s in splits] == [[1, 2, 3, 4, 5, 6, 7], [10, 11, 12], [90]]
    assert [splits.validation[i].name for i in range(3)] == ["slice_10", "slice_11", "slice_12"]
    assert numbers(load_split(config("coco", tmp_path, held_out="last"), "validation")) == [11, 12]  # a fifth
    changed = config("coco", tmp_path, held_out="last", gap=9, validation=3)
    with pytest.raises(
        DataError, match="has 12 training images: the validation split needs 3 beside a gap of 9, and none"
    ):
        load_splits(changed)


def test_folder_without_splits_holds_out_the_last_images_for_testing_too(tmp_path):
    write_folder(tmp_path, SLICES)
    splits = load_splits(config("folder", tmp_path, held_out="last", gap=1))
    assert [sorted(numbers(s)) for s in splits] == [[1, 2, 3, 4, 5, 6, 7], [9], [11, 12]]  # the gaps are 8 and 10
    with pytest.raises(DataError, match="no image in the split 'train' beside a gap of 10"):
        load_splits(config("folder", tmp_path, held_out="last", gap=10))


def test_random_images_are_held_out_by_default_as_ever(tmp_path):
    write_coco(tmp_path, "train", SLICES)
    write_coco(tmp_path, "val", ["slice_90"])
    order = np.random.default_rng(0).permutation(12).tolist()
    data = CocoPanoptic(tmp_path, "train")
    splits = load_splits(config("coco", tmp_path, validation=3))
    for part, chosen in ((splits.validation, order[:3]), (splits.train, order[3:])):
        assert part.image_keys() == [data.image_keys()[i] for i in chosen]
        assert [part[i].name for i in range(len(part))] == [data[i].name for i in chosen]


def test_settings_of_splits_that_contradict_each_other_are_refused(tmp_path):
    write_coco(tmp_path, "train", SLICES)
    for data, more, message in (
        ("coco", {"gap": 2}, "dataset.gap=2 needs dataset.held_out=last"),
        ("coco", {"gap": -1, "held_out": "last"}, "dataset.gap must not be negative, got -1"),
        ("scenes", {"held_out": "last"}, "dataset.held_out=last is for images from files"),
    ):
        for load in (load_splits, lambda c: load_split(c, "validation")):
            with pytest.raises(ValueError, match=message):
                load(config(data, tmp_path, **more))


def test_names_are_ordered_as_numbers_and_folders():
    names = ["b/2.png", "b/10.png", "a.png", "a/9.png", "10.png", "9.png", "x9y2", "x9y10", ""]
    order = in_order_of_names([ImageKey(None, name) for name in names])
    assert [names[i] for i in order] == [
        "",
        "9.png",
        "10.png",
        "a.png",
        "a/9.png",
        "b/2.png",
        "b/10.png",
        "x9y2",
        "x9y10",
    ]
    assert hold_out([ImageKey(None, "1")] * 3, 3, "last", 5) == ([], [0, 1, 2])


@pytest.mark.parametrize("data", ["coco", "cityscapes", "folder"])
def test_evaluation_needs_the_test_split_alone(data, tmp_path, capsys):
    """By a checkpoint, and by the predictions that it dumps; no training image is on the disk."""
    root = tmp_path / "data"
    root.mkdir()
    if data == "folder":
        write_folder(root, ["a", "b"], "val")
    else:
        {"coco": write_coco, "cityscapes": write_cityscapes}[data](root, "val", ["a", "b"])
    settings = config(data, root)
    test = load_split(settings, "test")
    content = {"config": settings.to_dict(), "categories": [vars(c) for c in test.categories]}
    torch.manual_seed(0)
    save_atomically({**content, "model": make_segmenter(settings, test.categories).state_dict()}, tmp_path / "a.pt")
    expected = evaluate.main([str(tmp_path / "a.pt"), f"--dump={tmp_path / 'p'}"])
    assert sum(row["TP"] + row["FN"] for row in expected["classes"]) == 4
    found = evaluate.main([f"--predictions={tmp_path / 'p'}", f"--data={data}", f"--root={root}"])
    assert found == {name: value for name, value in expected.items() if name != "mIoU"}
    with pytest.raises(SystemExit):
        evaluate.main([str(tmp_path / "a.pt"), "--split=validation"])
    assert "train" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["scenes", "coco", "folder"])
def test_overfitting_takes_the_first_images_as_every_split(data, tmp_path):
    if data == "coco":
        write_coco(tmp_path, "train", SLICES)  # no test split is needed
    if data == "folder":
        write_folder(tmp_path, ["slice_1"])  # a single image is enough
    whole = replace(Config(data=data, root=str(tmp_path)), dataset=Dataset(brightness=0.5, shortest_edges=[8]))
    small = overfitting(whole.resolved(), 1)
    splits = load_splits(small)
    assert splits.train is splits.validation is splits.test
    expected = {
        "scenes": Scenes(1, 0).image_keys(),
        "coco": [ImageKey(2, "slice_1.png")],
        "folder": [ImageKey("slice_1", "slice_1.png")],
    }
    assert splits.train.image_keys() == expected[data]
    assert load_split(small, "test").image_keys() == expected[data]
    assert small.out == f"runs/{data}-overfit"
    assert config_from_dict(small.to_dict()) == small


def test_images_to_overfit_must_exist(tmp_path):
    write_coco(tmp_path, "train", SLICES)
    settings = config("coco", tmp_path)
    assert len(load_splits(overfitting(settings, 12)).test) == 12
    with pytest.raises(DataError, match="overfit=13 must be the number of some training images: there are 12"):
        load_splits(overfitting(settings, 13))
    with pytest.raises(ValueError, match=r"overfit must be at least 1 image, .* got 0 and 400"):
        overfitting(settings, 0)


def test_folder_with_a_single_image_says_that_it_is_the_test_image(tmp_path, capsys):
    write_folder(tmp_path, ["slice_1"])
    with pytest.raises(SystemExit) as end:
        train.main([*ARGUMENTS, f"--root={tmp_path}", f"--out={tmp_path / 'run'}"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'images'} holds a single image, which is the test image, so none is left for training" in error
    assert "pass --overfit 1" in error
    assert len(load_split(config("folder", tmp_path), "test")) == 1


@pytest.mark.parametrize("value", [0, 26])  # void, and a crowd of cars
@pytest.mark.parametrize("more", ["--max_steps=2", "--overfit=1"])
def test_training_without_a_labelled_pixel_is_refused(value, more, tmp_path, capsys):
    names = [f"slice_{i}" for i in range(10)]
    write_folder(tmp_path, names)
    for name in names:
        Image.fromarray(np.full((16, 16), value, np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    with pytest.raises(SystemExit) as end:
        train.main([*ARGUMENTS, f"--root={tmp_path}", f"--out={tmp_path / 'run'}", more])
    assert end.value.code == 2
    assert f"train.py: error: {tmp_path}: {NOTHING_LABELLED}" in capsys.readouterr().err
    assert not list(tmp_path.glob("run*"))
    report = check(config("folder", tmp_path))
    assert f"{tmp_path}: {NOTHING_LABELLED}" in report.errors


def test_nothing_is_flipped_while_overfitting(tmp_path):
    """Every crop of the only image is the image."""
    from cops.recipes import Objective
    from cops.study.training import Stage, parts_of_step

    settings = overfitting(
        replace(Config(), dataset=Dataset(size=64, brightness=0.9, shortest_edges=[32])).resolved(), 1
    )
    with RunLog(tmp_path, silent=True) as log:
        run = Run(settings, load_splits(settings), tmp_path, torch.device("cpu"), log)
        stage = Stage("single_mean", lambda *_: {}, 1, 4, pixels=Objective("mean", pixels=True).pixels)
        images = torch.cat([parts_of_step(run, stage, 2, number)[0][0] for number in range(3)])
    assert len(images) == 12
    assert (images == images[0]).all()
    sample = Sample("a", np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([[1, 2], [3, 4]]), ())
    flipped = [random_crop(sample, (2, 2), np.random.default_rng(i)).ids[0, 0] for i in range(20)]
    assert set(flipped) == {1, 2}


def test_overfit_run_ends_with_what_to_look_at(tmp_path, monkeypatch, capsys):
    """Thresholds above the size of the car, so that it can never be found; then a bar that every network passes."""
    write_folder(tmp_path, ["slice_1"])
    arguments = [*ARGUMENTS, f"--root={tmp_path}", f"--out={tmp_path / 'run'}", "--overfit=1", "--overfit_steps=8"]
    with pytest.raises(SystemExit) as end:
        train.main([*arguments, "--dataset.reject_things=100"])
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "1 training, 1 validation and 1 test images" in said
    last = said[said.index("overfit: ") :]
    assert "overfit: the network cannot reproduce the image: PQ " in last
    assert "'car': missed: 1 of 1 segments, 1 of them smaller than dataset.reject_things=100 pixels" in last
    assert "pictures: do image and ground truth show the same" in last
    assert "pass more --overfit_steps" in last
    out = tmp_path / "run-overfit"
    metrics = read_scores(out / "metrics.json")
    assert list(metrics) == ["single_mean"]
    assert (out / "pictures" / "slice_1.png").exists()
    scores = evaluate.main([str(out / "checkpoints" / "single_mean.pt")])
    assert {k: scores[k] for k in metrics["single_mean"]} == pytest.approx(metrics["single_mean"], nan_ok=True)
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 8
    capsys.readouterr()
    monkeypatch.setattr(overfit, "ENOUGH", 0.0)
    assert train.main([*arguments, "--dataset.reject_things=100"]) == metrics  # rerunning says it again
    assert "overfit: the network reproduces the image: PQ " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said", "needed"),
    [
        ({}, "has 2 images: the test split takes 1, the validation split needs 1, and", 3),
        ({"validation": 2}, "the validation split needs 2, and", 4),
        ({"validation": 5}, "the validation split needs 5, and", 7),
    ],
)
def test_error_says_how_many_images_there_are_and_how_many_are_needed(more, said, needed, tmp_path):
    write_folder(tmp_path, ["slice_1", "slice_2"])
    with pytest.raises(DataError) as raised:
        load_splits(config("folder", tmp_path, **more))
    assert said in str(raised.value)
    assert f"at least {needed} are needed" in str(raised.value)
    assert ("pass a smaller --dataset.validation" in str(raised.value)) == bool(more)
    assert "pass --overfit 1" in str(raised.value)
    for i in range(3, needed + 1):
        with pytest.raises(DataError):
            load_splits(config("folder", tmp_path, **more))
        for part in ("images", "labels"):
            (tmp_path / part / f"slice_{i}.png").write_bytes((tmp_path / part / "slice_1.png").read_bytes())
    assert [len(s) for s in load_splits(config("folder", tmp_path, **more))] == [1, more.get("validation", 1), 1]
