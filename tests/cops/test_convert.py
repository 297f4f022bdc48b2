"""Converters to the own-data folder: shapes that are drawn here come back from the folder's reader."""

import base64
import io
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from annotation_files import (
    HEXAGON,
    SIZE,
    SQUARE,
    coco,
    cvat,
    disc,
    element,
    flat,
    inside,
    joined,
    labelme,
    numbers,
    read,
    run,
    shape,
    square,
    within_a_pixel,
    write_image,
)
from cops.convert.layout import Layout
from cops.convert.shapes import window
from cops.data.folder import Folder
from PIL import Image
from pycocotools import mask as mask_tools


def test_labelme_shapes_come_back(tmp_path, capsys):
    mask = disc(7, 5, 4)[:10, :14]
    png = io.BytesIO()
    Image.fromarray(mask).save(png, "PNG")
    masked = shape("nut", [[44.0, 28.0], [57, 37]], "mask", mask=base64.b64encode(png.getvalue()).decode())
    labelme(tmp_path / "in", "a", [
        shape("screw", [[20, 16], [5, 6]], "rectangle"), shape("screw", HEXAGON),
        shape("nut", [[15, 29], [15, 35]], "circle"), masked, shape("hole", [[1, 1]], "point"),
    ])  # fmt: skip
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "wrote 1 images with labels" in out
    assert "nut 2, screw 2" in out
    assert "left out 1 shapes without an area (point): " in out
    nuts, screws = ([m for label, _, m in read(tmp_path / "out")["a"] if label == name] for name in ("nut", "screw"))
    assert square(screws[0])
    assert within_a_pixel(screws[1], inside(HEXAGON))
    np.testing.assert_array_equal(nuts[0], disc(15, 29, 6))
    np.testing.assert_array_equal(nuts[1][28:38, 44:58], mask)
    assert nuts[1].sum() == mask.sum()


def test_labelme_groups_are_one_instance_and_stuff_lies_below(tmp_path):
    wall = [[0, 0], [60, 0], [60, 40], [0, 40]]
    labelme(tmp_path / "in", "a", [shape("bolt", SQUARE, group=3), shape("bolt", HEXAGON, group=3),
                                   shape("bolt", [[52, 30], [58, 36]], "rectangle"), shape("wall", wall)])  # fmt: skip
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out", "--stuff", "wall") == 0
    found = read(tmp_path / "out")["a"]
    bolts = sorted((m for label, _, m in found if label == "bolt"), key=np.sum)
    assert [int(m.sum()) for m in bolts] == [36, bolts[1].sum()]
    assert bolts[1][10, 10]
    assert bolts[1][15, 40]
    (rest,) = [m for label, _, m in found if label == "wall"]
    np.testing.assert_array_equal(rest, ~(bolts[0] | bolts[1]))
    labelme(tmp_path / "bad", "a", [shape("bolt", SQUARE, group=3), shape("wall", HEXAGON, group=3)])
    assert run("labelme", tmp_path / "bad", "--out", tmp_path / "other") == 2


def test_labelme_shapes_without_a_type_are_polygons(tmp_path):
    labelme(tmp_path / "in", "a", [shape("screw", SQUARE, kind=None)])
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert square(read(tmp_path / "out")["a"][0][2])


@pytest.mark.parametrize("name", ["/gone/a.png", "C:\\gone\\a.png"])
def test_labelme_images_of_another_computer_are_found_by_their_names(name, tmp_path):
    labelme(tmp_path / "in", "a", [shape("screw", SQUARE)], imagePath=name)
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "one") == 0
    (tmp_path / "images").mkdir()
    (tmp_path / "in" / "a.png").rename(tmp_path / "images" / "a.png")
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "two") == 2
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "two", "--images", tmp_path / "images") == 0


def test_labelme_image_at_an_absolute_path_is_taken(tmp_path):
    image = write_image(tmp_path / "elsewhere" / "b.png")
    labelme(tmp_path / "in", "a", [shape("screw", SQUARE)], imagePath=str(image))
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == image.read_bytes()


