"""The folder of predictions: lists, PNGs, pictures with legends, dumps, each against its definition."""

import csv
import json
import os
import signal
from pathlib import Path

import cops.data.pictures
import cops.data.writer
import evaluate
import numpy as np
import pytest
from cops.data.coco import CocoPanoptic
from cops.data.pictures import VIEWS, class_colors, view, with_legend
from cops.data.samples import Category, DataError, Sample
from cops.data.writer import PanopticWriter, segments_info
from cops.scores.average_precision import mask_tools, run_lengths
from PIL import Image
from prediction_files import listed, picture, pngs, prediction

NUCLEI = Path(evaluate.__file__).parent / "checkpoints" / "nuclei_full_svm.pt"
CATEGORIES = (Category(7, "floor, wet", False, (10, 20, 30)), Category(9, "screw", True, (200, 100, 50)))


@pytest.fixture
def two():
    """A floor with two screws, and void in a corner."""
    ids = np.ones((20, 30), np.int64)
    ids[3:9, 4:12], ids[12:18, 15:25], ids[:2, :2] = 2, 3, 0
    return prediction(ids, [(1, 0), (2, 1), (3, 1)])


def test_two_calls_at_the_same_time_list_the_images_of_both(tmp_path, two):
    first, second = (PanopticWriter(tmp_path / "p", CATEGORIES) for _ in range(2))
    first.add("a", two, source=tmp_path / "a.png")
    second.add("b", two, source=tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a_panoptic\.png belongs to another image"):
        second.add("a", two, source=tmp_path / "x" / "a.png")
    first.close()
    second.close()
    assert set(listed(tmp_path / "p")) == {"a", "b"}


def test_lists_are_written_at_most_every_few_seconds(tmp_path, two, monkeypatch):
    """Of 300 images in less time than that between two writes: after the first one, and at the end."""
    monkeypatch.setattr(cops.data.writer, "SECONDS", 1000.0)
    writer, written = PanopticWriter(tmp_path, CATEGORIES), []
    real = writer._write_lists
    monkeypatch.setattr(writer, "_write_lists", lambda: (written.append(len(writer.entries)), real()))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for i in range(300):
        writer.add(f"{i}", two)
    writer.close()
    assert written == [1, 300]
    assert len(listed(tmp_path)) == 300


def test_a_kill_between_the_two_lists_leaves_nothing_that_the_json_alone_lists(tmp_path, two, monkeypatch):
    monkeypatch.setattr(cops.data.writer, "SECONDS", 0.0)
    monkeypatch.setattr(cops.data.writer, "SHARE", 1e9)
    writer = PanopticWriter(tmp_path, CATEGORIES)
    writer.add("a", two)
    real, lists = cops.data.writer.write_file, []

    def killed(path, content):
        if path.suffix in (".json", ".csv"):
            lists.append(path)
            if len(lists) == 2:
                raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(cops.data.writer, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.add("b", two)
    assert set(listed(tmp_path)) == {"a"}
    assert set(PanopticWriter(tmp_path, CATEGORIES).entries) == {"a", "b"}


def test_lists_say_class_area_box_and_score(tmp_path, two):
    writer = PanopticWriter(tmp_path, CATEGORIES)
    writer.add("a", two)
    writer.close()
    with open(tmp_path / "segments.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["image", "id", "class", "isthing", "area", "left", "top", "width", "height", "score"],
        ["a", "1", "floor, wet", "0", "488", "0", "0", "30", "20", "0.5"],
        ["a", "2", "screw", "1", "48", "4", "3", "8", "6", "1.0"],
        ["a", "3", "screw", "1", "60", "15", "12", "10", "6", "1.5"],
    ]
    with Image.open(tmp_path / "a_panoptic.png") as file:
        assert file.mode == "RGB"


def test_segments_are_described_as_in_a_loop_over_masks():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (30, 40)) * rng.integers(0, 2, (30, 40))
    found = segments_info(ids, [(i, 7, 0.0) for i in range(1, 12)])
    assert [s["id"] for s in found] == list(range(1, 9))  # the others have no pixels
    codes = run_lengths(ids)
    assert set(codes) == set(range(1, 9))
    for s in found:
        mask = ids == s["id"]
        code = mask_tools().encode(np.asfortranarray(mask.astype(np.uint8)))
        assert codes[s["id"]] == code
        assert s["area"] == mask.sum()
        assert s["bbox"] == mask_tools().toBbox(code).tolist()
    for row in (np.zeros((1, 1)), np.ones((1, 1)), np.arange(6)[None], np.arange(6)[:, None]):
        for number, code in run_lengths(row.astype(np.int64)).items():
            assert code == mask_tools().encode(np.asfortranarray((row == number).astype(np.uint8)))


def test_thousands_of_segments_are_written(tmp_path):
    ids = np.zeros((2000, 2000), np.int64)
    ids.reshape(50, 40, 100, 20)[:, 4:, :, 4:] = np.arange(1, 5001).reshape(50, 1, 100, 1)
    found = prediction(ids, [(i, 1) for i in range(1, 5001)])
    image = np.zeros((*ids.shape, 3), np.uint8)
    pictures = {name: view(name, image, found, CATEGORIES) for name in VIEWS}
    writer = PanopticWriter(tmp_path, CATEGORIES)
    writer.add("a", found, pictures=pictures)
    writer.close()
    codes = run_lengths(ids)
    assert len(codes) == len(found.segments)
    assert (tmp_path / "segments.csv").read_text().count("\n") == 5001


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (300, 400)])
@pytest.mark.parametrize("name", VIEWS)
def test_a_legend_stands_in_a_corner_or_below_the_picture(name, size, two, monkeypatch):
    scaled = np.asarray(Image.fromarray(two.ids.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))
    found = prediction(scaled, [(s.id, s.category) for s in two.segments if (scaled == s.id).any()])
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    drawn = {}
    monkeypatch.setattr(
        cops.data.pictures, "with_legend", lambda p, e: drawn.update(picture=p, entries=e) or with_legend(p, e)
    )
    result = np.asarray(view(name, image, found, CATEGORIES))
    assert drawn["picture"].size == size[::-1]
    same = (result[: size[0], : size[1]] == np.asarray(drawn["picture"])).all(-1)
    if size == (300, 400):  # there is room for it
        assert result.shape == (*size, 3)
        rows, columns = np.nonzero(~same)
        assert rows.min() > 150
        assert columns.max() < 200
        legend = result[rows.min() :, : columns.max() + 1]
    else:
        assert same.all()
        legend = result[size[0] :]
        assert legend.shape[0] >= 20
        assert legend.shape[1] >= 160
    assert (legend < 100).all(-1).any()  # text
    texts = [text for _, text in drawn["entries"]]
    if size != (1, 1):
        assert texts == {"overlay": ["floor, wet", "screw: 2", "void"], "outlines": ["floor, wet", "screw: 2"],
                         "instances": ["screw: 2"]}[name]  # fmt: skip
        unchanged = (np.asarray(drawn["picture"]) == image).all(-1)
        assert unchanged.any() == (name != "overlay")
        assert not unchanged.all()


