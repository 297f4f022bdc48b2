"""The check before training: every problem is reported, with counts, suggestions, a picture and an exit status."""

import json
import shutil

import check_data
import numpy as np
import pytest
from cops.config import Config, Dataset
from cops.data.checks import check, suggested
from cops.data.samples import Category, Sample, Segment
from cops.data.sheet import SIDE, TEXT, drawn, sheet
from cops.data.statistics import Statistics
from PIL import Image

CLASSES = [
    {"id": 1, "name": "floor", "isthing": False, "color": [10, 200, 10]},
    {"id": 2, "name": "screw", "isthing": True, "color": [250, 0, 0]},
]
SIZE = (160, 140)


def label(big=3, small=0):
    """A floor with screws of 10x20 pixels, and screws of 3x3 pixels."""
    values = np.ones(SIZE, np.uint16)
    for k in range(big):
        values[10:20, 5 + 30 * k : 25 + 30 * k] = 2001 + k
    for k in range(small):
        values[60:63, 5 + 10 * k : 8 + 10 * k] = 2101 + k
    return values


def add(root, split, name, values=None, image=None):
    values = label() if values is None else values
    if image is None:
        rng = np.random.default_rng(sum(map(ord, split + name)))
        image = rng.integers(0, 255, (*values.shape, 3), np.uint8)
    for part, content in (("images", image), ("labels", values)):
        (root / split / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(root / split / part / f"{name}.png")
    return image


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    for split, count in (("train", 6), ("val", 3)):
        for i in range(count):
            add(root, split, f"{split}{i}")
    (root / "classes.json").write_text(json.dumps({"divisor": 1000, "classes": CLASSES}))
    return root


def run(root, *arguments):
    """Exit status and report of the command."""
    out = root.parent / "report.json"
    try:
        check_data.main(["--data=folder", f"--root={root}", f"--json={out}", f"--picture={root.parent / 'sheet.png'}",
                         *arguments])  # fmt: skip
    except SystemExit as end:
        return end.code, json.loads(out.read_text()) if out.exists() else None
    return 0, json.loads(out.read_text())


def test_good_data_are_counted_and_drawn(root, capsys):
    status, report = run(root)
    assert (status, report["errors"], report["warnings"], report["suggestions"]) == (0, [], [], [])
    counts = {name: found["images"] for name, found in report["splits"].items()}
    assert counts == {"training": 5, "validation": 1, "test": 3}
    floor, screw = report["splits"]["training"]["classes"]
    assert (floor["images"], floor["segments"], screw["segments"]) == (5, 5, 15)
    assert screw["area"]["smallest"] == screw["area"]["50"] == screw["area"]["largest"] == 200
    assert screw["percent_of_pixels"] == pytest.approx(100 * 600 / (160 * 140))
    assert report["splits"]["training"]["things_in_an_image"]["50"] == 3
    out = capsys.readouterr().out
    assert "| screw | thing | 5 | 15 | 0 | 2.7 | 200 |" in out
    assert "errors: none" in out
    picture = np.asarray(Image.open(root.parent / "sheet.png"))
    assert (picture == (250, 0, 0)).all(-1).sum() > 100


def broken(root):
    """Each error, and a part of its message."""
    train = root / "train"
    (train / "labels" / "train0.png").unlink()
    yield "train0.png has no label of the same name"
    (root / "val" / "images" / "val0.png").unlink()
    yield "val0.png has no image of the same name"
    (train / "images" / "train1.png").write_bytes(b"none")
    yield "images/train1.png cannot be read as an image"
    (train / "labels" / "train1.png").write_bytes(b"none")
    yield "labels/train1.png cannot be read as an image"
    Image.fromarray(label()[:100]).save(train / "labels" / "train2.png")
    yield "labels/train2.png: label (100, 140) and image (160, 140) differ in size"
    values = label()
    values[:2], values[2:4] = 7, 9003
    Image.fromarray(values).save(train / "labels" / "train3.png")
    yield "labels/train3.png holds class 7, which classes.json lacks"
    yield "labels/train3.png holds class 9, which classes.json lacks"
    shutil.copy(train / "images" / "train4.png", root / "val" / "images" / "val1.png")
    yield "an image of the test split is also in another one: train4 (training), val1 (test)"


def test_all_errors_are_reported_at_once(root, capsys):
    expected = list(broken(root))
    status, report = run(root, "--dataset.validation=1")
    assert status == 1
    assert len(report["errors"]) == len(expected)
    for message in expected:
        assert any(message in error for error in report["errors"]), message
    captured = capsys.readouterr()
    assert all(message in captured.out for message in expected)
    assert f"check_data.py: {len(expected)} errors" in captured.err
    assert report["splits"]["training"]["unreadable"] + report["splits"]["validation"]["unreadable"] == 2


def test_one_unreadable_split_does_not_hide_the_other(root):
    shutil.rmtree(root / "val" / "labels")
    status, report = run(root)
    assert status == 1
    assert [e for e in report["errors"] if "val/labels is missing" in e]
    assert set(report["splits"]) == {"training", "validation"}


def test_nothing_to_check_is_status_2(root, tmp_path, capsys):
    (root / "classes.json").unlink()
    assert run(root)[0] == 2
    assert "classes.json is missing" in capsys.readouterr().err
    assert run(tmp_path / "gone")[0] == 2
    assert run(root, "--dataset.size=[1,2,3]")[0] == 2


def messages(root, **settings):
    return check(Config(data="folder", root=str(root), dataset=Dataset(validation=1, **settings)).resolved()).warnings


def test_classes_that_are_absent_somewhere_are_named(root):
    classes = [*CLASSES, *({"id": k, "name": n, "isthing": True} for k, n in ((3, "nut"), (4, "key"), (5, "pin")))]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    for split, value in (("train", 4001), ("val", 5001)):
        for i in range(6 if split == "train" else 3):
            values = label()
            values[100:120, 100:120] = value
            add(root, split, f"{split}{i}", values)
    assert messages(root) == [
        "class 'nut' never occurs",
        "class 'key' does not occur in the test split: it will not be scored",
        "class 'pin' occurs in test only: it cannot be learned",
    ]


def test_small_segments_void_images_and_doubles_are_warned_of(root):
    for i in range(6):
        add(root, "train", f"train{i}", label(3, 2))
    image = add(root, "train", "void", np.zeros(SIZE, np.uint16))
    add(root, "train", "copy", image=image)
    found = messages(root)
    small = "12 of 42 segments of 'screw' (28.6 %) are smaller than --dataset.reject_things 20"
    assert f"{small}: they count as missed" in found
    assert any(text.startswith("1 ") and "images are void everywhere: void" in text for text in found)
    assert any("images have the same pixels" in text and "copy" in text for text in found)
    assert not [text for text in messages(root, reject_things=9) if "reject_things" in text]


def test_images_smaller_than_the_crop_are_warned_of(root):
    add(root, "train", "tiny", label()[:50])
    (text,) = messages(root, size=[130, 130])
    assert text.startswith("1 of ")
    assert "smaller than the crop of 130x130" in text
    assert messages(root, size=50) == []


def suggestions(root, **settings):
    report = check(Config(data="folder", root=str(root), dataset=Dataset(validation=1, **settings)).resolved())
    return {s["setting"]: s["value"] for s in report.suggestions}


def test_settings_are_suggested_where_the_data_tell(root):
    assert suggestions(root) == {}
    assert suggestions(root, size=300) == {"dataset.size": 128}
    assert suggestions(root, reject_things=300) == {"dataset.reject_things": 200}
    assert suggestions(root, size=16) == {"dataset.size": 32}  # screws are 20 pixels long
    assert suggestions(root, reject_stuff=10**6) == {"dataset.reject_stuff": (label() == 1).sum()}
    for i in range(6):
        dark = np.random.default_rng(i).integers(10, 40, (*SIZE, 3), np.uint8)
        add(root, "train", f"train{i}", image=dark)
    assert suggestions(root) == {"dataset.normalize": "percentile"}
    assert suggestions(root, normalize="percentile") == {}


@pytest.mark.parametrize("isthing", [True, False])
def test_suggested_threshold_is_an_area_below_which_a_twentieth_lies_at_most(isthing):
    """Percentiles between two areas would exceed the present threshold, and the shares would be wrong."""
    for small in range(1, 60):
        areas = [*[10] * (small // 2), *range(30, 30 + small - small // 2), *[1000] * (100 - small)]
        found = Statistics("training", 1, areas={0: areas})
        category = Category(1, "a", isthing, (0, 0, 0))
        setting = "reject_things" if isthing else "reject_stuff"
        config = Config(dataset=Dataset(**{setting: 300})).resolved()
        suggestions = list(suggested({"training": found}, [category], config))
        if small <= 5:
            assert not suggestions
            continue
        (suggestion,) = suggestions
        value = suggestion["value"]
        assert value in areas
        assert value < 300
        assert sum(a < value for a in areas) <= 5
        assert all(sum(a < other for a in areas) > 5 for other in areas if other > value)
        what = "things" if isthing else "stuff segments"
        assert suggestion["reason"] == (f"{small:.1f} % of the {what} are smaller than 300, and can only be missed; "
                                        f"{sum(a < value for a in areas):.1f} % are smaller than {value}")  # fmt: skip


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--picture={}/a.xyz", "--picture {}/a.xyz must end in the suffix of an image, such as .png or .jpg"),
        ("--picture={}/a", "--picture {}/a must end in the suffix"),
        ("--picture={}", "--picture must name a file, but {} is a folder"),
        ("--json={}", "--json must name a file, but {} is a folder"),
        ("--json={}/file/a.json", "--json {}/file/a.json cannot be written: a part of its path is a file"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_anything_is_read(option, message, root, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(root, option.format(tmp_path))[0] == 2
    captured = capsys.readouterr()
    assert f"check_data.py: error: {message.format(tmp_path)}" in captured.err
    assert "reading" not in captured.err


def test_coco_problems_are_all_reported(tmp_path):
    for split in ("train", "val"):
        labels = tmp_path / "annotations" / f"panoptic_{split}"
        labels.mkdir(parents=True)
        (tmp_path / split).mkdir()
        content = {"images": [], "annotations": [], "categories": CLASSES}
        for i in range(4):
            ids = np.full((*SIZE, 3), 0, np.uint8)
            ids[..., 0] = 1 + (np.arange(SIZE[1]) > 50)
            Image.fromarray(ids).save(labels / f"{i}.png")
            image = np.random.default_rng(i + 10 * (split == "val")).integers(0, 255, (*SIZE, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / split / f"{i}.png")
            info = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}, {"id": 3, "category_id": 2}]
            content["images"].append({"id": i, "file_name": f"{i}.png"})
            content["annotations"].append({"image_id": i, "file_name": f"{i}.png", "segments_info": info})
        if split == "train":
            content["annotations"][0]["segments_info"][0]["category_id"] = 77
            content["annotations"][1]["segments_info"].pop(0)
            (labels / "2.png").unlink()
        (tmp_path / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    report = check(Config(data="coco", root=str(tmp_path), dataset=Dataset(validation=1)).resolved())
    for part in ("unknown category id 77", "2.png is missing", "ids that segments_info lacks, e.g. 1"):
        assert any(part in error for error in report.errors), report.errors
    assert len(report.errors) == 3
    assert any("listed segments have no pixel" in text for text in report.warnings)


def test_scenes_are_checked_as_well(tmp_path, capsys):
    picture = tmp_path / "s.png"
    check_data.main(["--dataset.train=4", "--dataset.validation=2", "--dataset.test=3", f"--picture={picture}"])
    out = capsys.readouterr().out
    assert "training: 4 images" in out
    assert "test: 3 images" in out
    assert picture.exists()


def test_sheet_marks_void_and_outlines_at_any_size():
    categories = (Category(1, "floor", False, (0, 255, 0)), Category(2, "screw", True, (255, 0, 0)))
    for size in ((40, 60), (900, 600)):
        ids = np.ones(size, np.int64)
        ids[: size[0] // 2, : size[1] // 2] = 2
        ids[-size[0] // 4 :] = 0
        sample = Sample("a" * 80, np.full((*size, 3), 200, np.uint8), ids, (Segment(1, 0), Segment(2, 1)))
        picture = np.asarray(drawn(sample, categories))
        assert max(picture.shape) == SIDE
        assert (picture[-5:, 20:-20] == 70).all()
        assert (picture == (255, 0, 0)).all(-1).sum() > 100
        whole = sheet([("test", sample)] * 5, categories)
        assert whole.width > 4 * SIDE
        assert whole.height > 2 * (SIDE + TEXT) + 12