def test_coco_polygons_and_run_lengths_come_back(tmp_path):
    packed = mask_tools.encode(np.asfortranarray(disc(15, 29, 6).astype(np.uint8)))
    packed = {"size": list(SIZE), "counts": packed["counts"].decode()}
    corner = np.zeros(SIZE, bool)
    corner[:4, 50:] = True
    runs = corner.ravel(order="F").astype(int)
    starts = np.flatnonzero(np.diff(runs, prepend=0, append=-1)).tolist()
    counts = np.diff([0, *starts]).tolist()
    path = coco(tmp_path / "in", [
        {"segmentation": [flat(SQUARE)]}, {"segmentation": packed},
        {"segmentation": {"size": list(SIZE), "counts": counts}, "iscrowd": 1},
        {"segmentation": [flat(HEXAGON), [52, 30, 58, 30, 58, 36, 52, 36]]},
        {"segmentation": [[0, 30, 60, 30, 60, 40, 0, 40]], "category_id": 20},
    ])  # fmt: skip
    assert run("coco", path, "--out", tmp_path / "out", "--stuff", "floor") == 0
    found = read(tmp_path / "out")["sub_a"]
    cells = {int(m.sum()): (crowd, m) for label, crowd, m in found if label == "cell"}
    assert square(cells[150][1])
    np.testing.assert_array_equal(cells[disc(15, 29, 6).sum()][1], disc(15, 29, 6))
    np.testing.assert_array_equal(cells[40][1], corner)
    assert [crowd for crowd, _ in cells.values()].count(True) == 1
    assert cells[40][0]
    two = max(cells.values(), key=lambda pair: pair[1].sum())[1]
    assert two[33, 55]
    assert two[15, 40]
    assert sum(label == "floor" for label, _, _ in found) == 1
    assert (tmp_path / "out" / "images" / "sub_a.jpg").read_bytes() == (tmp_path / "in" / "sub" / "a.jpg").read_bytes()


def test_smaller_coco_instances_lie_above_larger_ones(tmp_path):
    inner = [[8, 8], [12, 8], [12, 12], [8, 12]]
    path = coco(tmp_path / "in", [{"segmentation": [flat(inner)]}, {"segmentation": [flat(SQUARE)]}])
    assert run("coco", path, "--out", tmp_path / "out") == 0
    assert sorted(m.sum() for _, _, m in read(tmp_path / "out")["sub_a"]) == [16, 150 - 16]


def test_cvat_shapes_come_back(tmp_path):
    window = disc(7, 5, 4)[:10, :14]
    runs = np.flatnonzero(np.diff(window.ravel().astype(int), prepend=0)).tolist()
    rle = np.diff([0, *runs, window.size]).tolist()
    path = cvat(tmp_path / "in", [
        element("box", "screw", xtl=5, ytl=6, xbr=20, ybr=16), element("polygon", "screw", points=joined(HEXAGON)),
        element("ellipse", "nut", cx=15, cy=29, rx=6, ry=6),
        element("mask", "nut", rle=", ".join(map(str, rle)), left=44, top=28, width=14, height=10),
        element("box", "nut", xtl=24, ytl=30, xbr=34, ybr=34, rotation=90), element("points", "nut", points="1,1"),
    ])  # fmt: skip
    assert run("cvat", path, "--out", tmp_path / "out") == 0
    found = read(tmp_path / "out")["a"]
    screws, nuts = ([m for label, _, m in found if label == name] for name in ("screw", "nut"))
    assert square(screws[0])
    assert within_a_pixel(screws[1], inside(HEXAGON))
    np.testing.assert_array_equal(nuts[0], disc(15, 29, 6))
    np.testing.assert_array_equal(nuts[1][28:38, 44:58], window)
    turned = np.zeros(SIZE, bool)
    turned[27:37, 27:31] = True
    assert within_a_pixel(nuts[2], turned)


