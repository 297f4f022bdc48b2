"""The checkpoint that a run begins with (`init`): checked before anything is written, recorded, and compared later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Config
from ..data.samples import Category
from ..files import write_json
from ..model.checkpoints import make_segmenter
from ..model.initial import take_weights
from ..recipes import RECIPES, in_order
from .run import OTHER_OUT

RECORD = "init.json"


def first_weights(config: Config, categories: Sequence[Category], out: Path, overwrite: bool) -> dict[str, Any] | None:
    """Find what models from scratch take from the checkpoint; None where there is none, or nothing left to train.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be used.
    ValueError
        If the checkpoint lies in the folder of the run, where this run may replace it.
    """
    if config.init is None:
        return None
    path, own = Path(config.init), out / "checkpoints"
    if own.resolve() in path.resolve().parents:
        raise ValueError(f"init={path} lies in the folder of this run: {OTHER_OUT.split(',')[0]}")
    scratch = [name for name in in_order(config.finetune.models) if RECIPES[name].method == "scratch"]
    if not overwrite and all((own / f"{name}.pt").exists() for name in scratch):
        return None
    taken = take_weights(make_segmenter(config, categories), config.model.backbone, path)
    print(f"first weights from {path}\n{taken}")
    return {"checkpoint": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **taken.to_dict()}


def record_first_weights(record: dict[str, Any], out: Path) -> None:
    """Write init.json, or compare with what an earlier call of this run wrote.

    Raises
    ------
    ValueError
        If the checkpoint is another one than when the run began, or init.json is corrupt.
    """
    path = out / RECORD
    if not path.exists():
        write_json(record, path)
        return
    try:
        earlier = json.loads(path.read_text())["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is corrupt ({error}): {OTHER_OUT}") from error
    if earlier != record["sha256"]:
        raise ValueError(f"{record['checkpoint']} has changed since the run in {out} began with it: {OTHER_OUT}")
