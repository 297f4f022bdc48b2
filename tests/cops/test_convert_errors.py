"""Annotations that cannot be converted: every error names the file, and nothing is written."""

import json
import re

import numpy as np
import pytest
from annotation_files import HEXAGON, SIZE, SQUARE, coco, cvat, element, labelme, numbers, run, shape, write_image
from cops.convert.coco import unpacked
from PIL import Image
from pycocotools import mask as mask_tools


def one(tmp_path, *shapes, **more):
    return ["labelme", labelme(tmp_path / "in", "a", list(shapes), **more)]


def broken_json(tmp_path, text):
    labelme(tmp_path / "in", "a", [])
    (tmp_path / "in" / "a.json").write_text(text)
    return ["labelme", tmp_path / "in"]


def two_annotations(tmp_path):
    arguments = one(tmp_path, shape("x", SQUARE))
    (tmp_path / "in" / "b.json").write_text((tmp_path / "in" / "a.json").read_text())
    return arguments


def two_images(tmp_path):
    labelme(tmp_path / "in", "a_b", [shape("x", SQUARE)])
    labelme(tmp_path / "in" / "a", "b", [shape("x", SQUARE)])
    return ["labelme", tmp_path / "in"]


def without_image(arguments, name):
    folder = arguments[1] if arguments[1].is_dir() else arguments[1].parent
    (folder / name).unlink()
    return arguments


def masks(tmp_path, **files):
    for name, values in files.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    return ["masks", tmp_path]


def changed(tmp_path, part, **fields):
    """A COCO file with a polygon, and other fields in the first entry of a part of it."""
    path = coco(tmp_path, [POLYGON])
    content = json.loads(path.read_text())
    content[part][0].update(fields)
    path.write_text(json.dumps(content))
    return path


def mask(**more):
    return element("mask", "nut", **{"rle": "1, 9", "left": 0, "top": 0, "width": 4, "height": 4, **more})


