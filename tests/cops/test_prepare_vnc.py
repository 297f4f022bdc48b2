"""The converter of the ssTEM stack, on a small stack in the same layout."""

import json

import numpy as np
import prepare_nuclei
import prepare_vnc
import pytest
from cops.config import Config
from cops.data.coco import CocoPanoptic
from cops.data.samples import DataError
from cops.data.splits import load_splits
from jsonargparse import ArgumentParser
from PIL import Image

EDGE, SECTIONS = 32, 6


def label_of(number):
    """A label of the stack at full size: two neurites, the left one with an organelle across its whole width."""
    values = np.full((EDGE, EDGE), 255, np.uint8)
    values[8:12, :14] = 191  # mitochondrion
    values[20:24, 2:6] = 223  # synapse
    values[:, 14:18] = (0, 32, 64, 128)  # membrane, as in all directions
    values[26:30] = 96
    values[30:] = 159  # glia
    return np.roll(values, 2 * (number % 2), axis=1) if number else values


def write_section(source, number, values=None):
    for part in ("raw", "labels"):
        (source / part).mkdir(parents=True, exist_ok=True)
    raw = np.random.default_rng(number).integers(0, 256, (EDGE, EDGE), np.uint8)
    Image.fromarray(raw).save(source / "raw" / f"{number:02d}.tif")
    Image.fromarray(label_of(number) if values is None else values).save(source / "labels" / f"labels{number:08d}.png")
    return raw


@pytest.fixture
def source(tmp_path):
    for number in range(SECTIONS):
        write_section(tmp_path / "stack1", number)
    return tmp_path / "stack1"


def convert(source, out, sections="all", val_from=4, gap=1, size=16, scale=0.5):
    prepare_vnc.convert(source, out, sections, val_from, gap, size, scale)
    return CocoPanoptic(out, "train"), CocoPanoptic(out, "val")


def areas(sample, categories):
    """Areas of the segments by class name."""
    found = {}
    for s in sample.segments:
        found.setdefault(categories[s.category].name, []).append(int((sample.ids == s.id).sum()))
    return {name: sorted(values) for name, values in found.items()}


def test_neurites_are_what_membranes_and_glia_leave_and_organelles_lie_in_them(source, tmp_path):
    train, _ = convert(source, tmp_path / "out")
    assert [train[i].name for i in range(len(train))] == ["00_00", "01_00", "02_00"]
    assert [c.name for c in train.categories if c.isthing] == ["neurite", "mitochondrion", "synapse"]
    # Half of 32 pixels: 13 rows above the membrane, 7 columns beside it. The mitochondrion parts the left neurite,
    # which stays one instance.
    assert areas(train[0], train.categories) == {
        "membrane": [13 * 2 + 2 * 16], "glia": [16], "neurite": [7 * 13, 7 * 13 - 14 - 4], "mitochondrion": [14],
        "synapse": [4]} | {"neurite": sorted([7 * 13, 7 * 13 - 14 - 4])}  # fmt: skip
    assert not (train[0].ids == 0).any()


def test_neurites_that_touch_only_at_a_corner_are_two(tmp_path):
    classes = np.full((4, 4), prepare_vnc.MEMBRANE)
    classes[:2, :2] = classes[2:, 2:] = prepare_vnc.NEURITE
    assert len(np.unique(prepare_vnc.instances(classes))) == 3


def test_image_is_averaged_and_cut_where_its_label_is(tmp_path):
    source = tmp_path / "stack1"
    raw = {n: write_section(source, n) for n in (0, 5)}
    train, val = convert(source, tmp_path / "out", size=8)
    assert [train[i].name for i in range(len(train))] == ["00_00", "00_01", "00_10", "00_11"]
    means = raw[5].reshape(16, 2, 16, 2).mean((1, 3))
    for sample in (val[i] for i in range(len(val))):
        row, column = int(sample.name[3]), int(sample.name[4])
        window = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
        assert np.abs(sample.image[..., 0] - means[window]).max() <= 1  # Pillow rounds twice
        full = np.vectorize(prepare_vnc.VALUES.get)(label_of(5)[1::2, 1::2])[window]
        assert (sample.class_map() + 1 == full).all()


def test_sections_before_the_test_split_are_left_out(source, tmp_path, capsys):
    convert(source, tmp_path / "out", val_from=4, gap=2)
    names = {s: sorted(p.name for p in (tmp_path / "out" / s).iterdir()) for s in ("train", "val")}
    assert names == {"train": ["00_00.png", "01_00.png"], "val": ["04_00.png", "05_00.png"]}
    said = capsys.readouterr().out
    assert "2 training images (sections 0-1) and 2 test images (sections 4-5)" in said
    assert "train.py --config examples/panoptic_cops/configs/vnc.yaml --root" in said
    convert(source, tmp_path / "out", sections="0,2-2, 5", val_from=5)  # crops that no longer belong are removed
    names = {s: sorted(p.name for p in (tmp_path / "out" / s).iterdir()) for s in ("train", "val")}
    assert names == {"train": ["00_00.png", "02_00.png"], "val": ["05_00.png"]}


