"""The COCO panoptic format, from files that the tests write, and every way in which such files go wrong."""

import json

import numpy as np
import pytest
from cops.config import Config, Dataset
from cops.data.coco import CocoPanoptic, DataError, read_image
from cops.data.samples import Segment
from cops.data.splits import load_splits
from PIL import Image


@pytest.fixture
def root(tmp_path):
    """Two splits of three images in the official layout, with gaps in category ids, a crowd and large ids."""
    for split in ("train2017", "val2017"):
        write_split(tmp_path, split)
    return tmp_path


def write_split(root, split, count=3):
    labels = root / "annotations" / f"panoptic_{split}"
    labels.mkdir(parents=True)
    (root / split).mkdir()
    images, annotations = [], []
    for i in range(count):
        ids = np.zeros((6, 8), np.int64)
        ids[:3], ids[3:, :4], ids[5, 7] = 70_000 + i, 300, 2
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        Image.fromarray(rgb).save(labels / f"{i}.png")
        Image.fromarray(np.full((6, 8, 3), 10 * i, np.uint8)).save(root / split / f"{i}.jpg")
        images.append({"id": 100 + i, "file_name": f"{i}.jpg", "height": 6, "width": 8})
        info = [
            {"id": 70_000 + i, "category_id": 200, "iscrowd": 0},
            {"id": 300, "category_id": 3, "iscrowd": 0},
            {"id": 2, "category_id": 3, "iscrowd": 1},
        ]
        annotations.append({"image_id": 100 + i, "file_name": f"{i}.png", "segments_info": info})
    categories = [{"id": 3, "name": "cat", "isthing": 1, "color": [1, 2, 3]}, {"id": 200, "name": "sky", "isthing": 0}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))


def edit(root, change):
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_official_coco_panoptic_format_is_read(root):
    data = CocoPanoptic(root, "val")
    assert len(data) == 3
    assert [(c.id, c.name, c.isthing) for c in data.categories] == [(3, "cat", True), (200, "sky", False)]
    s = data[1]
    assert s.segments == (Segment(1, 1), Segment(2, 0), Segment(3, 0, True))
    assert s.ids[0, 0] == 1
    assert s.ids[4, 1] == 2
    assert s.ids[5, 7] == 3
    assert s.ids[4, 6] == 0
    assert s.image.shape == (6, 8, 3)
    assert s.class_map()[5, 7] == -1


def test_splits_are_disjoint_and_the_test_split_is_the_val_file(root):
    config = Config(data="coco", root=str(root), dataset=Dataset(validation=1)).resolved()
    splits = load_splits(config)
    assert [len(s) for s in splits] == [2, 1, 3]
    names = [{s[i].name for i in range(len(s))} for s in splits[:2]]
    assert not names[0] & names[1]
    assert splits.test.json_path.name == "panoptic_val2017.json"


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P"])
def test_images_of_every_kind_become_rgb(tmp_path, mode):
    path = tmp_path / "image.png"
    if mode == "I;16":
        Image.fromarray(np.linspace(100, 4000, 20).reshape(4, 5).astype(np.uint16)).save(path)
    else:
        Image.new(mode, (5, 4)).save(path)
    image = read_image(path)
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    if mode == "I;16":
        assert (image.min(), image.max()) == (0, 255)


def test_missing_folders_and_files_are_named(root, tmp_path):
    with pytest.raises(DataError, match=r"data folder .*nowhere does not exist \(--root\)"):
        CocoPanoptic(tmp_path / "nowhere", "val")
    with pytest.raises(DataError, match=r"must hold one panoptic_test\*\.json .*got none"):
        CocoPanoptic(root, "test")
    (root / "val2017" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"annotation of image 101: the file .*1\.jpg is missing"):
        CocoPanoptic(root, "val")
    (root / "annotations" / "panoptic_train2017" / "2.png").unlink()
    with pytest.raises(DataError, match=r"annotation of image 102: the file .*2\.png is missing"):
        CocoPanoptic(root, "train")
    with pytest.raises(DataError, match="give --root"):
        load_splits(Config(data="coco").resolved())


def test_truncated_images_are_refused(root):
    path = root / "val2017" / "0.jpg"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"0\.jpg cannot be read as an image"):
        CocoPanoptic(root, "val")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("categories"), "lacks the list 'categories'"),
        (lambda c: c["categories"][0].pop("isthing"), "a category is malformed: 'isthing' is missing"),
        (lambda c: c["images"][0].pop("file_name"), "an image is malformed: 'file_name' is missing"),
        (lambda c: c["annotations"][0].pop("segments_info"), "an annotation is malformed: 'segments_info' is missing"),
        (lambda c: c["annotations"][0]["segments_info"][0].pop("id"), "a segment lacks 'id' or 'category_id'"),
        (lambda c: c["annotations"][0].update(image_id=7), "annotations name image ids that 'images' lacks, e.g. 7"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=4), "unknown category id 4"),
        (lambda c: c["annotations"][0]["segments_info"].pop(1), "ids that segments_info lacks, e.g. 300"),
    ],
)
def test_malformed_annotations_are_named(root, change, message):
    edit(root, change)
    with pytest.raises(DataError, match=message):
        CocoPanoptic(root, "val")[0]


def test_sizes_must_agree_and_json_must_parse(root):
    Image.new("RGB", (3, 3)).save(root / "val2017" / "0.jpg")
    with pytest.raises(DataError, match="differ in size"):
        CocoPanoptic(root, "val")[0]
    (root / "annotations" / "panoptic_val2017.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        CocoPanoptic(root, "val")


def test_public_samples(data_root):
    data = CocoPanoptic(data_root / "coco_sample", "val")
    assert len(data.categories) == 133
    for i in range(len(data)):
        assert data[i].segments
    nuclei = CocoPanoptic(data_root / "nuclei", "val")
    assert nuclei[0].image.shape == (256, 256, 3)
