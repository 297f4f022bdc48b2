"""Score a model, or predictions that exist: exact PQ, SQ, RQ of all and of each class, boundary PQ, AP, mIoU, VI, ARE.

python examples/panoptic_cops/evaluate.py runs/scenes/checkpoints/full.pt
python examples/panoptic_cops/evaluate.py runs/coco/checkpoints/full.pt --root FOLDER --dump predictions
python examples/panoptic_cops/evaluate.py --predictions predictions --data coco --root FOLDER
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cops.config import Config, config_from_dict
from cops.data.predictions import Predictions
from cops.data.samples import Category, DataError, Dataset, Prediction, Sample, category_differences
from cops.data.splits import load_split
from cops.data.writer import PanopticWriter
from cops.files import check_writable, write_json
from cops.model.checkpoints import CheckpointError, find_device, load_model
from cops.model.views import VIEWS_HELP, VIEWS_OF_IMAGE
from cops.ranges import SHARE
from cops.scores.measure import Scores, predictions
from cops.scores.neurites import READING
from cops.scores.quality import NOTHING_SCORED
from cops.stopping import Stopped, StopSignals
from cops.study.split_record import check_held_out
from jsonargparse import ArgumentParser
from tqdm import tqdm

Pairs = Iterator[tuple[Sample, Prediction]]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Score one checkpoint, or predictions, on one split; returns the metrics."""
    parser = ArgumentParser(description="Score a trained model, or predictions that exist.")
    parser.add_argument("checkpoint", type=Path | None, nargs="?", help="such as checkpoints/full.pt of a run")
    parser.add_argument("--predictions", type=Path | None, help="folder or JSON in COCO panoptic format, to be scored")
    parser.add_argument("--split", type=Literal["test", "validation", "train"], default="test")
    parser.add_argument(
        "--data", type=Literal["scenes", "coco", "cityscapes", "folder"] | None, help="layout, for --predictions"
    )
    parser.add_argument("--root", type=str | None, help="data folder, if it is not where it was in training")
    parser.add_argument(
        "--settings", type=Path | None, help="config.json of a run: its data and splits, for --predictions"
    )
    parser.add_argument(
        "--missing",
        type=Literal["error", "void"],
        default="error",
        help="images without a prediction: stop with an error, or score them as void",
    )
    parser.add_argument(
        "--extra",
        type=Literal["error", "ignore"],
        default="error",
        help="predictions for images that the split lacks: stop with an error, or ignore them",
    )
    parser.add_argument("--solver", type=Literal["multilevel", "greedy"] | None, help="another solver than in training")
    parser.add_argument("--dump", type=Path | None, help="folder for the predictions in COCO panoptic format")
    parser.add_argument("--metrics", type=Path | None, help="JSON file for the metrics")
    parser.add_argument(
        "--full_resolution", type=bool | None, help="cut on pixels or on the grid, if other than in training"
    )
    parser.add_argument("--views", type=VIEWS_OF_IMAGE, default=1, help=VIEWS_HELP)
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
    """Score one checkpoint, or predictions, on one split; returns the metrics."""
    _check(options)
    dataset, pairs, scores = (_of_model if options.checkpoint is not None else _of_predictions)(options)
    writer = _dump(options.dump, dataset.categories) if options.dump is not None else None
    try:
        for sample, prediction in pairs:
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
    _print(metrics)
    if options.metrics is not None:
        write_json(metrics, options.metrics)
        print(f"\nwrote {options.metrics}")
    return metrics


def _check(options: Any) -> None:
    """Raise a ValueError if an option cannot be used, or options contradict each other."""
    if not SHARE.holds(options.boundary):
        raise ValueError(f"--boundary must be {SHARE.words}, got {options.boundary}")
    if (options.checkpoint is None) == (options.predictions is None):
        raise ValueError("give either a checkpoint, whose predictions are made and scored, or --predictions FOLDER")
    if options.checkpoint is None and options.views != 1:
        raise ValueError(f"--views {options.views} cannot be given together with --predictions")
    for name in ("solver", "dump", "full_resolution") if options.checkpoint is None else ("data", "settings"):
        if getattr(options, name) is not None:
            other = "--predictions" if options.checkpoint is None else "a checkpoint"
            raise ValueError(f"--{name} cannot be given together with {other}")
    for name in ("missing", "extra"):
        if options.checkpoint is not None and getattr(options, name) != "error":
            raise ValueError(f"--{name} is for --predictions: a checkpoint predicts every image of the split")
    if options.predictions is not None and (options.data is None) == (options.settings is None):
        raise ValueError("--predictions needs the data: give --data and --root, or --settings with a run's config.json")
    if options.metrics is not None:
        check_writable(options.metrics)  # now, not after all images


def _of_model(options: Any) -> tuple[Dataset, Pairs, Scores]:
    """The data of a checkpoint, its predictions, and what collects all scores."""
    model, config = load_model(options.checkpoint, options.solver)
    own = options.root is None or Path(options.root).resolve() == Path(config.root or "").resolve()
    config = replace(config, root=options.root or config.root)
    dataset = load_split(config, options.split)
    if own:  # images of other data may have the same names
        check_held_out(options.checkpoint, config, options.split, dataset)
    changed = category_differences(model.categories, dataset.categories, "the model", "the data")
    if changed is not None:
        raise DataError(f"the data have other categories than {options.checkpoint} was trained on: {changed}")
    device = find_device(options.device)
    if options.full_resolution is not None:
        model.full_resolution = options.full_resolution
    model.views = options.views
    found = predictions(model.to(device), dataset, device, f"{options.split} split")
    return dataset, found, Scores(dataset.categories, options.boundary)


def _of_predictions(options: Any) -> tuple[Dataset, Pairs, Scores]:
    """The data, predictions that exist, and what collects the scores that these allow."""
    if options.settings is not None:
        config = _settings(options.settings)
    else:
        config = Config(data=options.data).resolved()
    dataset = load_split(replace(config, root=options.root or config.root), options.split)
    found = Predictions(options.predictions, dataset, options.missing, options.extra)
    print(f"{found.json_path}: predictions for {len(found)} of {len(dataset)} images")
    print("mIoU is left out: predictions do not hold the classes of pixels whose segment was rejected")
    if found.unscored:
        print(f"AP is left out: {found.unscored} segments of things have no 'score'")
    numbers = tqdm(range(len(dataset)), desc=f"{options.split} split", unit="image")
    samples = ((i, dataset[i]) for i in numbers)
    pairs = ((sample, found.of(i, sample)) for i, sample in samples)
    return dataset, pairs, Scores(dataset.categories, options.boundary, precision=not found.unscored, iou=False)


def _settings(path: Path) -> Config:
    """The configuration of a run.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    try:
        return config_from_dict(json.loads(path.read_text())).resolved()
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the config.json of a run: {error}") from error


def _print(metrics: dict[str, Any]) -> None:
    """Print the scores, then those of each class."""
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
