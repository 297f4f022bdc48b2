"""Segment an image with an exported network: onnxruntime for the costs, diffcomb for the cut, and no torch.

    python examples/panoptic_cops/export_onnx.py CHECKPOINT --out model.onnx --pixels true
    python examples/panoptic_cops/predict_onnx.py model.onnx IMAGE SEGMENTS.png

The PNG holds the ids of the segments, R + 256 G + 256² B, as predict.py writes them. This is an example to copy from:
it reads one picture of 8 or 16 bits a file.
"""

import contextlib
import json
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from diffcomb import amwc, grid_graph


def refuse(message: str) -> None:
    """End with one line and the exit status 2."""
    print(f"predict_onnx.py: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def using(what: str) -> Iterator[None]:
    """Say in one line which file is missing or wrong."""
    try:
        yield
    except Exception as error:  # onnxruntime and Pillow raise nearly everything
        refuse(f"{what} cannot be used: {type(error).__name__}: {error}")


with using('onnxruntime (pip install "diffcomb[onnx]")'):
    import onnxruntime
if len(sys.argv) != 4:
    refuse("give three files: predict_onnx.py MODEL.onnx IMAGE SEGMENTS.png")

network, path, out = sys.argv[1:]
with using(f"the model {network}"):
    session = onnxruntime.InferenceSession(network)
    model = json.loads(session.get_modelmeta().custom_metadata_map["diffcomb"])
with using(f"the image {path}"), Image.open(path) as file:
    file = ImageOps.exif_transpose(file)
    wide = file.mode[0] in "IF"  # more than 8 bits: stretched from its own range
    image = np.asarray(file if wide else file.convert("RGB")).astype(float)
height, width = image.shape[:2]
image = np.broadcast_to(image.reshape(height, width, -1), (height, width, 3))
if model["normalize"] == "percentile" or wide:
    ends = np.percentile(image, (1, 99.8) if model["normalize"] == "percentile" else (0, 100), axis=(0, 1))
    low, high = np.where(ends[0] == ends[1], (image.min((0, 1)), image.max((0, 1))), ends)
    image = np.rint(np.clip((image - low) * (255 / np.maximum(high - low, 1e-9)), 0, 255))
padding = [(0, -n % model["divisor"]) for n in (height, width)]
batch = np.float32((np.pad(image, [*padding, (0, 0)], mode="edge").transpose(2, 0, 1)[None] - 127.5) / 60)
rows, columns = (-(-n // model["stride"]) for n in (height, width))
class_costs, edge_costs = (costs[0, :, :rows, :columns] for costs in session.run(None, {"images": batch}))
graph = grid_graph((rows, columns), model["offsets"])
nodes = class_costs.reshape(len(class_costs), -1).T
found = amwc(graph, nodes, graph.edge_values(edge_costs, "center"), model["partitionable"], **model["options"])
classes = np.zeros(found.clusters.max() + 1, int)  # of every cluster
classes[found.clusters] = found.node_labels
clusters = np.kron(found.clusters.reshape(rows, columns), np.ones((model["stride"],) * 2, int))[:height, :width]
keep = np.bincount(clusters.ravel(), minlength=len(classes)) >= np.maximum(1, np.array(model["thresholds"])[classes])
ids = np.where(keep, keep.cumsum(), 0)[clusters]  # 0 is void: segments that are too small
with using(f"the file {out}"):
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 256**2], 2).astype(np.uint8)).save(out)
for number, category in enumerate(classes[keep], start=1):
    print(number, model["categories"][category]["name"], (ids == number).sum(), "pixels")
