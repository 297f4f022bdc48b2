"""Export the network of a trained model to ONNX: images in, class costs and edge costs out.

    python examples/panoptic_cops/export_onnx.py runs/scenes/checkpoints/full.pt --out full.onnx

Input "images", (B, 3, H, W) float32: (grey values 0 to 255 - 127.5) / 60, H and W multiples of the network's divisor.
Outputs "class_costs" (B, K, h, w) and "edge_costs" (B, O, h, w) are what diffcomb.amwc solves for on the grid; batch,
height and width may differ from call to call.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from cops.model.checkpoints import CheckpointError, load_model
from cops.model.segmenter import Segmenter
from jsonargparse import ArgumentParser
from torch import Tensor, nn

OPSET = 17


class Costs(nn.Module):
    """The part of a model before the solver."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.network, self.scaling = model.network, model.scaling

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        class_costs, edge_costs = self.scaling(self.network(images))
        return class_costs, edge_costs


def main(arguments: list[str] | None = None) -> None:
    """Export one checkpoint."""
    parser = ArgumentParser(description="Export the network of a trained model to ONNX.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("cops.onnx"))
    parser.add_argument("--size", type=int, default=128, help="height and width of the image that is traced")
    o = parser.parse_args(arguments)
    try:
        export(o.checkpoint, o.out, o.size)
    except (CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"export_onnx.py: error: {error}\n")


def export(checkpoint: Path, out: Path, size: int) -> None:
    """Trace the network on an image of that size and write it."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ValueError('ONNX is not installed: pip install "diffcomb[onnx]"') from None
    model, _ = load_model(checkpoint)
    divisor = model.network.divisor
    if size < divisor or size % divisor:
        raise ValueError(f"size must be a positive multiple of {divisor}, got {size}")
    names = ["images", "class_costs", "edge_costs"]
    axes = {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in names}
    out.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter by tracing needs no further package, and says it is the old one
        torch.onnx.export(
            Costs(model).eval(), (torch.zeros(1, 3, size, size),), str(out), input_names=names[:1],
            output_names=names[1:], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    print(f"wrote {out} (opset {OPSET}, {out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
