"""Train COPS: pre-training, the control, full training through the solver; then score all three on the test split.

    python examples/panoptic_cops/train.py                                   # procedural scenes, minutes on a CPU
    python examples/panoptic_cops/train.py --data coco --root FOLDER         # COCO panoptic format

The run folder holds config.json, metrics.json, checkpoints, TensorBoard scalars and pictures. A run that was
interrupted goes on where it stood when the same command is given again.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from cops.checkpoints import CheckpointError, write_json
from cops.coco import DataError
from cops.config import Config, config_from_dict, differences
from cops.data import Subset
from cops.datasets import load_splits
from cops.evaluation import panoptic_quality, predictions
from cops.pictures import comparison
from cops.stages import Run, check_settings, control, find_device, full, pretrain
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
    except (DataError, CheckpointError, ValueError, FloatingPointError, OSError) as error:
        parser.exit(2, f"train.py: error: {error}\n")
        raise AssertionError from error  # not reached


def train(config: Config, overwrite: bool = False) -> dict[str, Any]:
    """Run all stages that are not done yet; returns the metrics."""
    began = time.time()
    torch.set_num_threads(config.threads or min(4, get_num_threads()))
    splits = load_splits(config)
    device = find_device(config.device)
    check_settings(config, splits.train.categories)  # before anything is written
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
    shown = Subset(test, range(count))
    found = {name: list(predictions(run.model(name), shown, run.device)) for name in ("baseline", "full")}
    for i in range(count):
        results = {name: pairs[i][1] for name, pairs in found.items()}
        path = run.out / "pictures" / f"{test[i].name}.png"
        comparison(path, test[i], results, test.categories, run.config.model.distances)


def _prepare(out: Path, config: Config, overwrite: bool) -> bool:
    """Make the run folder; says whether it continues an earlier run of the same configuration."""
    path = out / "config.json"
    if path.exists() and not overwrite:
        try:
            earlier = config_from_dict(json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is corrupt ({error}): give another --out, or --overwrite") from error
        changed = differences(earlier, config)
        if changed:
            raise ValueError(
                f"{out} holds a run with other settings ({'; '.join(changed)}): give another --out, or --overwrite"
            )
        return True
    ours = [out / name for name in ("checkpoints", "tensorboard", "pictures", "metrics.json")]
    found = [p for p in ours if p.exists()]
    if found and not overwrite:
        raise ValueError(f"{out} holds {found[0].name} but no config.json of a run: give another --out, or --overwrite")
    for old in found:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(config.to_dict(), path)
    return False


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from the last checkpoint")
