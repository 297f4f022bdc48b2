"""Prediction on files: what is finished stays and is listed, whatever comes in between."""

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

import cops.data.writer
import numpy as np
import predict
import pytest
import torch
from cops.data.output_files import output_names
from cops.model.checkpoints import load_model
from cops.stopping import Stopped, StopSignals
from PIL import Image
from prediction_files import listed, picture, pngs

CHECKPOINTS = Path(predict.__file__).parent / "checkpoints"
NUCLEI, SCENES = CHECKPOINTS / "nuclei_full_svm.pt", CHECKPOINTS / "scenes_full_svm.pt"


def run(*files, out, checkpoint=NUCLEI, **options):
    """Exit status of predict.py."""
    try:
        predict.main([*map(str, files), f"--checkpoint={checkpoint}", f"--out={out}",
                      *(f"--{k}={v}" for k, v in options.items())])  # fmt: skip
    except SystemExit as end:
        return end.code
    return 0


def drawn_classes():
    """Names of the classes of the checkpoint that learned on scenes, which may be older than the scenes of today."""
    return [c.name for c in load_model(SCENES)[0].categories]


@pytest.fixture(autouse=True)
def one_thread():
    """Images of a few pixels gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.mark.parametrize("letter", ["n", "ü"])
def test_names_that_results_would_make_too_long_are_cut(letter, tmp_path):
    """A file system takes names of 255 bytes, to which results add their kind."""
    stem = letter * (250 // len(letter.encode()))
    files = [picture(tmp_path / f"{stem[:-1]}{end}.png") for end in "ab"]
    assert run(*files, out=tmp_path / "p") == 0
    names = {i["source"].removeprefix("../"): name for name, i in listed(tmp_path / "p").items()}
    assert set(names) == {path.name for path in files}
    assert all(re.fullmatch(rf"{letter}+_[0-9a-f]{{12}}", name) for name in names.values())
    assert run(*files, out=tmp_path / "p") == 0
    assert set(listed(tmp_path / "p")) == set(names.values())


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


def test_results_of_earlier_versions_stay(tmp_path):
    """They lack the CSV, the text chunks, and where the images were read from."""
    out = tmp_path / "p"
    a = picture(tmp_path / "in" / "a.png")
    assert run(a, out=out) == 0
    (out / "segments.csv").unlink()
    content = json.loads((out / "panoptic.json").read_text())
    content["images"][0].pop("source")
    (out / "panoptic.json").write_text(json.dumps(content))
    for path in out.glob("*.png"):
        Image.open(path).save(path)
    before = (out / "a_panoptic.png").read_bytes()
    assert run(a, out=out) == 0
    assert set(listed(out)) == {"a", "in_a"}
    assert (out / "a_panoptic.png").read_bytes() == before


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
    first = drawn_classes()[0]
    assert re.search(rf"panoptic\.json is from a model with other classes .*nucleus.*{first}.*choose another", error)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_predicting_with_a_model_of_drawn_scenes_prints_a_note(tmp_path, capsys):
    assert run(picture(tmp_path / "a.png"), out=tmp_path / "p", checkpoint=SCENES) == 0
    assert re.search(rf"{', '.join(drawn_classes())}.* on drawn scenes .*nuclei_full_svm\.pt", capsys.readouterr().err)
    assert run(tmp_path / "a.png", out=tmp_path / "q") == 0
    assert "drawn" not in capsys.readouterr().err


def test_prediction_of_a_folder_continues_after_bad_files(tmp_path, capsys):
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
    header, *errors = captured.err[captured.err.index("predict.py: skipped") :].splitlines()
    assert header == "predict.py: skipped 3 of the files:"
    for error, part in zip(errors, ("9.heic is HEIC", "0.png cannot be read", "none.png is missing"), strict=True):
        assert error.startswith("predict.py: error: ")
        assert part in error


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

    def frames_of(path, normalize):
        for number in range(count):
            yield f"{path.stem}_{number:05d}", np.full((8, 8, 3), 40 * number, np.uint8)
        action(path)

    return frames_of


def test_frames_before_a_bad_one_stay(tmp_path, monkeypatch, capsys):
    def bad(path):
        raise predict.DataError(f"{path} cannot be read as a video: cut")

    monkeypatch.setattr(predict, "frames_of", frames_then(bad))
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 1
    assert "clip.mp4 cannot be read as a video: cut; frames segmented before: 2" in capsys.readouterr().err
    images = listed(tmp_path / "p")
    assert {n: (i["file_name"], i["source"], i["frame"]) for n, i in images.items()} == {
        f"clip_0000{k}": (f"clip_0000{k}.png", "../clip.mp4", k) for k in range(2)
    }
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: None, 3))
    picture(tmp_path / "clip_00003.png")
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 0
    assert len(listed(tmp_path / "p")) == 3


def test_results_of_frames_that_a_file_no_longer_has_go(tmp_path, monkeypatch):
    """Also what it was before it had frames; not those of other files, nor what another program wrote."""
    out = tmp_path / "p"
    assert run(picture(tmp_path / "clip.gif"), picture(tmp_path / "b.png"), out=out) == 0
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: None, 4))
    assert run(tmp_path / "clip.gif", out=out) == 0
    assert set(listed(out)) == {"b", *(f"clip_0000{k}" for k in range(4))}
    picture(out / "clip_00003_overlay.png")
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: None, 2))
    assert run(tmp_path / "clip.gif", out=out) == 0
    assert set(listed(out)) == {"b", "clip_00000", "clip_00001"}
    names = {f"{name}_{kind}.png" for name in listed(out) for kind in ("overlay", "classes", "panoptic")}
    assert {path.name for path in out.glob("*.png")} == names | {"clip_00003_overlay.png"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_prediction_with_all_that_is_finished_listed(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cops.data.writer, "SECONDS", 1000.0)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(predict, "frames_of", frames_then(lambda path: signal.raise_signal(number), 3))
    assert run(tmp_path / "clip.mp4", out=tmp_path / "p") == 128 + number
    assert len(listed(tmp_path / "p")) == len(pngs(tmp_path / "p")) == 3
    captured = capsys.readouterr()
    assert "of 3 images" in captured.out
    assert "stopped by" in captured.err
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_stop_waits_for_work_that_must_not_be_interrupted():
    done = []

    def written():
        with StopSignals() as stop, stop.uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            done.append("written")

    def compiled():
        with StopSignals():
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt as stop:
                raise SystemError("compiled code was interrupted") from stop

    for interrupted in (written, compiled):
        with pytest.raises(Stopped, match="SIGTERM"):
            interrupted()
    assert done == ["written"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_results_of_a_killed_process_are_usable(name, tmp_path):
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
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=120)
    if name == "SIGTERM":
        assert process.returncode == 143, said
        assert "stopped by SIGTERM" in said[1]
        assert "Traceback" not in said[1]
        assert set(listed(out)) == pngs(out)
    else:
        assert set(listed(out)) <= pngs(out)
        assert run(picture(tmp_path / "a.png"), out=out) == 0
        assert set(listed(out)) == pngs(out)


def test_a_full_disk_is_named_and_what_is_finished_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cops.data.writer, "SECONDS", 1000.0)
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
    assert re.search(r"the disk is full: .*segments\.csv", captured.err)
    assert "of 2 images" in captured.out
    assert "panoptic.json lacks the last of them" in captured.out
    assert pngs(out) == {"0", "1"}
    assert set(listed(out)) == {"0"}
    assert not list(out.glob("*.partial"))
    monkeypatch.setattr(os, "fsync", real)
    assert run(files[3], out=out) == 0
    assert set(listed(out)) == pngs(out) == {"0", "1", "3"}
