"""Ids, flags and files of annotations that are ambiguous: each is refused with what the file says, never guessed."""

import json

import numpy as np
import pytest
from cops.config import Config, Dataset
from cops.data.cityscapes import Cityscapes
from cops.data.coco import CocoPanoptic, read_ids
from cops.data.folder import Folder, folder_splits
from cops.data.samples import Category, DataError, category_differences
from cops.data.splits import load_split, load_splits
from cops.scores.quality import PanopticQuality
from PIL import Image

RGB = np.zeros((4, 6, 3), np.uint8)
RGB[:2] = (1, 0, 0)
RGB[2:] = (44, 1, 0)  # 300


@pytest.fixture
def root(tmp_path):
    """Splits of three images, where segment 300 is a thing and 1 is stuff."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / "annotations" / f"panoptic_{split}").mkdir(parents=True)
        images, annotations = [], []
        for i in range(1, 4):
            Image.fromarray(RGB).save(tmp_path / "annotations" / f"panoptic_{split}" / f"{i}.png")
            Image.fromarray(RGB + np.uint8(i)).save(tmp_path / split / f"{i}.png")
            segments = [{"id": 1, "category_id": 1, "iscrowd": 0}, {"id": 300, "category_id": 2, "iscrowd": 0}]
            images.append({"id": i, "file_name": f"{i}.png"})
            annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
        categories = [{"id": 1, "name": "sky", "isthing": 0}, {"id": 2, "name": "cat", "isthing": 1}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    return tmp_path


def edit(root, change, split="val"):
    path = root / "annotations" / f"panoptic_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def segment(content, i, **changes):
    content["annotations"][0]["segments_info"][i].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][1].update(id=1), r"panoptic_val\.json: two images have the id 1$"),
        (lambda c: c["images"][1].update(file_name="1.png"), r"two images have the file_name '1\.png'"),
        (lambda c: c["annotations"][1].update(image_id=1), "two annotations name the image 1"),
        (lambda c: c["annotations"][1].update(file_name="1.png"), r"two annotations name the PNG '1\.png'"),
        (
            lambda c: c["annotations"][0].update(image_id="1"),
            "annotations name image ids that 'images' lacks, e.g. '1'",
        ),
        (lambda c: c["annotations"][0].update(image_id=[1]), r"'image id' must be an integer, got \[1\]"),
        (lambda c: c["annotations"][0].update(file_name=7), "'file_name' must be a string, got 7"),
        (lambda c: c["annotations"][0].update(segments_info=None), "'segments_info' must be a list, got None"),
        (lambda c: c["annotations"].append(5), "an annotation is malformed"),
        (lambda c: c["categories"][1].update(id=1), "the category id 1 is given twice"),
        (lambda c: c["categories"][1].update(id="2"), r"'id' must be an integer, got '2', in \{'id': '2'"),
        (lambda c: c["categories"][1].update(name="sky"), "the category name 'sky' is given twice"),
        (lambda c: c["categories"][1].update(isthing="false"), "'isthing' must be 0, 1, true or false, got 'false'"),
        (lambda c: c["categories"][1].update(isthing=2), "'isthing' must be 0, 1, true or false, got 2"),
        (lambda c: c["categories"][1].update(isthing=None), "'isthing' must be 0, 1, true or false, got None"),
        (lambda c: c["categories"][1].update(color="red"), "'color' must be three numbers from 0 to 255, got 'red'"),
        (lambda c: segment(c, 0, id=300), "annotation of image 1: two segments have the id 300"),
        (lambda c: segment(c, 0, id="1"), "'id' must be an integer, got '1'"),
        (lambda c: segment(c, 0, category_id="1"), "'category_id' must be an integer, got '1'"),
        (lambda c: segment(c, 0, iscrowd="0"), "'iscrowd' must be 0, 1, true or false, got '0'"),
    ],
)
def test_ambiguous_annotations_are_refused_before_images_are_read(root, change, message):
    edit(root, change)
    with pytest.raises(DataError, match=message):
        CocoPanoptic(root, "val")


@pytest.mark.parametrize("true", [1, True])
def test_flags_are_numbers_or_booleans(root, true):
    edit(root, lambda c: c["categories"][0].update(isthing=true))
    assert CocoPanoptic(root, "val").categories[0].isthing is True


@pytest.mark.parametrize("mode", ["I;16", "L", "P", "RGBA", "1", "LA"])
def test_label_pngs_must_be_rgb(root, mode):
    path = root / "annotations" / "panoptic_val" / "2.png"
    if mode == "I;16":
        Image.fromarray(np.full((4, 6), 300, np.uint16)).save(path)
    else:
        Image.fromarray(RGB).convert(mode).save(path)
    data = CocoPanoptic(root, "val")
    assert data[0].segments
    with pytest.raises(DataError, match=rf"annotations/panoptic_val/2\.png must be an RGB image, got mode {mode}: id"):
        data[1]


def test_labels_in_a_lossy_format_are_refused(root):
    path = root / "annotations" / "panoptic_val" / "1.png"
    Image.fromarray(RGB).save(path, "JPEG")
    with pytest.raises(DataError, match=r"1\.png is JPEG, which changes ids: save labels as PNG"):
        read_ids(path)


@pytest.mark.parametrize("number", [0, -1, 256**3])
def test_segment_ids_are_those_that_a_png_can_hold(root, number):
    edit(root, lambda c: segment(c, 0, id=number))
    with pytest.raises(DataError, match=rf"1\.png: segment ids must lie between 1 and 16777215 .*, got {number}$"):
        CocoPanoptic(root, "val")[0]


def test_ids_without_a_segment_name_the_png(root):
    edit(root, lambda c: c["annotations"][0]["segments_info"].pop(1))
    with pytest.raises(DataError, match=r"panoptic_val/1\.png holds ids that segments_info lacks, e\.g\. 300"):
        CocoPanoptic(root, "val")[0]


def test_segment_without_pixels_stays_and_is_missed(root):
    edit(root, lambda c: c["annotations"][0]["segments_info"].append({"id": 9, "category_id": 2, "area": 0}))
    data = CocoPanoptic(root, "val")
    sample = data[0]
    assert [s.category for s in sample.segments] == [0, 1, 1]
    quality = PanopticQuality(data.categories)
    quality.add(sample.ids, sample.segments[:2], sample)
    assert [(row["TP"], row["FN"]) for row in quality.per_class()] == [(1, 0), (1, 1)]


def test_splits_with_different_categories_are_refused_with_the_differences(root):
    edit(root, lambda c: c["categories"][1].update(isthing=0))
    config = Config(data="coco", root=str(root), dataset=Dataset(validation=1)).resolved()
    with pytest.raises(
        DataError, match=r"'cat' \(id 2, thing\) in the training split is 'cat' \(id 2, stuff\) in the test"
    ):
        load_splits(config)


def test_differences_of_categories_are_named():
    sky, cat, dog = (
        Category(i, n, t, (0, 0, 0)) for i, n, t in ((1, "sky", False), (2, "cat", True), (3, "dog", True))
    )
    assert category_differences([sky, cat], [Category(1, "sky", False, (9, 9, 9)), cat], "a", "b") is None
    for first, second, expected in (
        ([sky, cat], [cat, sky], "another order: number 1 is 'sky' (id 1, stuff) in a, and 'cat' (id 2, thing) in b"),
        ([sky, cat], [sky], "'cat' (id 2, thing) in a is absent in b"),
        ([sky], [sky, dog], "'dog' (id 3, thing) in b is absent in a"),
        ([sky], [Category(1, "Sky", False, (0, 0, 0))], "'sky' (id 1, stuff) in a is 'Sky' (id 1, stuff) in b"),
    ):
        assert category_differences(first, second, "a", "b") == expected
    many = [Category(i, str(i), True, (0, 0, 0)) for i in range(9)]
    assert category_differences(many, [], "a", "b").endswith("; and 6 more")


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_one_split_loads_without_the_others(root, split):
    config = Config(data="coco", root=str(root), dataset=Dataset(validation=1)).resolved()
    expected = getattr(load_splits(config), split)
    other = "train" if split == "test" else "val"
    (root / "annotations" / f"panoptic_{other}.json").unlink()
    found = load_split(config, split)
    assert [found[i].name for i in range(len(found))] == [expected[i].name for i in range(len(expected))]
    with pytest.raises(DataError, match=rf"must hold one panoptic_{other}"):
        load_splits(config)


@pytest.fixture
def own(tmp_path):
    """A folder of five images with labels."""
    classes = [{"id": 1, "name": "floor", "isthing": False}, {"id": 2, "name": "cell", "isthing": True}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    for part, kind in (("images", np.uint8), ("labels", np.uint16)):
        (tmp_path / part).mkdir()
        for i in range(5):
            Image.fromarray(np.ones((4, 5), kind)).save(tmp_path / part / f"{i}.png")
    return tmp_path


def test_hidden_files_of_a_folder_are_skipped(own):
    for part in ("images", "labels"):
        (own / part / "._0.png").write_bytes(b"\x00\x05\x16\x07")
        (own / part / ".hidden").mkdir()
    data = Folder(own)
    assert [data[i].name for i in range(len(data))] == list("01234")


@pytest.mark.parametrize("part", ["images", "labels"])
def test_files_that_cannot_be_told_apart_or_read_are_refused(own, part):
    Image.fromarray(np.ones((4, 5), np.uint8)).save(own / part / "1.tif")
    with pytest.raises(DataError, match=rf"{part}/1\.png and 1\.tif have one name: keep one"):
        Folder(own)
    (own / part / "1.tif").unlink()
    (own / part / "7.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"7\.heic is HEIC .*convert it"):
        Folder(own)
    (own / part / "7.heic").unlink()
    (own / part / "more").mkdir()
    assert len(Folder(own)) == 5
    Image.fromarray(np.ones((4, 5), np.uint8)).save(own / part / "more" / "8.png")
    with pytest.raises(DataError, match=rf"{part}/more holds images, but"):
        Folder(own)


@pytest.mark.parametrize("isthing", ["false", "0", 2, None, []])
def test_flags_of_classes_json_are_not_guessed(own, isthing):
    classes = [{"id": 1, "name": "floor", "isthing": isthing}]
    (own / "classes.json").write_text(json.dumps({"classes": classes}))
    with pytest.raises(
        DataError, match=r"classes\.json: a category is malformed: 'isthing' must be 0, 1, true or false"
    ):
        Folder(own)


def test_test_split_of_a_folder_needs_no_training_split(own):
    train, test = folder_splits(own)
    assert len(train) + len(test) == 5
    (own / "val").mkdir()
    for part in ("images", "labels"):
        (own / part).rename(own / "val" / part)
    config = Config(data="folder", root=str(own)).resolved()
    assert len(load_split(config, "test")) == 5
    with pytest.raises(DataError, match=r"train/images is missing"):
        load_splits(config)


def write_cityscapes(root, labels):
    for kind in ("leftImg8bit", "gtFine"):
        (root / kind / "val" / "city").mkdir(parents=True)
    Image.fromarray(RGB).save(root / "leftImg8bit" / "val" / "city" / "a_leftImg8bit.png")
    Image.fromarray(labels).save(root / "gtFine" / "val" / "city" / "a_gtFine_instanceIds.png")


def test_instance_ids_of_cityscapes_need_16_bits(tmp_path):
    write_cityscapes(tmp_path, np.full((4, 6), 26001 % 256, np.uint8))
    with pytest.raises(DataError, match=r"a_gtFine_instanceIds\.png has 8 bits \(mode L\), .* save it with 16"):
        Cityscapes(tmp_path, "val")[0]


def test_cityscapes_skips_hidden_files_and_refuses_one_name_twice(tmp_path):
    write_cityscapes(tmp_path, np.full((4, 6), 26001, np.uint16))
    folder = tmp_path / "leftImg8bit" / "val"
    (folder / "city" / "._a_leftImg8bit.png").write_bytes(b"\x00")
    assert len(Cityscapes(tmp_path, "val")[0].segments) == 1
    (folder / "other").mkdir()
    Image.fromarray(RGB).save(folder / "other" / "a_leftImg8bit.png")
    with pytest.raises(DataError, match=r"city/a_leftImg8bit\.png and .*other/a_leftImg8bit\.png have one name"):
        Cityscapes(tmp_path, "val")


def test_cityscapes_json_is_checked_as_coco_is(tmp_path):
    write_cityscapes(tmp_path, np.full((4, 6), 26001, np.uint16))
    (tmp_path / "gtFine" / "val" / "city" / "a_gtFine_instanceIds.png").unlink()
    (tmp_path / "gtFine" / "cityscapes_panoptic_val").mkdir()
    Image.fromarray(RGB[..., 0]).save(tmp_path / "gtFine" / "cityscapes_panoptic_val" / "a.png")
    path = tmp_path / "gtFine" / "cityscapes_panoptic_val.json"
    segments = [{"id": 300, "category_id": 26}]
    annotation = {"image_id": "a", "file_name": "a.png", "segments_info": segments}
    for annotations, message in (
        ([annotation], r"a\.png must be an RGB image, got mode L"),
        ([annotation, annotation], "two annotations name the image 'a'"),
        ([{**annotation, "segments_info": segments * 2}], "two segments have the id 300"),
        ([{**annotation, "segments_info": [{"id": 300, "category_id": "26"}]}], "must be an integer, got '26'"),
    ):
        path.write_text(json.dumps({"annotations": annotations}))
        with pytest.raises(DataError, match=message):
            Cityscapes(tmp_path, "val")[0]
