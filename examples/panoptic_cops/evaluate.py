"""Score a trained model: exact PQ, SQ, RQ for all and for each class, boundary PQ, instance AP, mean IoU.

python examples/panoptic_cops/evaluate.py runs/scenes/checkpoints/full.pt
python examples/panoptic_cops/evaluate.py runs/coco/checkpoints/full.pt --root FOLDER --dump predictions
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cops.categories import category_differences
from cops.checkpoints import CheckpointError, write_json
from cops.data import DataError
from cops.datasets import load_split
from cops.evaluation import predictions
from cops.export import PanopticWriter
from cops.measure import Scores
from cops.models import find_device, load_model
from cops.quality import NOTHING_SCORED
from jsonargparse import ArgumentParser


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Score one checkpoint on one split; returns the metrics."""
    parser = ArgumentParser(description="Score a trained model.")
    parser.add_argument("checkpoint", type=Path, help="such as checkpoints/full.pt of a run")
    parser.add_argument("--split", type=Literal["test", "validation", "train"], default="test")
    parser.add_argument("--root", type=str | None, help="data folder, if it is not where it was in training")
    parser.add_argument("--solver", type=Literal["multilevel", "greedy"] | None, help="another solver than in training")
    parser.add_argument("--dump", type=Path | None, help="folder for the predictions in COCO panoptic format")
    parser.add_argument("--metrics", type=Path | None, help="JSON file for the metrics")
    parser.add_argument(
        "--full_resolution", type=bool | None, help="cut on pixels or on the grid, if other than in training"
    )
    parser.add_argument("--boundary", type=float, default=0.02, help="boundary width; Cityscapes takes 0.005")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        return evaluate(options)
    except (DataError, CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"evaluate.py: error: {error}\n")
        raise AssertionError from error  # not reached


def evaluate(options: Any) -> dict[str, Any]:
    """Score one checkpoint on one split; returns the metrics."""
    model, config = load_model(options.checkpoint, options.solver)
    if options.root is not None:
        config = replace(config, root=options.root)
    dataset = load_split(config, options.split)
    changed = category_differences(model.categories, dataset.categories, "the model", "the data")
    if changed is not None:
        raise DataError(f"the data have other categories than {options.checkpoint} was trained on: {changed}")
    device = find_device(options.device)
    if options.full_resolution is not None:
        model.full_resolution = options.full_resolution
    scores = Scores(dataset.categories, options.boundary)
    writer = PanopticWriter(options.dump, dataset.categories) if options.dump is not None else None
    try:
        for sample, prediction in predictions(model.to(device), dataset, device, f"{options.split} split"):
            scores.add(sample, prediction)
            if writer is not None:
                writer.add(sample.name, prediction, sample.image_id)
    finally:
        if writer is not None:
            print(f"\nwrote {writer.close()} and {len(writer.images)} PNGs beside it")
    metrics = {**scores.result(), "classes": scores.quality.per_class()}
    print("\n| " + " | ".join(k for k in metrics if k != "classes") + " |")
    print("|" + "---|" * (len(metrics) - 1))
    print("| " + " | ".join(f"{v:.2f}" for k, v in metrics.items() if k != "classes") + " |\n")
    print("| class | PQ | SQ | RQ | TP | FP | FN |\n|---|---|---|---|---|---|---|")
    for row in metrics["classes"]:
        values = [f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(values) + " |")
    if any(math.isnan(v) for k, v in metrics.items() if k != "classes"):
        print(f"\n{NOTHING_SCORED}")
    if options.metrics is not None:
        write_json(metrics, options.metrics)
        print(f"\nwrote {options.metrics}")
    return metrics


if __name__ == "__main__":
    main()
