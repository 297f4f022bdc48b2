"""Train COPS: pre-training, the controls, full training through the solver; then score all on the test split.

    python examples/panoptic_cops/train.py --quick                           # smaller scenes, fewer steps
    python examples/panoptic_cops/train.py                                   # procedural scenes, minutes on a CPU
    python examples/panoptic_cops/train.py --data coco --root FOLDER         # COCO panoptic format
    torchrun --nproc-per-node 2 examples/panoptic_cops/train.py ...          # data-parallel

The run folder holds config.json, environment.json, categories.json, metrics.json, log.jsonl, checkpoints, TensorBoard
scalars and pictures; splits.json for images from files, and init.json after --init. A run that was interrupted resumes
when the same command is given again, without --overwrite. The exit status is 0 when all is done, 1 if the first test of
--overfit failed, 2 after an error, 130 after Ctrl-C and 143 after SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from cops import parallel
from cops.config import Config, config_from_dict, differences
from cops.data.samples import Category, DataError, Subset, category_differences
from cops.data.splits import check_labelled, load_splits
from cops.files import METRICS, read_scores, write_json, writing
from cops.model.checkpoints import CheckpointError, categories_of, find_device
from cops.ranges import check_ranges
from cops.recipes import RECIPES
from cops.scores.measure import panoptic_quality, predictions
from cops.scores.quality import NOTHING_SCORED
from cops.stopping import run_command
from cops.study import overfit
from cops.study.first_weights import RECORD, first_weights, record_first_weights
from cops.study.panels import comparison
from cops.study.run import OTHER_OUT, Run, RunLog, check_settings, record_settings, untrained, write_environment
from cops.study.split_record import FILE as SPLITS
from cops.study.split_record import record_splits
from cops.study.stages import run_stages
from jsonargparse import ArgumentParser

from diffcomb import get_num_threads
from diffcomb._lock import locked

TRIAL = 8  # samples a step
QUICK = Path(__file__).parent / "configs" / "quick.yaml"
KEYS = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ")
CATEGORIES = "categories.json"
WRITTEN = (
    "checkpoints",
    "tensorboard",
    "pictures",
    METRICS,
    "log.jsonl",
    "environment.json",
    CATEGORIES,
    RECORD,
    SPLITS,
)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train all models that are not finished yet; return the metrics."""
    parser = ArgumentParser(
        description="Train COPS and compare the baseline, the controls and full training.",
        allow_abbrev=False,  # "--qui" would miss the settings of --quick
    )
    parser.add_argument("--config", action="config", help="YAML file with settings")
    parser.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in the folder")
    parser.add_argument(
        "--max_steps", type=int | None, help="cut every stage to so many steps: a trial run, in the folder OUT-trial"
    )
    parser.add_argument("--overfit", type=int | None, help="train and test on the first so many images: a first test")
    parser.add_argument("--overfit_steps", type=int, default=overfit.STEPS, help="steps of that test")
    parser.add_argument("--quick", action="store_true", help="a first trained result: settings of configs/quick.yaml")
    parser.add_class_arguments(Config)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--quick" in arguments:
        arguments.insert(0, f"--config={QUICK}")  # first, so that what is given beside it wins
    namespace = parser.parse_args(arguments)
    values = namespace.clone().as_dict()
    for name in ("config", "overwrite", "max_steps", "overfit", "overfit_steps", "quick"):
        values.pop(name, None)
    try:
        config = config_from_dict(values).resolved()
        if namespace.quick and config.data != "scenes":
            raise ValueError(f"--quick needs data='scenes', got {config.data!r}: for a trial run, pass --max_steps 3")
        if namespace.overfit is not None:
            config = overfit.overfitting(config, namespace.overfit, namespace.overfit_steps)
        if namespace.max_steps is not None:
            config = shortened(config, namespace.max_steps)
        # Labels are corrected between two first tests, and only a run that starts anew learns the new ones.
        metrics = train(config, overwrite=namespace.overwrite or namespace.overfit is not None)
        if namespace.overfit is not None and not metrics[overfit.MODEL]["PQ"] >= overfit.ENOUGH:  # or nan
            parser.exit(1)
        return metrics
    except (DataError, CheckpointError, ValueError, FloatingPointError, OSError) as error:
        parser.exit(2, f"train.py: error: {error}\n")
        raise AssertionError from error  # not reached
    finally:
        parallel.stop()


def how_to_go_on(arguments: Sequence[str]) -> str:
    """What to do after a stop; the same command does not resume if it begins by deleting what is there."""
    given = {argument.split("=")[0] for argument in arguments}
    if "--overfit" in given:
        return "a first test does not resume, rerun the same command to start anew"
    without = " without --overwrite, which would delete what is done," if "--overwrite" in given else ""
    return f"rerun the same command{without} to resume"


def shortened(config: Config, steps: int) -> Config:
    """Shorten a run to a trial: at most so many steps a stage, drawn scenes to score, and small batches."""
    d, p, f = config.dataset, config.pretrain, config.finetune
    if steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {steps}")
    return replace(
        config,
        out=f"{config.out}-trial",
        dataset=replace(d, test=min(d.test, steps), validation=d.validation and min(d.validation, steps)),
        pretrain=replace(p, steps=min(p.steps, steps), batch=min(p.batch or TRIAL, max(p.accumulate, TRIAL))),
        finetune=replace(
            f,
            steps=min(f.steps, steps),
            search=min(f.search, steps),
            batch=min(f.batch or TRIAL, max(f.accumulate, TRIAL)),
        ),
    )