def test_cvat_layers_and_groups(tmp_path):
    above = element("box", "screw", xtl=0, ytl=0, xbr=10, ybr=10, z_order=1)
    path = cvat(tmp_path / "in", [above, element("box", "nut", xtl=0, ytl=0, xbr=20, ybr=20, group_id=4),
                                  element("box", "nut", xtl=30, ytl=0, xbr=40, ybr=20, group_id=4)])  # fmt: skip
    assert run("cvat", path, "--out", tmp_path / "out") == 0
    assert sorted((label, m.sum()) for label, _, m in read(tmp_path / "out")["a"]) == [("nut", 500), ("screw", 100)]


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a_masks.png", "a_cp_masks.tif", "a_cp_masks.png", "a_seg.npy"])
@pytest.mark.parametrize("together", [True, False])
def test_masks_of_stardist_and_cellpose_come_back(name, together, tmp_path):
    images, masks = tmp_path / "images", tmp_path / ("images" if together else "masks")
    write_image(images / "a.jpg")
    masks.mkdir(exist_ok=True)
    if name.endswith(".npy"):
        content = {
            "masks": numbers(),
            "filename": "a.jpg",
            "flows": [np.zeros((2, 2), np.float32)],
            "diameter": np.float32(3),
        }
        np.save(masks / name, content)
    else:
        Image.fromarray(numbers(kind=np.int32 if name.endswith("tif") else np.uint16)).save(masks / name)
    (masks / "a_flows.tif").write_bytes(b"not read")
    arguments = ["masks", masks, "--out", tmp_path / "out", *([] if together else ["--images", images])]
    if together and Path(name).stem == "a":
        assert run(*arguments) == 2  # which of the two is the image?
        return
    assert run(*arguments) == 0
    found = read(tmp_path / "out")["a"]
    assert [label for label, _, _ in found].count("cell") == 3
    for value in (2, 9, 16):
        assert any((m == (numbers() == value)).all() for label, _, m in found if label == "cell")
    (ground,) = [m for label, _, m in found if label == "background"]
    np.testing.assert_array_equal(ground, numbers() == 0)


def test_masks_without_background_leave_void(tmp_path):
    write_image(tmp_path / "a.png")
    Image.fromarray(numbers()).save(tmp_path / "a_masks.png")
    assert run("masks", tmp_path, "--out", tmp_path / "out", "--thing", "nucleus", "--background", "") == 0
    data = Folder(tmp_path / "out")
    assert [(c.id, c.name, c.isthing) for c in data.categories] == [(1, "nucleus", True)]
    np.testing.assert_array_equal(data[0].ids == 0, numbers() == 0)


@pytest.mark.parametrize(("separate", "warned"), [(3, True), (1, False)])
def test_masks_of_one_number_in_several_parts_are_warned_of(separate, warned, tmp_path, capsys):
    write_image(tmp_path / "a.png")
    Image.fromarray((numbers(separate) > 0).astype(np.uint8)).save(tmp_path / "a_masks.png")
    assert run("masks", tmp_path, "--out", tmp_path / "out") == 0
    said = "warning: 1 masks that hold only 0 and 1, in several separate parts, which become one instance (if they are"
    out = capsys.readouterr().out
    assert (said in out, "a_masks.png" in out) == (warned, warned)


def test_pickled_code_is_not_run(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    write_image(tmp_path / "a.png")
    np.save(tmp_path / "a_seg.npy", {"masks": numbers(), "more": Trap()}, allow_pickle=True)
    assert pickle.loads(pickle.dumps(Trap())) is None  # it works where pickles are trusted
    (tmp_path / "ran").unlink()
    assert run("masks", tmp_path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'a_seg.npy'}: " in error
    assert "which is not read: export the masks as PNG" in error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "options", [("--thing", "background"), ("--thing", ""), ("--thing", "sky", "--background", "sky")]
)
def test_class_of_masks_is_one_of_its_own(tmp_path, capsys, options):
    write_image(tmp_path / "a.png")
    Image.fromarray(numbers().astype(np.uint8)).save(tmp_path / "a_masks.png")
    assert run("masks", tmp_path, "--out", tmp_path / "out", *options) == 2
    assert "--thing must be the name of a class other than --background" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rle", ["", "-2,14"])
def test_run_lengths_of_cvat_are_numbers_from_zero_on(tmp_path, capsys, rle):
    path = cvat(tmp_path / "in", [element("mask", "nut", rle=rle, left=4, top=8, width=4, height=3)])
    assert run("cvat", path, "--out", tmp_path / "out") == 2
    assert f"run lengths must be numbers from 0 on, got {rle!r}" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "classes", "suffix", "divisor"), [(3, 2, ".png", 1000), (1500, 2, ".png", 2000),
                                                                      (600, 80, ".tif", 1000), (3, 80, ".png", 500)])  # fmt: skip
