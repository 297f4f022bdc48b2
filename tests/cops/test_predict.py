"""Prediction on files: what is finished stays and is listed, whatever comes in between; names, pictures, lists."""

import csv
import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cops.export
import evaluate
import numpy as np
import predict
import pytest
import torch
from cops.coco import CocoPanoptic
from cops.data import Category, Sample, Segment
from cops.evaluation import mask_tools, run_lengths
from cops.export import PanopticWriter, segments_info
from cops.names import output_names
from cops.pictures import VIEWS, class_colors, view, with_legend
from cops.pngs import ids_of
from cops.segmenter import Prediction
from cops.stopping import Stopped, StopSignals
from PIL import Image

CHECKPOINTS = Path(predict.__file__).parent / "checkpoints"
NUCLEI, SCENES = CHECKPOINTS / "nuclei_full_svm.pt", CHECKPOINTS / "scenes_single_svm.pt"
CATEGORIES = (Category(7, "floor, wet", False, (10, 20, 30)), Category(9, "screw", True, (200, 100, 50)))


def picture(path, seed=0, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return path


def run(*files, out, checkpoint=NUCLEI, **options):
    """Exit status of predict.py."""
    try:
        predict.main([*map(str, files), f"--checkpoint={checkpoint}", f"--out={out}",
                      *(f"--{k}={v}" for k, v in options.items())])  # fmt: skip
    except SystemExit as end:
        return end.code
    return 0


def listed(out):
    """Annotations of panoptic.json by PNG, checked against the other list and the PNGs."""
    content = json.loads((out / "panoptic.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    assert len(images) == len(content["images"]) == len(content["annotations"])
    with open(out / "segments.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for annotation in content["annotations"]:
        ids = ids_of(out / annotation["file_name"])
        image = images[annotation["image_id"]]
        assert ids.shape == (image["height"], image["width"])
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
        name = annotation["file_name"].removesuffix("_panoptic.png")
        found = [(int(row["id"]), int(row["area"])) for row in rows if row["image"] == name]
        assert found == [(s["id"], s["area"]) for s in annotation["segments_info"]]
    return {a["file_name"].removesuffix("_panoptic.png"): images[a["image_id"]] for a in content["annotations"]}


def pngs(out):
    return {p.name.removesuffix("_panoptic.png") for p in out.rglob("*_panoptic.png")}


def prediction(ids, segments):
    ids = np.asarray(ids, np.int64)
    none = np.zeros(0)
    return Prediction(
        ids, tuple(Segment(*s) for s in segments), tuple(0.5 * s[0] for s in segments), ids, none, none, none
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Images of a few pixels gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two():
    """A floor with two screws, and void in a corner."""
    ids = np.ones((20, 30), np.int64)
    ids[3:9, 4:12], ids[12:18, 15:25], ids[:2, :2] = 2, 3, 0
    return prediction(ids, [(1, 0), (2, 1), (3, 1)])


def test_predictions_of_earlier_calls_stay_listed(tmp_path, capsys):
    out = tmp_path / "p"
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 1)
    assert run(a, out=out) == run(b, out=out) == 0
    assert set(listed(out)) == {"a", "b"}
    assert "list 2 images" in capsys.readouterr().out
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(tmp_path / "c.png", out=out) == 2
    assert "c.png is missing" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert run(tmp_path / "c.png", out=tmp_path / "q") == 2
    assert not (tmp_path / "q").exists()


def test_a_new_prediction_replaces_the_earlier_one_of_the_same_file(tmp_path):
    out = tmp_path / "p"
    a, _ = picture(tmp_path / "a.png"), run(picture(tmp_path / "b.png"), out=out)
    assert run(a, out=out, view="outlines") == run(a, out=out) == 0
    assert {p.name for p in out.glob("a_*")} == {f"a_{k}.png" for k in ("outlines", "overlay", "classes", "panoptic")}
    picture(a, 1, (17, 9))
    assert run(a, out=out, view="instances") == 0
    assert {p.name for p in out.glob("a_*")} == {f"a_{k}.png" for k in ("instances", "classes", "panoptic")}
    assert [(i["id"], i["height"]) for i in listed(out).values()] == [(0, 16), (1, 17)]


def test_images_of_one_name_get_names_of_their_folders(tmp_path):
    a, b, c = (picture(tmp_path / k / "0.png", seed) for seed, k in enumerate("abc"))
    assert run(a, b, a, out=tmp_path / "p") == run(b, a, out=tmp_path / "q") == 0
    assert pngs(tmp_path / "p") == pngs(tmp_path / "q") == {"a_0", "b_0"}
    assert [i["file_name"] for i in listed(tmp_path / "p").values()] == ["a/0.png", "b/0.png"]
    for file in (a, b, c, b):
        assert run(file, out=tmp_path / "r") == 0
    assert {n: i["source"] for n, i in listed(tmp_path / "r").items()} == {
        "0": "../a/0.png", "b_0": "../b/0.png", "c_0": "../c/0.png"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.png", "./a.png", "x/../a.png"], ["a"]),
        (["x/a.png", "y/a.png", "z/b.png"], ["x_a", "y_a", "b"]),
        (["x/a.png", "x/a.jpg"], ["a_png", "a_jpg"]),
        (["x/a.png", "x/a.jpg", "y/A.png"], ["a_png", "a_jpg", "y_A"]),
        (["x/a/0.png", "x/a_0.png", "b/0.png"], ["0_png", "x_a_0", "b_0"]),
        (["clip.gif", "clip_00000.png", "clip_1.png"], ["clip_gif", "clip_00000_png", "clip_1"]),
        (["one/x/y.png", "two/x/y.png"], ["one_x_y", "two_x_y"]),
        (["q/a/b/0.png", "q/a_b/0.png"], ["b_0", "a_b_0"]),
        (["a_b/0.png", "a/b_0.png", "a/b/0.png"], None),
    ],
)
def test_names_are_distinct_and_do_not_depend_on_the_order(files, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = output_names([Path(f) for f in files], {})
    for order in itertools.permutations(files):
        assert output_names([Path(f) for f in order], {}) == found
    shown = [name.name for name in found.values()]
    assert len({name.casefold() for name in shown}) == len(shown)
    if names is not None:
        assert shown == names


def test_names_avoid_files_and_earlier_images(tmp_path):
    new, old = tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"
    assert output_names([new, old], {old: "a"})[new].name == "x_a"
    assert output_names([new, old], {old: "a"})[old].name == "a"
    blocked = {"a", "x_a", "a_png"}
    assert output_names([new], {}, blocked.__contains__)[new].name == "x_a_png"
    everything = output_names([new], {}, lambda name: not re.fullmatch(r"a_[0-9a-f]{12}", name))
    assert re.fullmatch(r"a_[0-9a-f]{12}", everything[new].name)


def test_files_of_others_are_not_overwritten(tmp_path, capsys):
    out = tmp_path / "p"
    a = picture(tmp_path / "a.png")
    mine = picture(out / "a_overlay.png", 5), picture(out / "x_panoptic.png", 6)
    before = [p.read_bytes() for p in mine]
    assert run(a, picture(tmp_path / "x.png"), out=out) == 0
    assert [p.read_bytes() for p in mine] == before
    assert set(listed(out)) == {f"{tmp_path.name}_a", f"{tmp_path.name}_x"}
    for name, content in (
        ("panoptic.json", "{"), ("panoptic.json", '{"images": [], "annotations": []}'), ("segments.csv", "a,b\n"),
        ("panoptic.json", json.dumps({"images": [{"id": 1}], "annotations": [{"image_id": 1, "file_name": "1.png",
         "segments_info": []}], "categories": json.loads((out / "panoptic.json").read_text())["categories"]})),
    ):  # fmt: skip
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / name).write_text(content)
        assert run(a, out=other) == 2
        assert f"{name} " in (error := capsys.readouterr().err)
        assert "choose another folder" in error
        assert [(p.name, p.read_text()) for p in other.iterdir()] == [(name, content)]
        (other / name).unlink()


def test_results_can_stand_beside_the_images(tmp_path):
    picture(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for _ in range(2):
        assert run(tmp_path, out=tmp_path) == 0
        assert set(listed(tmp_path)) == {"a"}
    assert (tmp_path / "a.png").read_bytes() == before
    picture(tmp_path / "a_overlay.png")
    assert run(tmp_path, out=tmp_path / "p") == 0
    assert pngs(tmp_path / "p") == {"a", "a_overlay", "a_classes", "a_panoptic"}


def test_predictions_of_a_model_with_other_classes_are_refused(tmp_path, capsys):
    out = tmp_path / "p"
    assert run(picture(tmp_path / "a.png"), out=out) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(picture(tmp_path / "b.png"), out=out, checkpoint=SCENES) == 2
    error = capsys.readouterr().err
    assert re.search(r"panoptic\.json is from a model with other classes .*nucleus.*stripes.*choose another", error)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_a_model_of_drawn_scenes_says_so(tmp_path, capsys):
    assert run(picture(tmp_path / "a.png"), out=tmp_path / "p", checkpoint=SCENES) == 0
    assert re.search(r"stripes, dots.* on drawn scenes .*nuclei_full_svm\.pt", capsys.readouterr().err)
    assert run(tmp_path / "a.png", out=tmp_path / "q") == 0
    assert "drawn" not in capsys.readouterr().err


def test_a_folder_goes_on_past_bad_files(tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "p"
    for name in ("0.png", "1.png", "2.png"):
        picture(folder / name)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:80])
    (folder / "9.heic").write_bytes(b"heic")
    (folder / "._1.png").write_bytes(b"mac")
    assert run(folder, tmp_path / "none.png", out=out) == 1
    captured = capsys.readouterr()
    assert set(listed(out)) == pngs(out) == {"1", "2"}
    assert "of 2 images" in captured.out
    assert re.search(
        r"skipped 3 of the files:\n  .*9\.heic is .*\n  .*0\.png .*truncated.*\n  .*none\.png is missing", captured.err
    )


def test_no_image_is_an_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "broken" / "0.png").write_bytes(b"none")
    for folder in ("empty", "broken"):
        assert run(tmp_path / folder, out=tmp_path / "p") == 2
        captured = capsys.readouterr()
        assert folder in captured.err
        assert "wrote" not in captured.out
        assert not (tmp_path / "p").exists()


def frames_then(action, count=2):
    """Stands for `frames_of`: so many frames, and then something happens."""

    def frames_of(path):
        for number in range(count):
            yield f"{path.stem}_{number:05d}", np.full((8, 8, 3), 40 * number, np.uint8)
        action(path)

    return frames_of


def test_frames_before_a_bad_one_stay(tmp_path, monkeypatch, capsys):
    def bad(path):
        raise predict.DataError(f"{path} cannot be read as a video: cut")

    monkeypatch.setattr(predict, "frames_of", frames_then(bad))
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 1
    assert "clip.mp4 cannot be read as a video: cut; 2 frames before" in capsys.readouterr().err
    images = listed(tmp_path / "p")
    assert {n: (i["file_name"], i["source"], i["frame"]) for n, i in images.items()} == {
        f"clip_0000{k}": (f"clip_0000{k}.png", "../clip.mp4", k) for k in range(2)
    }
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: None, 3))
    picture(tmp_path / "clip_00003.png")
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 0
    assert len(listed(tmp_path / "p")) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_prediction_with_all_that_is_finished_listed(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cops.export, "SECONDS", 1000.0)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: os.kill(os.getpid(), number), 3))
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 128 + number
    assert len(listed(tmp_path / "p")) == len(pngs(tmp_path / "p")) == 3
    captured = capsys.readouterr()
    assert "of 3 images" in captured.out
    assert "stopped by" in captured.err
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_stop_waits_for_what_must_not_be_interrupted():
    done = []

    def written():
        with StopSignals() as stop, stop.uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("written")

    def compiled():
        with StopSignals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt as stop:
                raise SystemError("compiled code was interrupted") from stop

    for interrupted in (written, compiled):
        with pytest.raises(Stopped, match="SIGTERM"):
            interrupted()
    assert done == ["written"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_results_of_use(number, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "p"
    for i in range(400):
        picture(folder / f"{i}.png", i)
    command = [sys.executable, predict.__file__, str(folder), f"--checkpoint={NUCLEI}", f"--out={out}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    limit = time.monotonic() + 240
    while len(pngs(out)) < 8:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode == 143, said
        assert "stopped by SIGTERM" in said[1]
        assert "Traceback" not in said[1]
        assert set(listed(out)) == pngs(out)
    else:
        assert set(listed(out)) <= pngs(out)
        assert run(picture(tmp_path / "a.png"), out=out) == 0
        assert set(listed(out)) == pngs(out)


def test_a_full_disk_is_named_and_what_is_finished_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cops.export, "SECONDS", 1000.0)
    out = tmp_path / "p"
    files = [picture(tmp_path / f"{k}.png", k) for k in range(4)]
    real, calls = os.fsync, []

    def full(file):
        calls.append(file)
        if len(calls) > 5 + 3 + 1:  # three PNGs and two lists, three PNGs, and an overlay
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", full)
    assert run(*files, out=out) == 2
    captured = capsys.readouterr()
    assert re.search(r"the disk is full: .*panoptic\.json", captured.err)
    assert "of 2 images" in captured.out
    assert "panoptic.json lacks the last of them" in captured.out
    assert pngs(out) == {"0", "1"}
    assert set(listed(out)) == {"0"}
    assert not list(out.glob("*.partial"))
    monkeypatch.setattr(os, "fsync", real)
    assert run(files[3], out=out) == 0
    assert set(listed(out)) == pngs(out) == {"0", "1", "3"}


def test_two_calls_at_the_same_time_list_the_images_of_both(tmp_path, two):
    first, second = (PanopticWriter(tmp_path / "p", CATEGORIES) for _ in range(2))
    first.add("a", two, source=tmp_path / "a.png")
    second.add("b", two, source=tmp_path / "b.png")
    with pytest.raises(predict.DataError, match=r"a_panoptic\.png belongs to another image"):
        second.add("a", two, source=tmp_path / "x" / "a.png")
    first.close()
    second.close()
    assert set(listed(tmp_path / "p")) == {"a", "b"}


def test_lists_are_written_rarely(tmp_path, two, monkeypatch):
    """Of 300 images in less time than that between two writes: after the first one, and at the end."""
    monkeypatch.setattr(cops.export, "SECONDS", 1000.0)
    writer, written = PanopticWriter(tmp_path, CATEGORIES), []
    real = writer._write_lists
    monkeypatch.setattr(writer, "_write_lists", lambda: (written.append(len(writer.entries)), real()))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for i in range(300):
        writer.add(f"{i}", two)
    writer.close()
    assert written == [1, 300]
    assert len(listed(tmp_path)) == 300


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


def test_thousands_of_segments_take_one_pass(tmp_path):
    ids = np.zeros((2000, 2000), np.int64)
    ids.reshape(50, 40, 100, 20)[:, 4:, :, 4:] = np.arange(1, 5001).reshape(50, 1, 100, 1)
    found = prediction(ids, [(i, 1) for i in range(1, 5001)])
    image = np.zeros((*ids.shape, 3), np.uint8)
    began = time.monotonic()
    pictures = {name: view(name, image, found, CATEGORIES) for name in VIEWS}
    writer = PanopticWriter(tmp_path, CATEGORIES)
    writer.add("a", found, pictures=pictures)
    writer.close()
    codes = run_lengths(ids)
    assert time.monotonic() - began < 15  # masks one by one take a minute
    assert len(codes) == len(found.segments)
    assert (tmp_path / "segments.csv").read_text().count("\n") == 5001


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (300, 400)])
@pytest.mark.parametrize("name", VIEWS)
def test_a_legend_stands_below_the_picture(name, size, two, monkeypatch):
    import cops.pictures

    scaled = np.asarray(Image.fromarray(two.ids.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))
    found = prediction(scaled, [(s.id, s.category) for s in two.segments if (scaled == s.id).any()])
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    drawn = {}
    monkeypatch.setattr(
        cops.pictures, "with_legend", lambda p, e: drawn.update(picture=p, entries=e) or with_legend(p, e)
    )
    result = np.asarray(view(name, image, found, CATEGORIES))
    assert drawn["picture"].size == size[::-1]
    assert (result[: size[0], : size[1]] == np.asarray(drawn["picture"])).all()
    below = result[size[0] :]
    assert below.shape[0] >= 20
    assert below.shape[1] >= 160
    assert (below < 100).all(-1).any()  # text
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
    content = {"images": [], "annotations": [], "categories": [
        {"id": 1, "name": "nucleus", "isthing": 1}, {"id": 2, "name": "background", "isthing": 0}]}  # fmt: skip
    for i, name in enumerate(("a/0.png", "b/0.png", "0.jpg")):
        picture(root / "val" / name, i)
        path = labels / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), (1, 0, 0), np.uint8)).save(path)
        content["images"].append({"id": 10 + i, "file_name": name, "height": 16, "width": 16})
        info = [{"id": 1, "category_id": 2, "iscrowd": 0}]
        content["annotations"].append({"image_id": 10 + i, "file_name": f"{i}.png", "segments_info": info})
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    checkpoint_categories(content)
    return root


def checkpoint_categories(content):
    """The colours and the order of the checkpoint's classes."""
    content["categories"] = torch.load(NUCLEI, weights_only=True)["categories"]


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
    with pytest.raises(predict.DataError, match="belongs to another image"):
        writer.add("up/0", two)
