"""Helpers for the tests of the example: small images and predictions, and the contents of a folder of predictions."""

import csv
import json

import numpy as np
from cops.data.output_files import read_id_png
from cops.data.samples import Prediction, Segment
from PIL import Image


def picture(path, seed=0, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return path


def listed(out):
    """Annotations of panoptic.json by the name of their PNG, after a check that list, annotations and PNGs agree."""
    content = json.loads((out / "panoptic.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    assert len(images) == len(content["images"]) == len(content["annotations"])
    with open(out / "segments.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for annotation in content["annotations"]:
        ids = read_id_png(out / annotation["file_name"])
        image = images[annotation["image_id"]]
        assert ids.shape == (image["height"], image["width"])
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
        name = annotation["file_name"].removesuffix("_panoptic.png")
        found = [(int(row["id"]), int(row["area"])) for row in rows if row["image"] == name]
        assert found == [(s["id"], s["area"]) for s in annotation["segments_info"]]
    return {a["file_name"].removesuffix("_panoptic.png"): images[a["image_id"]] for a in content["annotations"]}


def pngs(out):
    return {p.relative_to(out).as_posix().removesuffix("_panoptic.png") for p in out.rglob("*_panoptic.png")}


def prediction(ids, segments):
    ids = np.asarray(ids, np.int64)
    none = np.zeros(0)
    return Prediction(
        ids, tuple(Segment(*s) for s in segments), tuple(0.5 * s[0] for s in segments), ids, none, none, none
    )
