"""Street-like scenes in the format of Cityscapes, read back by the real reader and by the official scripts."""

import json
import shutil

import make_streets
import numpy as np
import pytest
from cops.config import Config
from cops.data.cityscapes import CATEGORIES, DIVISOR, Cityscapes
from cops.data.samples import DataError
from cops.data.splits import load_splits
from cops.data.streets import SMALLEST, make_street, parse_size
from PIL import Image

SIZE = (64, 128)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("streets")
    make_streets.draw(out, 6, 3, SIZE, 0)
    return out


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "streets")


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_reader_of_cityscapes_reads_both_splits(drawn):
    splits = load_splits(Config(data="cityscapes", root=str(drawn)).resolved())
    assert [len(s) for s in splits] == [5, 1, 3]
    train = Cityscapes(drawn, "train")
    assert train[0].name == "street_000000_000000"
    assert Cityscapes(drawn, "val")[1].image_id == "street_000001_000001"
    for sample in (train[i] for i in range(len(train))):
        assert sample.image.shape == (*SIZE, 3)
        assert len({s.category for s in sample.segments}) > 5
        assert 0 < (sample.ids == 0).mean() < 0.3  # the bonnet, bins and boxes


def test_instance_ids_and_panoptic_images_say_the_same(folder):
    data = Cityscapes(folder, "val")
    samples = [data[i] for i in range(len(data))]
    for path in (folder / "gtFine" / "val").rglob("*_instanceIds.png"):
        path.unlink()
    again = Cityscapes(folder, "val")
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(again[i].ids, sample.ids)
        assert again[i].segments == sample.segments
        labels = np.asarray(Image.open(folder / "gtFine" / "val" / "street" / f"{sample.name}_gtFine_labelIds.png"))
        known = sample.class_map() >= 0
        ids = np.array([c.id for c in CATEGORIES])
        np.testing.assert_array_equal(labels[known], ids[sample.class_map()[known]])


@pytest.mark.filterwarnings("ignore")
def test_official_script_writes_the_same_panoptic_images(folder, tmp_path):
    preparation = pytest.importorskip("cityscapesscripts.preparation.createPanopticImgs")
    (tmp_path / "official").mkdir()
    preparation.convert2panoptic(str(folder / "gtFine"), str(tmp_path / "official"), False, ["train", "val"])
    for split in ("train", "val"):
        ours, theirs = (json.loads((f / f"cityscapes_panoptic_{split}.json").read_text())
                        for f in (folder / "gtFine", tmp_path / "official"))  # fmt: skip
        assert ours["images"] == theirs["images"]
        assert ours["annotations"] == theirs["annotations"]
        for a, b in zip(ours["categories"], theirs["categories"], strict=True):
            assert a == {k: b[k] for k in a}
        for image in ours["annotations"]:
            a, b = (np.asarray(Image.open(f / f"cityscapes_panoptic_{split}" / image["file_name"]))
                    for f in (folder / "gtFine", tmp_path / "official"))  # fmt: skip
            np.testing.assert_array_equal(a, b)


def test_scene_follows_from_seed_split_and_number_alone(drawn, tmp_path):
    make_streets.draw(tmp_path / "more", 2, 1, SIZE, 0)
    for path, content in files(tmp_path / "more").items():
        if path.suffix == ".png":
            assert files(drawn)[path] == content
    make_streets.draw(tmp_path / "other", 1, 1, SIZE, 1)
    images = [p for p in files(tmp_path / "other") if p.name.endswith("leftImg8bit.png")]
    assert len(images) == 2
    assert all((tmp_path / "other" / p).read_bytes() != (drawn / p).read_bytes() for p in images)
    assert (drawn / images[0]).read_bytes() != (drawn / images[1]).read_bytes()


