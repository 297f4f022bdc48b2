"""Train COPS: pre-training, the control, full training through the solver; then score all three on the test split.

    python examples/panoptic_cops/train.py                                   # procedural scenes, minutes on a CPU
    python examples/panoptic_cops/train.py --data coco --root FOLDER         # COCO panoptic format

The run folder holds config.json, metrics.json, checkpoints, TensorBoard scalars and pictures. A run that was
interrupted goes on where it stood when the same command is given again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from cops.checkpoints import CheckpointError, write_json
from cops.coco import DataError
from cops.config import Config, config_from_dict, differences
from cops.datasets import load_splits
from cops.evaluation import panoptic_quality, predictions
from cops.pictures import comparison
from cops.stages import Run, control, full, make_segmenter, pretrain
from jsonargparse import ArgumentParser
from torch.utils.tensorboard import SummaryWriter

from diffcomb import get_num_threads

MODELS = ("baseline", "control", "full")
KEYS = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run all stages that are not done yet; returns the metrics."""
    parser = ArgumentParser(description="Train COPS and compare baseline, control and full training.")
    parser.add_argument("--config", action="config", help="YAML file with settings")
    parser.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in the folder")
    parser.add_class_arguments(Config)
    namespace = parser.parse_args(arguments)
    values = namespace.clone().as_dict()
    for name in ("config", "overwrite"):
        values.pop(name, None)
    config = config_from_dict(values).resolved()
    try:
        return train(config, overwrite=namespace.overwrite)
    except (DataError, CheckpointError, ValueError) as error:
        parser.exit(2, f"train.py: error: {error}\n")
        raise AssertionError from error  # not reached


def train(config: Config, overwrite: bool = False) -> dict[str, Any]:
    """Run all stages that are not done yet; returns the metrics."""
    began = time.time()
    torch.set_num_threads(config.threads or min(4, get_num_threads()))
    splits = load_splits(config)
    device = _device(config.device)
    make_segmenter(config, splits.train.categories)  # says what is wrong with the settings before anything is written
    out = Path(config.out or "runs")
    resumed = _prepare(out, config, overwrite)
    print(
        f"{'resuming' if resumed else 'starting'} in {out}: {len(splits.train)} training, {len(splits.validation)} "
        f"validation and {len(splits.test)} test images, network on {device}"
    )
    with SummaryWriter(str(out / "tensorboard")) as writer:
        run = Run(config, splits, out, device, writer)
        for name, stage in (("baseline", pretrain), ("control", control), ("full", full)):
            if not run.finished(name):
                stage(run)
        metrics = _score(run)
    _draw(run)
    print(f"\n{table(metrics)}\n")
    print(f"this call took {(time.time() - began) / 60:.1f} minutes; it wrote, in {out}:")
    print("  metrics.json           the table above")
    print("  checkpoints/           baseline.pt, control.pt, full.pt for evaluate.py and predict.py")
    print("  pictures/              input, ground truth and the three results")
    print("  tensorboard/           scalars: tensorboard --logdir " + str(out))
    return metrics


def table(metrics: dict[str, Any]) -> str:
    """The three models as a Markdown table."""
    rows = ["| model | " + " | ".join(KEYS) + " |", "|---|" + "---|" * len(KEYS)]
    rows += [f"| {m} | " + " | ".join(f"{metrics[m][k]:.2f}" for k in KEYS) + " |" for m in MODELS if m in metrics]
    return "\n".join(rows)


def _score(run: Run) -> dict[str, Any]:
    """Exact PQ of the three models on the test split; what is already in metrics.json is kept."""
    path = run.out / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in MODELS:
        if name not in metrics:
            model = run.model(name)
            metrics[name] = panoptic_quality(model, run.splits.test, run.device, f"test {name}").result()
            write_json(metrics, path)
    return metrics


def _draw(run: Run) -> None:
    test = run.splits.test
    count = min(run.config.pictures, len(test))
    if not count:
        return
    shown = type(
        "Shown", (), {"__len__": lambda _: count, "__getitem__": lambda _, i: test[i], "categories": test.categories}
    )()
    found = {name: list(predictions(run.model(name), shown, run.device)) for name in MODELS}
    for i in range(count):
        results = {name: found[name][i][1] for name in ("baseline", "full")}
        path = run.out / "pictures" / f"{test[i].name}.png"
        comparison(path, test[i], results, test.categories, run.config.model.distances)


def _prepare(out: Path, config: Config, overwrite: bool) -> bool:
    """Make the run folder; says whether it continues an earlier run of the same configuration."""
    path = out / "config.json"
    if path.exists() and not overwrite:
        changed = differences(config_from_dict(json.loads(path.read_text())), config)
        if changed:
            raise ValueError(
                f"{out} holds a run with other settings ({'; '.join(changed)}): give another --out, or --overwrite"
            )
        return True
    for old in (
        *out.glob("checkpoints/*.pt"),
        *out.glob("tensorboard/*"),
        *out.glob("pictures/*.png"),
        out / "metrics.json",
    ):
        old.unlink(missing_ok=True)
    write_json(config.to_dict(), path)
    return False


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name!r} cannot be used: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from the last checkpoint")