def test_many_instances_and_classes_find_room_in_labels(count, classes, suffix, divisor, tmp_path):
    size = (40, 60)
    write_image(tmp_path / "in" / "a.png", size)
    boxes = [[x, y, x + 1, y, x + 1, y + 1, x, y + 1] for y in range(40) for x in range(60)][:count]
    images = ({"id": 1, "file_name": "a.png"},)
    names = [f"class{k}" for k in range(classes)]
    path = coco(tmp_path / "in", [{"segmentation": [box]} for box in boxes], images, names)
    assert run("coco", path, "--out", tmp_path / "out") == 0
    assert [p.suffix for p in (tmp_path / "out" / "labels").iterdir()] == [suffix]
    assert json.loads((tmp_path / "out" / "classes.json").read_text())["divisor"] == divisor
    (found,) = read(tmp_path / "out").values()
    assert len(found) == count
    assert all(m.sum() == 1 for _, _, m in found)


def test_shapes_beyond_the_image_are_cut_and_hidden_ones_reported(tmp_path, capsys):
    beyond = [[50, 30], [90, 30], [90, 70], [50, 70]]
    labelme(tmp_path / "in", "a", [
        shape("a", beyond), shape("a", [[-9, -9], [4, 4]], "rectangle"), shape("a", [[100, 100], [120, 120]], "rectangle"),
        shape("a", [[200, 3], [200, 5]], "circle"), shape("a", [[24, 24], [26, 26]], "rectangle"),
        shape("a", [[20, 20], [30, 30]], "rectangle"),
    ])  # fmt: skip
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert sorted(int(m.sum()) for _, _, m in read(tmp_path / "out")["a"]) == [16, 100, 100]
    out = capsys.readouterr().out
    assert "left out 3 instances without a pixel" in out


def test_images_without_annotation_are_left_out_unless_there_is_a_background(tmp_path, capsys):
    labelme(tmp_path / "in", "a", [shape("bolt", SQUARE)])
    labelme(tmp_path / "in", "b", [])
    write_image(tmp_path / "in" / "c.png")
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "one") == 0
    assert set(read(tmp_path / "one")) == {"a"}
    out = capsys.readouterr().out
    assert "left out 1 images without annotation (" in out
    assert "left out 1 images without an annotation file: " in out
    assert "c.png" in out
    assert run("labelme", tmp_path / "in", "--out", tmp_path / "two", "--background", "bench") == 0
    assert {name: [label for label, _, _ in found] for name, found in read(tmp_path / "two").items()} == {
        "a": ["bench", "bolt"], "b": ["bench"]}  # fmt: skip


def test_void_labels_and_the_order_of_classes(tmp_path):
    labelme(tmp_path / "in", "a", [shape("bolt", SQUARE), shape("ignore", HEXAGON)])
    assert (
        run("labelme", tmp_path / "in", "--out", tmp_path / "out", "--classes", "nut", "bolt", "--void", "ignore") == 0
    )
    assert [(c.id, c.name) for c in Folder(tmp_path / "out").categories] == [(1, "nut"), (2, "bolt")]
    assert [label for label, _, _ in read(tmp_path / "out")["a"]] == ["bolt"]


def test_labels_have_32_bits_where_the_largest_class_needs_them():
    """Not the number of classes decides: an existing classes.json may number them with gaps."""
    assert Layout({"a": 1, "b": 64}, set(), 1000).suffix == ".png"
    assert Layout({"a": 1, "b": 70}, set(), 1000).suffix == ".tif"


@pytest.mark.parametrize(("left", "top"), [(0, 0), (-40, 10), (350, 390), (500, 0), (-300, -300)])
def test_masks_of_annotations_keep_their_pixels_in_little_memory(left, top):
    """All annotations of a data set are in memory at the same time."""
    rng = np.random.default_rng(0)
    mask = np.repeat(np.repeat(rng.random((5, 6)) < 0.5, 50, 0), 50, 1)
    tracemalloc.start()
    drawn = [window(mask, left, top) for _ in range(50)]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 0.1 * 50 * mask.size
    expected = np.zeros((1200, 1200), bool)
    expected[300 + top : 300 + top + 250, 300 + left : 300 + left + 300] = mask
    found = np.zeros((400, 400), bool)
    part, inside = drawn[0]((400, 400))
    found[part] = inside
    np.testing.assert_array_equal(found, expected[300:700, 300:700])


def test_an_empty_mask_of_an_annotation_covers_nothing():
    part, inside = window(np.zeros((0, 3), bool), 1, 1)((4, 4))
    assert inside.size == 0
    assert np.zeros((4, 4))[part].shape == inside.shape