def train(config: Config, overwrite: bool = False) -> dict[str, Any]:
    """Train all models that are not finished yet; return the metrics."""
    began = time.time()
    check_ranges(config)
    parallel.start(config.device)
    torch.set_num_threads(config.threads or min(4, get_num_threads()))
    splits = load_splits(config)
    check_labelled(config, splits.train)
    device = find_device(config.device)
    check_settings(config, splits.train.categories, parallel.world())  # before anything is written
    out, first = Path(config.out or "runs"), parallel.rank() == 0
    initial = first_weights(config, splits.train.categories, out, overwrite) if first else None
    with locked(out, "is training in") if first else contextlib.nullcontext():
        if first:
            resumed = _prepare(out, config, splits.train.categories, overwrite)
            record_splits(config, splits, out, [METRICS])
            if initial is not None:
                record_first_weights(initial, out)
            write_environment(out / "environment.json")
            print(
                f"{'resuming' if resumed else 'starting'} in {out}: {len(splits.train)} training, "
                f"{len(splits.validation)} validation and {len(splits.test)} test images, network on {device}"
            )
        parallel.wait()
        with RunLog(out, silent=not first) as log:
            run = Run(config, splits, out, device, log)
            names = run_stages(run)
            metrics = _score(run, names)
        if first:
            _draw(run, names)
            _report(run, names, metrics, time.time() - began)
    return metrics


def _report(run: Run, names: tuple[str, ...], metrics: dict[str, Any], seconds: float) -> None:
    """Print the scores, and what lies in the run folder."""
    print(f"\n{table(metrics)}\n")
    if any(math.isnan(v) for row in metrics.values() for v in row.values()):
        print(f"{NOTHING_SCORED}\n")
    print(f"this call took {seconds / 60:.1f} minutes; it wrote, in {run.out}:")
    print("  metrics.json           the table above")
    print(f"  checkpoints/           {', '.join(f'{n}.pt' for n in names)} for evaluate.py and predict.py")
    print("  pictures/              input, ground truth, and results")
    print("  log.jsonl              losses of every step")
    print(f"  tensorboard/           the same: tensorboard --logdir {run.out}")
    if run.config.dataset.overfit is not None:
        print(f"\n{overfit.verdict(run, names[-1])}")


def table(metrics: dict[str, Any]) -> str:
    """All models as a Markdown table."""
    rows = ["| model | " + " | ".join(KEYS) + " |", "|---|" + "---|" * len(KEYS)]
    rows += [f"| {m} | " + " | ".join(f"{metrics[m][k]:.2f}" for k in KEYS) + " |" for m in RECIPES if m in metrics]
    return "\n".join(rows)


def _score(run: Run, names: tuple[str, ...]) -> dict[str, Any]:
    """Score models on the test split by exact PQ; scores in metrics.json are kept."""
    path = run.out / METRICS
    metrics = read_scores(path)
    for name in names:
        if name not in metrics:
            title = f"test {name}" if parallel.rank() == 0 else None
            metrics[name] = panoptic_quality(run.model(name), run.splits.test, run.device, title).result()
            if parallel.rank() == 0:
                write_json(metrics, path)
    parallel.wait()
    return metrics


def _draw(run: Run, names: tuple[str, ...]) -> None:
    """Draw the first test images with the results of the models whose recipes say so."""
    test = run.splits.test
    count = min(run.config.pictures, len(test))
    if not count:
        return
    shown = Subset(test, range(count))
    drawn = [name for name in names if RECIPES[name].drawn]
    found = {name: list(predictions(run.model(name), shown, run.device)) for name in drawn}
    for i in range(count):
        results = {name: pairs[i][1] for name, pairs in found.items()}
        path = run.out / "pictures" / f"{test[i].name}.png"
        with writing(path):
            comparison(path, test[i], results, test.categories, run.config.model.distances)


def _prepare(out: Path, config: Config, categories: Sequence[Category], overwrite: bool) -> bool:
    """Make the run folder; return whether it resumes an earlier run of the same configuration and categories."""
    path = out / "config.json"
    if path.exists() and not overwrite:
        try:
            earlier = config_from_dict(json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is corrupt ({error}): {OTHER_OUT}") from error
        changed = differences(earlier, config, untrained(out))
        if changed:
            raise ValueError(f"{out} holds a run with other settings ({'; '.join(changed)}): {OTHER_OUT}")
        _check_categories(out / CATEGORIES, categories)
        if not (out / CATEGORIES).exists():
            _write_categories(out / CATEGORIES, categories)
        record_settings(earlier, config, path)
        return True
    ours = [out / name for name in WRITTEN]
    found = [p for p in ours if p.exists()]
    if found and not overwrite:
        raise ValueError(f"{out} holds {found[0].name} but no config.json of a run: {OTHER_OUT}")
    for old in found:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(config.to_dict(), path)
    _write_categories(out / CATEGORIES, categories)
    return False


def _write_categories(path: Path, categories: Sequence[Category]) -> None:
    write_json({"categories": [asdict(c) for c in categories]}, path)


def _check_categories(path: Path, categories: Sequence[Category]) -> None:
    """Raise a ValueError if the run was begun with other categories; checkpoints of older runs are checked later."""
    if not path.exists():
        return
    try:
        earlier = categories_of(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is corrupt ({error}): {OTHER_OUT}") from error
    changed = category_differences(earlier, categories, "the run", "the data")
    if changed is not None:
        raise ValueError(f"{path.parent} holds a run with other categories ({changed}): {OTHER_OUT}")


if __name__ == "__main__":
    run_command(main, "train.py", how_to_go_on(sys.argv[1:]))