def test_long_legends_wrap_and_many_classes_are_all_there():
    plain = Image.new("RGB", (200, 100))
    one, many = (with_legend(plain, [([(255, 0, 0)], f"class {i}: 3") for i in range(n)]) for n in (1, 133))
    assert many.width < 250
    assert many.height > one.height + 500
    assert (np.asarray(many) == (255, 0, 0)).all(-1).sum() == 133 * (np.asarray(one) == (255, 0, 0)).all(-1).sum()


def test_the_coloured_png_has_the_colours_of_the_classes(two):
    colors = class_colors(two.ids, two.segments, CATEGORIES)
    for number, color in enumerate([(0, 0, 0), (10, 20, 30), (200, 100, 50), (200, 100, 50)]):
        assert (colors[two.ids == number] == color).all()


@pytest.fixture
def subfolders(tmp_path):
    """A COCO split of two images of one name in two folders, and a third in none."""
    root = tmp_path / "data"
    labels = root / "annotations" / "panoptic_val"
    categories = [{"id": 1, "name": "nucleus", "isthing": 1}, {"id": 2, "name": "background", "isthing": 0}]
    content = {"images": [], "annotations": [], "categories": categories}
    for i, name in enumerate(("a/0.png", "b/0.png", "0.jpg")):
        picture(root / "val" / name, i)
        path = labels / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), (1, 0, 0), np.uint8)).save(path)
        content["images"].append({"id": 10 + i, "file_name": name, "height": 16, "width": 16})
        info = [{"id": 1, "category_id": 2, "iscrowd": 0}]
        content["annotations"].append({"image_id": 10 + i, "file_name": f"{i}.png", "segments_info": info})
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return root