def test_second_call_writes_what_has_changed_and_nothing_else(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out)
    labels = {n: out / "annotations" / "panoptic_train" / f"{n:02d}_00.png" for n in (0, 1, 2)}
    times = {n: path.stat().st_mtime_ns for n, path in labels.items()}
    json_before = (out / "annotations" / "panoptic_train.json").read_text()
    labels[2].unlink()  # as if the first call had been stopped
    write_section(source, 1, np.full((EDGE, EDGE), 255, np.uint8))
    train, _ = convert(source, out)
    assert labels[0].stat().st_mtime_ns == times[0]
    assert labels[1].stat().st_mtime_ns != times[1]
    assert areas(train[1], train.categories) == {"neurite": [256]}
    write_section(source, 1)
    convert(source, out)
    assert (out / "annotations" / "panoptic_train.json").read_text() == json_before
    convert(source, out, size=8)  # settings count as well
    assert CocoPanoptic(out, "train")[0].ids.shape == (8, 8)


def test_folder_of_another_data_set_is_refused(source, tmp_path):
    for i in range(2):
        for part in ("images", "masks"):
            (tmp_path / "cells" / f"id{i}" / part).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "cells" / f"id{i}" / "images" / "a.png")
    prepare_nuclei.convert(tmp_path / "cells", tmp_path / "out", 0.5, True, 0)
    with pytest.raises(DataError, match=r"belongs to another data set .*choose another --out"):
        convert(source, tmp_path / "out")
    assert len(list((tmp_path / "out" / "train").iterdir())) == 1


def test_labels_saved_as_colours_are_read_if_they_are_grey(source, tmp_path):
    grey = label_of(0)
    Image.fromarray(np.dstack([grey] * 3)).save(source / "labels" / "labels00000000.png")
    train, _ = convert(source, tmp_path / "out")
    assert len(areas(train[0], train.categories)["neurite"]) == 2
    Image.fromarray(np.dstack([grey, grey, 255 - grey])).save(source / "labels" / "labels00000000.png")
    with pytest.raises(DataError, match=r"labels00000000\.png must be a grey image"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda s: (s / "labels" / "labels00000001.png").unlink(), "labels lacks section 1: download the stack again"),
    (lambda s: (s / "raw").rename(s / "images"), "raw is missing: the source is the folder stack1"),
    (lambda s: [p.unlink() for p in (s / "raw").iterdir()], "raw holds no images"),
    (lambda s: (s / "raw" / "01.tif").rename(s / "raw" / "one.tif"), r"one\.tif does not end in the number"),
    (lambda s: Image.new("L", (4, 4)).save(s / "raw" / "1.png"), "have one section number"),
    (lambda s: write_section(s, 1, np.full((EDGE, EDGE), 7, np.uint8)), r"labels00000001\.png holds 7: it must hold 0"),
    (lambda s: write_section(s, 1, np.zeros((EDGE, 8), np.uint8)), "differ in size"),
])  # fmt: skip
def test_stack_that_is_not_as_it_should_be_is_refused(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(("settings", "message"), [
    ({"sections": "4-2"}, 'sections must be "all"'), ({"sections": "a"}, 'sections must be "all"'),
    ({"val_from": 9}, "no sections are left for the split 'val'"), ({"val_from": 1}, "for the split 'train'"),
    ({"size": 17}, "a crop of 17 pixels does not fit into 16x16"), ({"gap": 0}, "gap >= 1"), ({"scale": 2.0}, "scale <= 1"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(source, tmp_path, settings, message, capsys):
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "out", **settings)
    with pytest.raises(SystemExit) as stopped:
        prepare_vnc.main([str(source), f"--out={tmp_path / 'out'}", *(f"--{k}={v}" for k, v in settings.items())])
    assert stopped.value.code == 2
    assert "prepare_vnc.py: error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_writes_a_folder_that_its_configuration_trains_on(source, tmp_path):
    prepare_vnc.main([str(source), f"--out={tmp_path / 'out'}", "--val_from=4", "--size=16"])
    parser = ArgumentParser()
    parser.add_class_arguments(Config, as_group=False)
    path = prepare_vnc.__file__.replace("prepare_vnc.py", "configs/vnc.yaml")
    parser.add_argument("--config", action="config")
    config = parser.instantiate(parser.parse_args([f"--config={path}", f"--root={tmp_path / 'out'}"]))
    splits = load_splits(Config(**{k: v for k, v in vars(config).items() if k != "config"}).resolved())
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (3, 2)
    categories = json.loads((tmp_path / "out" / "annotations" / "panoptic_val.json").read_text())["categories"]
    assert [c["name"] for c in categories] == ["membrane", "glia", "neurite", "mitochondrion", "synapse"]


def test_names_of_many_small_crops_differ(source):
    items = prepare_vnc._crops(0, source / "raw" / "00.tif", source / "labels" / "labels00000000.png", 2, 1.0)
    assert len({item.name for item in items}) == len(items) == 16 * 16
