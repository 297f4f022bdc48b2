"""The nuclei converter: masks of every kind, images without masks, and sources that change between two calls."""

import json

import numpy as np
import prepare_nuclei
import pytest
from cops.data.coco import CocoPanoptic
from cops.data.samples import DataError
from PIL import Image

SIZE = (10, 12)


def write_image(source, name, masks, suffix=".png"):
    for part in ("images", "masks"):
        (source / name / part).mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(len(name)).integers(0, 60, SIZE, np.uint8)
    Image.fromarray(grey).save(source / name / "images" / f"{name}.png")
    for i, mask in enumerate(masks):
        kind = "TIFF" if suffix.lower().startswith(".tif") else "PNG"
        Image.fromarray(mask).save(source / name / "masks" / f"{i}{suffix}", kind)


def mask(value=255, kind=np.uint8, at=2):
    found = np.zeros(SIZE, kind)
    found[2:5, at : at + 3] = value
    return found


def convert(source, out):
    prepare_nuclei.convert(source, out, 0.3, True, 0)
    return CocoPanoptic(out, "train"), CocoPanoptic(out, "val")


def nuclei(data):
    """Areas of the nuclei of every image by its name."""
    samples = [data[i] for i in range(len(data))]
    return {
        s.name: sorted(int((s.ids == x.id).sum()) for x in s.segments if data.categories[x.category].isthing)
        for s in samples
    }


@pytest.fixture
def source(tmp_path):
    for i in range(4):
        write_image(tmp_path / "source", f"id{i}", [mask(), mask(at=7)])
    return tmp_path / "source"


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".TIFF"])
@pytest.mark.parametrize(("value", "kind"), [(1, np.uint8), (255, np.uint8), (100, np.uint8), (1, np.uint16),
                                              (65535, np.uint16), (1, bool)])  # fmt: skip
def test_larger_value_of_a_mask_is_the_nucleus(tmp_path, suffix, value, kind):
    for i in range(2):
        write_image(tmp_path / "source", f"id{i}", [mask(value, kind), mask(value, kind, 7)], suffix)
    for data in convert(tmp_path / "source", tmp_path / "out"):
        assert list(nuclei(data).values()) == [[9, 9]]


def test_masks_with_colours_and_soft_borders_are_read(source, tmp_path):
    soft = mask()
    soft[5, 2:5], soft[1, 2:5] = 100, 200
    rgba = np.dstack([mask()] * 3 + [np.full(SIZE, 255, np.uint8)])
    write_image(source, "soft", [soft])
    write_image(source, "rgba", [rgba])
    train, test = convert(source, tmp_path / "out")
    found = {**nuclei(train), **nuclei(test)}
    assert found["soft"] == [12]
    assert found["rgba"] == [9]


def test_masks_that_number_instances_are_refused(source):
    numbers = mask(1)
    numbers[7:9] = 2
    Image.fromarray(numbers).save(source / "id1" / "masks" / "0.png")
    with pytest.raises(DataError, match=r"id1/masks/0\.png holds 3 values up to 2: a mask holds one nucleus"):
        convert(source, source.parent / "out")


def test_images_without_nuclei_have_an_empty_folder_and_others_are_refused(source, tmp_path, capsys):
    for path in (source / "id0" / "masks").iterdir():
        path.unlink()
    (source / "id0" / "masks" / ".DS_Store").write_bytes(b"x")
    train, test = convert(source, tmp_path / "out")
    assert {**nuclei(train), **nuclei(test)}["id0"] == []
    (source / "id0" / "masks" / "polygons.json").write_text("{}")
    with pytest.raises(DataError, match=r"id0/masks holds no image that can be read, but polygons\.json"):
        convert(source, tmp_path / "out")
    (source / "id0" / "masks" / "1.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1\.heic is HEIC"):
        convert(source, tmp_path / "out")
    for path in (source / "id0" / "masks").iterdir():
        path.unlink()
    (source / "id0" / "masks").rmdir()
    with pytest.raises(SystemExit) as stopped:
        prepare_nuclei.main([str(source), f"--out={tmp_path / 'other'}"])
    assert stopped.value.code == 2
    assert "id0/masks is missing" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_corrected_masks_are_read_again_and_others_are_not(source, tmp_path):
    out = tmp_path / "out"
    train, _ = convert(source, out)
    first, second = sorted(nuclei(train))[:2]
    labels = {name: out / "annotations" / "panoptic_train" / f"{name}.png" for name in (first, second)}
    times = {name: path.stat().st_mtime_ns for name, path in labels.items()}
    mask_path = source / first / "masks" / "0.png"
    Image.fromarray(mask()[::-1]).save(mask_path)
    mask_path.with_name("1.png").unlink()
    train, _ = convert(source, out)
    assert (nuclei(train)[first], nuclei(train)[second]) == ([9], [9, 9])
    sample = next(train[i] for i in range(len(train)) if train[i].name == first)
    assert sample.ids[6, 3] != sample.ids[3, 3]
    assert labels[second].stat().st_mtime_ns == times[second]
    assert labels[first].stat().st_mtime_ns != times[first]
    labels[second].write_bytes(labels[second].read_bytes()[:50])  # damaged
    train, _ = convert(source, out)
    assert nuclei(train)[second] == [9, 9]


def test_images_missing_in_the_source_are_removed_from_the_output(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out)
    mine = out / "annotations" / "panoptic_train" / "mine.png"
    Image.new("RGB", (2, 2)).save(mine)  # not written by the converter
    (source / "id2").rename(tmp_path / "id2")
    train, test = convert(source, out)
    assert set(nuclei(train)) | set(nuclei(test)) == {"id0", "id1", "id3"}
    for split, data in (("train", train), ("val", test)):
        names = {f"{name}.png" for name in nuclei(data)}
        assert {p.name for p in (out / split).iterdir()} == names
        assert {p.name for p in (out / "annotations" / f"panoptic_{split}").iterdir()} - {"mine.png"} == names
    assert mine.exists()
    content = json.loads((out / "annotations" / "panoptic_train.json").read_text())
    assert len(content["images"]) == 2