BOX = element("box", "screw", xtl=5, ytl=6, xbr=20, ybr=16)
POLYGON = {"segmentation": [[5, 6, 20, 6, 20, 16]]}
GREY = np.zeros((*SIZE, 3), np.uint8)
ERRORS = {
    "empty file": (lambda t: broken_json(t, ""), r"a\.json is not valid JSON"),
    "no labelme": (lambda t: broken_json(t, "{}"), r"a\.json lacks the list 'shapes'"),
    "no annotation": (lambda t: ["labelme", write_image(t / "in" / "a.png").parent], "holds no labelme annotation"),
    "labelme image": (lambda t: without_image(one(t), "a.png"), r"a\.json: the image .*a\.png is missing: put it there"),
    "two points": (lambda t: one(t, shape("x", SQUARE[:2])), r"a\.json, shape 1: a polygon needs at least three points"),
    "text": (lambda t: one(t, shape("x", [["1", 2], [3, 4], [5, 6]])), r"a\.json, shape 1: a point must be two numbers"),
    "far": (lambda t: one(t, shape("x", [[1e9, 2], [3, 4], [5, 6]])), r"shape 1: a point must be two numbers of pixels"),
    "nan": (lambda t: one(t, shape("x", [[float("nan"), 2], [3, 4], [5, 6]])), r"shape 1: a point must be two numbers"),
    "no label": (lambda t: one(t, shape(" ", SQUARE)), r"a\.json, shape 1: a label must be a text"),
    "kind": (lambda t: one(t, shape("x", SQUARE, "cube")), r"a\.json, shape 1: the shape type 'cube' is not known"),
    "no mask": (lambda t: one(t, shape("x", [[1, 2], [3, 4]], "mask")), r"shape 1: 'mask' must be a PNG in base64"),
    "point": (lambda t: one(t, shape("x", [[1, 2], [1, 2]], "circle")), r"the radii of a circle .* must be positive"),
    "size": (lambda t: one(t, shape("x", SQUARE), imageHeight=60, imageWidth=40), r"40x60 pixels, but .*a\.png has 60x40; one"),
    "capitals": (lambda t: one(t, shape("x", SQUARE), shape("X", HEXAGON)), "the classes 'X' and 'x' differ in capitals"),
    "unknown": (lambda t: [*one(t, shape("x", SQUARE)), "--classes", "y"], r"a\.json: the label 'x' is unknown to --classes"),
    "twice": (lambda t: [*one(t, shape("x", SQUARE)), "--classes", "x", "x"], "the class 'x' is named twice"),
    "stuff": (lambda t: [*one(t, shape("x", SQUARE)), "--stuff", "y"], "--stuff names 'y', which is none of the classes"),
    "nothing": (one, "there is no annotated image"),
    "annotated twice": (two_annotations, r"a\.json and .*b\.json both annotate .*a\.png: keep one"),
    "one name": (two_images, "would both get the name a_b"),
    "group": (lambda t: one(t, shape("x", SQUARE, group=[1])), r"a\.json, shape 1: 'group_id' must be an integer or a text"),
    "kinds": (lambda t: one(t, shape("x", SQUARE, ["polygon"])), r"a\.json, shape 1: the shape type \['polygon'\] is not known"),
    "far mask": (lambda t: one(t, shape("x", [[1e400, 2], [3, 4]], "mask")), r"a\.json, shape 1: a point must be two numbers"),
    "large circle": (lambda t: one(t, shape("x", [[10**400, 2], [3, 4]], "circle")), r"shape 1: a point must be two numbers"),
    "large size": (lambda t: one(t, shape("x", SQUARE), imageHeight=400_000, imageWidth=400_000), r"400000x400000 pixels cannot"),
    "digits": (lambda t: broken_json(t, '{"shapes": ' + "9" * 5000 + "}"), r"a\.json is not valid JSON"),
    "no name": (lambda t: one(t, shape("x", SQUARE), imagePath="."), r"a\.json: 'imagePath' must be the name of a file, got '\.'"),
    "long name": (lambda t: one(t, shape("x", SQUARE), imagePath="a" * 300), r"a\.json: the image .* is missing: put it there"),
    "elsewhere": (lambda t: one(t, shape("x", SQUARE), imagePath="C:\\gone\\b.png"),
                  r"a\.json: the image C:\\gone\\b\.png is missing \(also tried: .*in/b\.png\): put it there"),
    "coco image": (lambda t: without_image(["coco", coco(t, [POLYGON])], "sub/a.jpg"), r"image 1: the image .* is missing"),
    "coco box": (lambda t: ["coco", coco(t, [{"bbox": [1, 2, 3, 4]}])], "annotation 100 has no 'segmentation': boxes alone"),
    "coco odd": (lambda t: ["coco", coco(t, [{"segmentation": [[1, 2, 3]]}])], "annotation 100: a polygon must be a list"),
    "coco short": (lambda t: ["coco", coco(t, [{"segmentation": [[1, 2, 3, 4]]}])], "100: a polygon needs at least three"),
    "coco category": (lambda t: ["coco", coco(t, [{**POLYGON, "category_id": 7}])], "annotation 100: image 1 or category 7 is"),
    "coco crowd": (lambda t: ["coco", coco(t, [{**POLYGON, "iscrowd": "no"}])], "annotation 100 is malformed: 'iscrowd'"),
    "coco names": (lambda t: ["coco", coco(t, [POLYGON], categories=("a", "a"))], "two categories have the name 'a'"),
    "coco size": (lambda t: ["coco", coco(t, [{"segmentation": {"size": [4, 4], "counts": [16]}}])],
                  "annotation 100: run lengths are of the size"),
    "coco sum": (lambda t: ["coco", coco(t, [{"segmentation": {"size": [40, 60], "counts": [16]}}])],
                 "annotation 100: run lengths add up to 16 pixels, but the image has 2400"),
    "coco text": (lambda t: ["coco", coco(t, [{"segmentation": {"size": [40, 60], "counts": "abc"}}])],
                  "annotation 100: run lengths cannot be decoded"),
    "coco file": (lambda t: ["coco", changed(t, "images", file_name=["a"])], r"image 1: 'file_name' must be the name of a file"),
    "coco height": (lambda t: ["coco", changed(t, "images", height=None)], r"json, image 1: height and width must be positive"),
    "coco no size": (lambda t: ["coco", changed(t, "images", height=None, width=None)], r"image 1: 'height' and 'width' are missing"),
    "coco large": (lambda t: ["coco", changed(t, "images", height=400_000, width=400_000)], r"image 1: 400000x400000 pixels cannot"),
    "coco ids": (lambda t: ["coco", coco(t, [POLYGON, {**POLYGON, "id": 100}])], "json: two annotations have the id 100"),
    "no xml": (lambda t: ["cvat", without_xml(t)], r"annotations\.xml is not valid XML"),
    "video": (lambda t: ["cvat", without_xml(t, "<annotations><track/></annotations>")], "with tracks of a video"),
    "no images": (lambda t: ["cvat", without_xml(t, "<annotations></annotations>")], "lists no image"),
    "cvat image": (lambda t: ["cvat", cvat(t, [BOX], 'name="b.png" width="60" height="40"')], r"image 'b\.png': the image .*missing"),
    "cvat size": (lambda t: ["cvat", cvat(t, [BOX], 'name="a.png" width="61" height="40"')], r"61x40 pixels, but .* has 60x40$"),
    "cvat label": (lambda t: ["cvat", cvat(t, [element("box", "bolt", xtl=5, ytl=6, xbr=20, ybr=16)])],
                   r"shape 1 \(box\): the label 'bolt' is not listed"),
    "cvat labels": (lambda t: ["cvat", cvat(t, [BOX], labels=("screw", "screw"))], "two labels have the name 'screw'"),
    "cvat lacks": (lambda t: ["cvat", cvat(t, [element("box", "screw", xtl=5)])], r"shape 1 \(box\) is malformed: 'ytl' is missing"),
    "cvat runs": (lambda t: ["cvat", cvat(t, [element("mask", "screw", rle="1, 9", left=0, top=0, width=3, height=3)])],
                  "run lengths add up to 10 pixels, but the window has 3x3"),
    "cvat far mask": (lambda t: ["cvat", cvat(t, [mask(left="1e400")])], r"shape 1 \(mask\): a point must be two numbers"),
    "cvat large mask": (lambda t: ["cvat", cvat(t, [mask(width=400_000, height=400_000)])],
                        r"shape 1 \(mask\): 400000x400000 pixels cannot be right"),
    "cvat rotation": (lambda t: ["cvat", cvat(t, [element("ellipse", "nut", cx=15, cy=29, rx=6, ry=6, rotation="inf")])],
                      r"shape 1 \(ellipse\): a rotation must be a number of degrees, got inf"),
    "cvat encoding": (lambda t: ["cvat", without_xml(t, '<?xml version="1.0" encoding="x"?><annotations/>')], "is not valid XML"),
    "cvat name": (lambda t: ["cvat", cvat(t, [BOX], 'name="." width="60" height="40"')], r"image '\.': 'name' must be the name"),
    "no pair": (lambda t: masks(t, b_masks=numbers(), a=GREY), r"b_masks\.png has no image of the name b"),
    "two masks": (lambda t: masks(t, a_masks=numbers(), a_cp_masks=numbers(), a=GREY), "are masks of one image"),
    "colours": (lambda t: masks(t, a_masks=GREY, a=GREY), r"a_masks\.png must have one channel"),
    "mask size": (lambda t: masks(t, a_masks=numbers()[1:], a=GREY), r"a_masks\.png: mask \(39, 60\) and image \(40, 60\)"),
    "binary": (lambda t: masks(t, a_masks=(numbers() > 0).astype(np.uint8) * 255, a=GREY), "holds only 0 and 255: number"),
    "no masks": (lambda t: masks(t, a=GREY), "holds no masks, named IMAGE_seg.npy or IMAGE and one of"),
    "file": (lambda t: ["coco", t], "must be a file for the format coco"),
    "gone": (lambda t: ["coco", t / "gone.json"], r"gone\.json does not exist"),
}  # fmt: skip