def scored(root, dump):
    try:
        evaluate.main([str(NUCLEI), f"--root={root}", f"--dump={dump}"])
    except SystemExit as end:
        return end.code
    return 0


def test_a_dump_keeps_images_of_one_name_apart_and_our_reader_reads_it(subfolders, tmp_path, capsys):
    dump = tmp_path / "again" / "annotations" / "panoptic_val"
    assert scored(subfolders, dump) == 0
    assert "and 3 PNGs beside it" in capsys.readouterr().out
    names = {p.relative_to(dump).as_posix() for p in dump.rglob("*.png")}
    assert names == {"a/0_panoptic.png", "b/0_panoptic.png", "0_panoptic.png"}
    (dump / "panoptic.json").rename(dump.with_suffix(".json"))
    (subfolders / "val").rename(tmp_path / "again" / "val")
    data = CocoPanoptic(tmp_path / "again", "val")
    assert [data[i].file_name for i in range(3)] == ["a/0.png", "b/0.png", "0.jpg"]
    assert [data[i].image_id for i in range(3)] == [10, 11, 12]


def test_a_dump_is_not_destroyed_by_a_later_call(subfolders, tmp_path, capsys):
    dump = tmp_path / "dump"
    bad = subfolders / "val" / "a" / "0.png"
    good = bad.read_bytes()
    bad.write_bytes(b"none")
    assert scored(subfolders, dump) == 2
    assert not dump.exists()
    assert "wrote" not in capsys.readouterr().out
    bad.write_bytes(good)
    assert scored(subfolders, dump) == 0
    before = {p.name: p.read_bytes() for p in dump.rglob("*") if p.is_file()}
    assert scored(subfolders, dump) == 2
    assert "holds a dump of 3 images: choose another --dump" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in dump.rglob("*") if p.is_file()} == before


def test_names_in_a_dump_stay_inside_and_apart(tmp_path, two):
    writer = PanopticWriter(tmp_path / "dump", CATEGORIES)
    for file_name in ("../up/0.png", "/up/0.jpg", "up/0.jpg", "up/0.jpg"):
        sample = Sample("0", np.zeros((20, 30, 3), np.uint8), two.ids, two.segments, None, file_name)
        writer.add(evaluate._name(writer, sample), two, file_name=file_name)
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    assert names == {f"dump/up/0{k}_panoptic.png" for k in ("", "_jpg", "_2", "_3")}
    with pytest.raises(DataError, match="belongs to another image"):
        writer.add("up/0", two)


def test_a_signal_ends_a_dump_with_all_that_is_finished_listed(subfolders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cops.data.writer, "SECONDS", 1000.0)
    real = evaluate.predictions

    def two_then_a_signal(*arguments):
        for number, pair in enumerate(real(*arguments)):
            if number == 2:
                signal.raise_signal(signal.SIGTERM)
            yield pair

    monkeypatch.setattr(evaluate, "predictions", two_then_a_signal)
    assert scored(subfolders, tmp_path / "dump") == 143
    assert set(listed(tmp_path / "dump")) == {"a/0", "b/0"} == pngs(tmp_path / "dump")
    captured = capsys.readouterr()
    assert "2 PNGs beside it" in captured.out
    assert "evaluate.py: stopped by SIGTERM" in captured.err
