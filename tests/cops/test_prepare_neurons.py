"""The converter of the FIB-SEM volume, on a small volume in the same layout."""

import gzip
import sys

import h5py
import numpy as np
import prepare_neurons
import pytest
from cops.data.coco import CocoPanoptic
from cops.data.samples import DataError
from PIL import Image

SHAPE = (12, 8, 10)


def volume():
    """Neuron 5 comes up twice in a slice, 7 touches it, and one voxel of 9 lies in 7."""
    truth = np.full(SHAPE, 7, np.int64)
    truth[:, :3] = 5
    truth[:, 6:, :5] = 5
    truth[:, 4, 8] = 9
    truth[0, 0, 0] = 0
    return truth


def write_truth(folder, truth, **more):
    with h5py.File(folder / "groundtruth.h5", "w") as file:
        file["stack"] = truth
        for name, value in more.items():
            file[name] = value


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "sample"
    (folder / "grayscale_maps").mkdir(parents=True)
    for z in range(SHAPE[0]):
        grey = np.random.default_rng(z).integers(0, 256, SHAPE[1:], np.uint8)
        Image.fromarray(grey).save(folder / "grayscale_maps" / f"iso.{995 + z}.png")  # from 3 digits to 4
    write_truth(folder, volume())
    return folder


def convert(source, out, every=3, val_from=9, gap=2, smallest=2):
    prepare_neurons.convert(source, out, every, val_from, gap, smallest)
    return CocoPanoptic(out, "train"), CocoPanoptic(out, "val")


def sizes(sample):
    return sorted(np.bincount(sample.ids.ravel())[1:].tolist())


def test_instances_are_connected_parts_and_small_ones_are_void(source, tmp_path):
    train, val = convert(source, tmp_path / "out")
    assert [c.name for c in train.categories] == ["neurite"]
    assert [train[i].name for i in range(len(train))] == ["000", "003", "006"]
    assert [val[i].name for i in range(len(val))] == ["009"]
    assert sizes(train[0]) == sorted([29, 10, 80 - 30 - 10 - 1])
    assert (train[0].ids == 0).sum() == 2  # the number 0, and the voxel of 9
    train, _ = convert(source, tmp_path / "out", smallest=1)
    assert sizes(train[1]) == sorted([30, 10, 39, 1])


def test_parts_that_touch_only_at_a_corner_are_two():
    neurons = np.array([[1, 2], [2, 1]])
    assert len(np.unique(prepare_neurons.parts(neurons, 1))) == 4


def test_images_are_the_slices_in_the_order_of_their_numbers(source, tmp_path):
    train, _ = convert(source, tmp_path / "out")
    for sample in (train[i] for i in range(len(train))):
        z = int(sample.name)
        assert (sample.image[..., 0] == np.random.default_rng(z).integers(0, 256, SHAPE[1:], np.uint8)).all()


def test_volumes_in_hdf5_and_packed_files_give_the_same_folder(source, tmp_path):
    convert(source, tmp_path / "out")
    grey = [np.random.default_rng(z).integers(0, 256, SHAPE[1:], np.uint8) for z in range(SHAPE[0])]
    with h5py.File(source / "grayscale_maps.h5", "w") as file:
        file["raw"] = np.stack(grey)
    packed = gzip.compress((source / "groundtruth.h5").read_bytes())
    (source / "groundtruth.h5").unlink()
    (source / "groundtruth.h5.gz").write_bytes(packed)
    convert(source, tmp_path / "other")
    for path in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        there = tmp_path / "other" / path.relative_to(tmp_path / "out")
        if path.suffix == ".png":
            assert (np.asarray(Image.open(path)) == np.asarray(Image.open(there))).all()
        else:
            assert path.read_text() == there.read_text()


def test_transforms_say_which_neuron_a_number_belongs_to(source, tmp_path):
    truth = volume()
    numbers = np.where(truth == 5, np.where(np.arange(SHAPE[2]) < 4, 51, 52), truth)
    write_truth(source, numbers, transforms=np.array([[51, 5], [52, 5], [7, 7], [9, 9]]))
    train, _ = convert(source, tmp_path / "out")
    assert sizes(train[0]) == sorted([29, 10, 39])
    write_truth(source, numbers, transforms=np.array([[51, 5], [7, 7], [9, 9]]))
    with pytest.raises(DataError, match="'transforms' lacks 52"):
        convert(source, tmp_path / "out")
    write_truth(source, numbers, transforms=np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"'transforms' must hold rows \(number, neuron\)"):
        convert(source, tmp_path / "out")


def test_second_call_writes_only_what_has_changed(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out)
    path = out / "annotations" / "panoptic_train" / "003.png"
    time = path.stat().st_mtime_ns
    convert(source, out)
    assert path.stat().st_mtime_ns == time
    convert(source, out, smallest=1)
    assert path.stat().st_mtime_ns != time
    convert(source, out, every=4, val_from=8)
    assert sorted(p.name for p in (out / "train").iterdir()) == ["000.png", "004.png"]


def test_command_chooses_the_last_sixth_for_the_test_split_and_says_how_to_train(source, tmp_path, capsys):
    prepare_neurons.main([str(source), f"--out={tmp_path / 'out'}", "--every=1", "--gap=3"])
    said = capsys.readouterr().out
    assert "7 training images (slices 0-6) and 2 test images (slices 10-11)" in said
    assert "train.py --config examples/panoptic_cops/configs/neurons.yaml --root" in said


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda s: (s / "groundtruth.h5").unlink(), r"must hold groundtruth\.h5 or groundtruth\.h5\.gz"),
    (lambda s: (s / "groundtruth.h5").write_bytes(b"x"), "cannot be read as HDF5 .*download it again"),
    (lambda s: write_truth(s, np.zeros((2, 2))), "must hold the volume 'stack'"),
    (lambda s: write_truth(s, np.zeros((2, 2, 2))), "differ in size"),
    (lambda s: (s / "grayscale_maps" / "iso.1000.png").unlink(), "differ in size"),
    (lambda s: Image.new("L", (3, 3)).save(s / "grayscale_maps" / "iso.1000.png"), r"iso\.1000\.png \(3, 3\)"),
    (lambda s: Image.new("L", (3, 3)).save(s / "grayscale_maps" / "mean.png"), r"as iso\.2600\.png, got mean\.png"),
    (lambda s: [p.unlink() for p in (s / "grayscale_maps").iterdir()], "must hold images that end in the number"),
    (lambda s: h5py.File(s / "grayscale_maps.h5", "w").close(), "must hold the volume 'raw'"),
    (lambda s: s.rename(s.with_name("moved")), "does not exist"),
])  # fmt: skip
def test_sample_that_is_not_as_it_should_be_is_refused(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "out")


def test_grey_volumes_of_more_than_8_bits_are_refused(source, tmp_path):
    with h5py.File(source / "grayscale_maps.h5", "w") as file:
        file["raw"] = np.zeros(SHAPE, np.uint16)
    with pytest.raises(DataError, match="'raw' must hold 8 bits, got uint16"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(("settings", "message"), [
    ({"every": 0}, "must be at least 1"), ({"val_from": 12}, "split 'val' of 12"), ({"val_from": 2}, "split 'train' of 12"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(source, tmp_path, settings, message, capsys):
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "out", **settings)
    with pytest.raises(SystemExit) as stopped:
        prepare_neurons.main(
            [str(source), "--gap=2", f"--out={tmp_path}", *(f"--{k}={v}" for k, v in settings.items())]
        )
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_package_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r'pip install "diffcomb\[data\]"'):
        convert(source, tmp_path / "out")