def without_xml(tmp_path, text=""):
    path = cvat(tmp_path, [])
    path.write_text(text)
    return path


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_file_and_write_nothing(case, tmp_path, capsys):
    make, message = ERRORS[case]
    arguments = make(tmp_path)
    assert run(*arguments, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("prepare_custom.py: error: ") == 1
    assert re.search(message, error.strip()), error
    assert not (tmp_path / "out" / "labels").exists()


def packed(values):
    return mask_tools.encode(np.asfortranarray(values))["counts"].decode()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[:-3], "run lengths add up to [0-9]+ pixels, but the image has 2400"),
        (lambda text: text[:5] + "1" + text[6:], "run lengths add up to [0-9]+ pixels, but the image has 2400"),
        (lambda text: text + "o", "the text is damaged: its last number is cut off"),
        (lambda text: text[:3] + " " + text[4:], "the text is damaged: letter 4, ' ', is wrong"),
        (lambda text: text + "o" * 9 + "0", "the text is damaged: letter [0-9]+, 'o', is wrong"),
        (lambda text: "O" + text, "the text is damaged: at letter 1, a run has the length -1"),
    ],
)
def test_damaged_texts_of_run_lengths_are_refused(damage, reason, tmp_path, capsys):
    """pycocotools decodes them to some other mask."""
    text = packed((numbers() > 0).astype(np.uint8))
    path = coco(tmp_path, [{"segmentation": {"size": list(SIZE), "counts": damage(text)}}])
    assert run("coco", path, "--out", tmp_path / "out") == 2
    assert re.search(rf"instances\.json, annotation 100: .*{reason}", capsys.readouterr().err)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_texts_of_run_lengths_are_unpacked_as_pycocotools_packs_them(share):
    values = (np.random.default_rng(0).random((300, 200)) < share).astype(np.uint8)
    values[:, 120:] = 1
    flat = values.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    assert unpacked(packed(values)) == np.diff(ends, prepend=0).tolist()
