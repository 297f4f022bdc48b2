"""Several calls of the converter: two splits of one folder, choices that differ, and calls that are stopped."""

import json
import signal
from pathlib import Path

import pytest
from annotation_files import HEXAGON, SQUARE, labelme, numbers, read, run, shape, write_image
from PIL import Image


def test_two_splits_share_their_classes(tmp_path, capsys):
    labelme(tmp_path / "one", "a", [shape("wall", HEXAGON), shape("bolt", SQUARE)])
    labelme(tmp_path / "two", "b", [shape("wall", HEXAGON), shape("bolt", SQUARE)])
    labelme(tmp_path / "three", "c", [shape("nut", HEXAGON)])
    out = tmp_path / "out"
    assert run("labelme", tmp_path / "one", "--out", out, "--split", "train", "--stuff", "wall") == 0
    assert run("labelme", tmp_path / "three", "--out", out, "--split", "val") == 2
    assert "c.json: the label 'nut' is unknown to" in capsys.readouterr().err
    assert run("labelme", tmp_path / "two", "--out", out, "--split", "val") == 0
    for split in ("train", "val"):
        (found,) = read(out, split).values()
        assert [label for label, _, _ in found] == ["wall", "bolt"]
    assert run("labelme", tmp_path / "two", "--out", out) == 2  # beside splits, the reader would not see it
    assert "train exists: choose another --out" in capsys.readouterr().err


def first_split(tmp_path, *arguments):
    """The folder after a first call, and the arguments of a second one."""
    for name in "ab":
        labelme(tmp_path / name, name, [shape("wall", HEXAGON), shape("bolt", SQUARE)])
    assert run("labelme", tmp_path / "a", "--out", tmp_path / "out", "--split", "train", *arguments) == 0
    return ["labelme", tmp_path / "b", "--out", tmp_path / "out", "--split", "val"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("--classes wall bolt", "--classes bolt wall", "--classes 'wall' 'bolt', but this call says --classes 'bolt' 'wall'"),
        ("", "--classes wall bolt nut", "--classes 'bolt' 'wall', but this call says --classes 'wall' 'bolt' 'nut'"),
        ("--stuff wall bolt", "--stuff wall", "--stuff 'bolt' 'wall', but this call says --stuff 'wall': leave out --stuff"),
        ("", "--stuff wall", "stands for no --stuff, but this call says --stuff 'wall'"),
        ("", "--background wall", "stands for no --background, but this call says --background 'wall'"),
        ("--background floor", "--background wall", "--background 'floor', but this call says --background 'wall'"),
        ("--background floor", "--background=", "--background 'floor', but this call says no --background"),
    ],
)  # fmt: skip
def test_other_choices_than_those_of_the_first_call_are_refused(first, second, message, tmp_path, capsys):
    again = first_split(tmp_path, *first.split())
    assert run(*again, *second.split()) == 2
    error = capsys.readouterr().err
    assert "out/classes.json, which an earlier call wrote, stands for" in error
    assert message in error
    assert not (tmp_path / "out" / "val").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("--classes wall bolt --stuff wall --background floor", ""),
        ("--classes wall bolt --stuff wall --background floor", "--background floor --classes wall bolt --stuff wall"),
        ("--classes wall bolt --stuff wall --background floor", "--classes wall bolt floor --stuff floor wall"),
        ("--background=", "--background= --classes bolt wall"),
    ],
)
def test_second_call_takes_over_or_repeats_the_choices_of_the_first(first, second, tmp_path):
    again = first_split(tmp_path, *first.split())
    assert run(*again, *second.split()) == 0
    (train,), (val,) = (read(tmp_path / "out", split).values() for split in ("train", "val"))
    assert [label for label, _, _ in train] == [label for label, _, _ in val]
    assert ("floor" in {label for label, _, _ in val}) == ("floor" in first)


def test_masks_take_over_that_the_first_call_had_no_background(tmp_path):
    for name in "ab":
        write_image(tmp_path / name / f"{name}.png")
        Image.fromarray(numbers()).save(tmp_path / name / f"{name}_masks.png")
    out = ["--out", tmp_path / "out", "--split"]
    assert run("masks", tmp_path / "a", *out, "train", "--background", "") == 0
    assert run("masks", tmp_path / "b", *out, "val") == 0
    assert {label for label, _, _ in read(tmp_path / "out", "val")["b"]} == {"cell"}


def test_background_of_classes_from_elsewhere_is_taken_if_they_have_it(tmp_path, capsys):
    again = first_split(tmp_path, "--background", "floor")
    path = tmp_path / "out" / "classes.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "background": "bolt"}))
    assert run(*again) == 2
    assert "classes.json: 'background' must be null or a stuff class, got 'bolt'" in capsys.readouterr().err
    del content["background"]
    path.write_text(json.dumps(content))
    assert run(*again, "--background", "wall") == 2
    assert run(*again, "--background", "floor") == 0
    assert {label for label, _, _ in read(tmp_path / "out", "val")["b"]} == {"floor", "wall", "bolt"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [Image.Image, Path])  # while the second image is written, and before the last step
def test_stopped_call_says_so_in_a_line_and_leaves_nothing(number, at, tmp_path, capsys, monkeypatch):
    for name in "ab":
        labelme(tmp_path / "in", name, [shape("bolt", SQUARE)])
    real = at.rename if at is Path else at.save

    def stopping(self, path, *rest, **more):
        if Path(path).name in ("b.png", "labels"):
            signal.raise_signal(number)
        return real(self, path, *rest, **more)

    monkeypatch.setattr(at, "rename" if at is Path else "save", stopping)
    arguments = ["labelme", tmp_path / "in", "--out", tmp_path / "out", "--split", "train"]
    assert run(*arguments) == 128 + number
    what = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"prepare_custom.py: stopped by {what}: nothing was converted, and what was written by then")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert run(*arguments) == 0


def test_nothing_is_overwritten_and_a_stopped_call_begins_anew(tmp_path, capsys, monkeypatch):
    for name in "abc":
        labelme(tmp_path / "in", name, [shape("bolt", SQUARE)])
    real, seen = Image.Image.save, []

    def save(self, path, *rest, **more):
        seen.append(path)
        if len(seen) == 2:
            raise OSError("stopped")
        return real(self, path, *rest, **more)

    monkeypatch.setattr(Image.Image, "save", save)
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out" / "labels").exists()
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert len(before) == 7
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 2
    assert "images exists: choose another --out, or delete it to convert anew" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before