def test_second_call_draws_what_is_missing_and_removes_what_is_not_asked_for(folder, monkeypatch):
    before = files(folder)
    calls = []
    monkeypatch.setattr(make_streets, "make_street", lambda *a: calls.append(a) or make_street(*a))
    (folder / "leftImg8bit" / "val" / "street" / "street_000001_000001_leftImg8bit.png").unlink()
    (folder / "gtFine" / "train" / "street" / "street_000000_000002_gtFine_instanceIds.png").write_bytes(b"damaged")
    make_streets.draw(folder, 6, 3, SIZE, 0)
    assert len(calls) == 2
    assert files(folder) == before
    make_streets.draw(folder, 2, 3, SIZE, 0)
    assert len(Cityscapes(folder, "train")) == 2
    assert len(list((folder / "gtFine" / "cityscapes_panoptic_train").iterdir())) == 2
    make_streets.draw(folder, 1, 1, (48, 96), 0)
    assert Cityscapes(folder, "train")[0].ids.shape == (48, 96)


def test_folder_with_other_images_is_refused(folder):
    (folder / "gtFine" / "val" / "aachen").mkdir()
    with pytest.raises(DataError, match=r"val holds aachen, which is not of this program: choose another --out"):
        make_streets.draw(folder, 1, 1, SIZE, 0)


def test_scenes_hold_all_classes_groups_void_and_things_of_many_sizes():
    """Of 40 scenes at a quarter of the size."""
    found, areas, count = set(), [], 0
    for i in range(40):
        values = make_street(np.random.default_rng(i), (256, 512)).values
        numbers, sizes = np.unique(values, return_counts=True)
        found |= set(np.where(numbers < DIVISOR, numbers, numbers // DIVISOR).tolist())
        found |= {-n for n in numbers.tolist() if n < DIVISOR}  # stuff, groups and void
        areas += sizes[numbers >= DIVISOR].tolist()
        count += (numbers >= DIVISOR).sum()
    things = {c.id for c in CATEGORIES if c.isthing}
    assert {c.id for c in CATEGORIES} <= found
    assert len(things & {-n for n in found}) >= 2
    assert {1, 4} <= found
    assert 12 < count / 40 < 28
    assert min(areas) >= SMALLEST / 16
    assert np.percentile(areas, 5) * 16 < 500  # pixels at full size
    assert max(areas) * 16 > 50_000


def test_nearer_cars_are_larger_and_lower():
    bottoms, areas = [], []
    for i in range(10):
        values = make_street(np.random.default_rng(i), (256, 512)).values
        for number in np.unique(values[(values // DIVISOR) == 26]):
            rows = np.flatnonzero((values == number).any(1))
            bottoms.append(rows[-1])
            areas.append((values == number).sum())
    assert np.corrcoef(bottoms, np.log(areas))[0, 1] > 0.6


def test_classes_differ_in_colour():
    """A network has something to learn: the mean colours of road, sky and vegetation tell them apart."""
    street = make_street(np.random.default_rng(0), (256, 512))
    road, vegetation, sky = (street.image[street.values == v].mean(0) for v in (7, 21, 23))
    assert sky.sum() > road.sum() + 60
    assert vegetation[1] > max(vegetation[0], vegetation[2])


@pytest.mark.parametrize(("arguments", "message"), [
    (["--size=1024"], "size must be height and width"), (["--size=8x8"], "of at least 32 pixels"),
    (["--train=0"], "train >= 1"), (["--seed=-1"], "seed >= 0"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        make_streets.main([f"--out={tmp_path / 'out'}", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_says_what_it_wrote_and_how_to_train(tmp_path, capsys):
    make_streets.main([f"--out={tmp_path / 'out'}", "--train=1", "--val=1", "--size=32x64"])
    said = capsys.readouterr().out
    assert "wrote 1 training and 1 test images of 32x64" in said
    assert "configs/cityscapes.yaml --root" in said
    data = [Cityscapes(tmp_path / "out", split)[0] for split in ("train", "val")]
    areas = [
        int((s.ids == x.id).sum()) for s in data for x in s.segments if CATEGORIES[x.category].isthing and not x.iscrowd
    ]
    assert f"({len(areas) / 2:.1f} things an image, of {min(areas)} to {max(areas)} pixels)" in said
    assert parse_size("32x64") == Cityscapes(tmp_path / "out", "val")[0].ids.shape
