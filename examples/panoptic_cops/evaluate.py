"""Score a trained model: exact PQ, SQ, RQ for all and for each class, boundary PQ, instance AP, mean IoU, VI, ARE.

python examples/panoptic_cops/evaluate.py runs/scenes/checkpoints/full.pt
python examples/panoptic_cops/evaluate.py runs/coco/checkpoints/full.pt --root FOLDER --dump predictions
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cops.data.samples import Category, DataError, Sample, category_differences
from cops.data.splits import load_split
from cops.data.writer import PanopticWriter
from cops.files import write_json
from cops.model.checkpoints import CheckpointError, find_device, load_model
from cops.scores.measure import Scores, predictions
from cops.scores.neurites import READING
from cops.scores.quality import NOTHING_SCORED
from cops.stopping import Stopped, StopSignals
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
        with StopSignals() as stop:
            return evaluate(options, stop)
    except (DataError, CheckpointError, ValueError, OSError) as error:
        parser.exit(2, f"evaluate.py: error: {error}\n")
        raise AssertionError from error  # not reached
    except Stopped as stopped:
        parser.exit(128 + stopped.number, f"evaluate.py: {stopped}\n")
        raise AssertionError from stopped  # not reached


def evaluate(options: Any, stop: StopSignals) -> dict[str, Any]:
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
    writer = _dump(options.dump, dataset.categories) if options.dump is not None else None
    try:
        for sample, prediction in predictions(model.to(device), dataset, device, f"{options.split} split"):
            stop.check()
            scores.add(sample, prediction)
            if writer is not None:
                with stop.uninterrupted():
                    writer.add(_name(writer, sample), prediction, sample.image_id, file_name=sample.file_name)
    finally:
        if writer is not None and writer.added:
            with stop.uninterrupted():
                print(f"\nwrote {writer.close()}, segments.csv and {len(writer.added)} PNGs beside it")
    metrics = {**scores.result(), "classes": scores.quality.per_class()}
    print("\n| " + " | ".join(k for k in metrics if k != "classes") + " |")
    print("|" + "---|" * (len(metrics) - 1))
    print("| " + " | ".join(f"{v:.2f}" for k, v in metrics.items() if k != "classes") + " |\n")
    print(f"{READING}\n")
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


def _dump(folder: Path, categories: Sequence[Category]) -> PanopticWriter:
    """A writer into a new dump; a DataError if the folder already holds one."""
    writer = PanopticWriter(folder, categories)
    if writer.entries:
        raise DataError(f"{folder} holds a dump of {len(writer.entries)} images: choose another --dump, or delete it")
    return writer


def _name(writer: PanopticWriter, sample: Sample) -> str:
    """The name of a sample's PNG: that of the sample, in the same folders below the dump, made unique."""
    path = PurePosixPath(sample.file_name or sample.name)
    folders = [part for part in path.parts[:-1] if part not in ("/", "..")]
    name = "/".join([*folders, sample.name])
    options = itertools.chain((name, f"{name}_{path.suffix[1:]}"), (f"{name}_{i}" for i in itertools.count(2)))
    return next(option for option in options if not writer.taken(option))


if __name__ == "__main__":
    main()
