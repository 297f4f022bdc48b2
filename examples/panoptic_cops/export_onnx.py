"""Export the network of a trained model to ONNX: images in, class costs and edge costs out.

    python examples/panoptic_cops/export_onnx.py runs/scenes/checkpoints/full.pt --out full.onnx

Input "images", (B, 3, H, W) float32: (grey values 0 to 255 - 127.5) / 60, H and W multiples of the network's divisor.
Outputs "class_costs" (B, K, h, w) and "edge_costs" (B, O, h, w) are what diffcomb.amwc solves for on the grid; batch,
height and width may differ from call to call. With --pixels true, H and W are any numbers, and the costs are those that
a cut on pixels solves for, interpolated to (H, W).

The file's metadata "diffcomb" (JSON) say how the images are normalised, and what the cut and the rejection of small
segments need; see predict_onnx.py.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cops.model.checkpoints import CheckpointError, load_model
from cops.model.segmenter import Segmenter
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.nn import functional as F

OPSET = 17
METADATA = "diffcomb"  # their name in the file


class Costs(nn.Module):
    """The part of a model before the solver."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.network, self.scaling = model.network, model.scaling

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        class_costs, edge_costs = self.scaling(self.network(images))
        return class_costs, edge_costs


class PixelCosts(nn.Module):
    """The same for a cut on pixels: images of any size are padded, and the costs interpolated to their pixels."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model, self.costs = model, Costs(model)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        divisor, stride = self.model.network.divisor, self.model.stride
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % divisor, 0, -height % divisor), mode="replicate")
        rows, columns = ((n + stride - 1) // stride for n in (height, width))
        maps = [m[..., :rows, :columns] for m in self.costs(padded)]
        class_costs, edge_costs = self.model.to_pixels(*maps, (height, width))
        return class_costs, edge_costs


def main(arguments: list[str] | None = None) -> None:
    """Export one checkpoint."""
    parser = ArgumentParser(description="Export the network of a trained model to ONNX.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("cops.onnx"))
    parser.add_argument("--size", type=int, default=128, help="height and width of the image that is traced")
    parser.add_argument("--pixels", type=bool, default=False, help="costs of pixels, not of the network's grid")
    o = parser.parse_args(arguments)
    try:
        export(o.checkpoint, o.out, o.size, o.pixels)
    except (CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"export_onnx.py: error: {error}\n")


def export(checkpoint: Path, out: Path, size: int, pixels: bool = False) -> None:
    """Trace the network on an image of that size and write it."""
    try:
        import onnx
    except ImportError:
        raise ValueError('ONNX is not installed: pip install "diffcomb[onnx]"') from None
    model, _ = load_model(checkpoint)
    divisor = model.network.divisor
    if size < divisor or size % divisor:
        raise ValueError(f"size must be a positive multiple of {divisor}, got {size}")
    network = PixelCosts(model) if pixels else Costs(model)
    names = ["images", "class_costs", "edge_costs"]
    axes = {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in names}
    out.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter by tracing needs no further package, and says it is the old one
        torch.onnx.export(
            network.eval(), (torch.zeros(1, 3, size, size),), str(out), input_names=names[:1],
            output_names=names[1:], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    exported = onnx.load(out)
    exported.metadata_props.add(key=METADATA, value=json.dumps(metadata(model, pixels)))
    onnx.save(exported, out)
    print(f"wrote {out} (opset {OPSET}, {out.stat().st_size / 1e6:.1f} MB)")


def metadata(model: Segmenter, pixels: bool) -> dict[str, Any]:
    """What a program without this one needs, from an image to its segments."""
    layer = model.pixel_layer if pixels else model.layer
    return {
        "normalize": model.normalize,
        "divisor": 1 if pixels else model.network.divisor,
        "stride": 1 if pixels else model.stride,
        "offsets": layer.offsets,
        "partitionable": layer.partitionable,
        "options": model.options,
        "thresholds": model.thresholds.tolist(),
        "categories": [asdict(category) for category in model.categories],
    }


if __name__ == "__main__":
    main()
