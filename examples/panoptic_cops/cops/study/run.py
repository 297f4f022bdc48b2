"""One run: its folder with checkpoints, its log, and what is checked before it begins."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from .. import parallel
from ..config import Config, crop_size, differences
from ..data.samples import Category, category_differences
from ..data.splits import Splits
from ..files import FULL, METRICS, read_scores, save_atomically, without_nan, write_json, write_text, writing
from ..model.checkpoints import OTHER_VERSION, CheckpointError, categories_of, load_checkpoint, make_segmenter, using
from ..model.initial import take_weights
from ..model.network import strides_of
from ..model.segmenter import Segmenter, cut_layer
from ..model.weights import load_backbone_weights
from ..recipes import RECIPES

OTHER_OUT = "give another --out, or --overwrite"
PACKAGES = ("diffcomb", "numba", "numpy", "scipy", "torch")


class RunLog:
    """Scalars of the steps, as TensorBoard events and as lines of log.jsonl; a context manager.

    Parameters
    ----------
    folder : path
        Folder of the run.
    silent : bool
        Write nothing, as all processes but one of a parallel run do.

    Raises
    ------
    DiskFullError
        By every method, if there is no space.
    """

    def __init__(self, folder: Path, silent: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self._events = folder / "tensorboard"
        self._writer = None
        if not silent:
            with writing(self._events):
                self._writer = SummaryWriter(str(self._events))

    def __enter__(self) -> RunLog:
        self._hook = threading.excepthook
        threading.excepthook = self._in_thread
        return self

    def _in_thread(self, arguments: threading.ExceptHookArgs) -> None:
        """Ignore a full disk in TensorBoard's thread: the next call of `add` or `close` raises the error."""
        if not isinstance(arguments.exc_value, OSError) or arguments.exc_value.errno not in FULL:
            self._hook(arguments)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
            threading.excepthook = self._hook
        except OSError:  # the thread may not have said it yet: the hook stays
            if value is None:  # else that error says more than this one, which often follows from it
                raise

    def close(self) -> None:
        """Write what is still buffered."""
        if self._writer is not None:
            with writing(self._events):
                self._writer.close()

    def resume(self, stage: str, step: int) -> None:
        """Remove what a killed run logged of a stage after its last checkpoint, at `step`; and a broken last line."""
        if self._writer is None or not self.path.exists():
            return
        lines = self.path.read_text().splitlines()
        kept = []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry["stage"] != stage or entry["step"] <= step:
                kept.append(line)
        if kept != lines:
            write_text("".join(f"{line}\n" for line in kept), self.path)

    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Log the values after that many steps of a stage."""
        if self._writer is None:
            return
        with writing(self._events):
            for name, value in values.items():
                self._writer.add_scalar(f"{stage}/{name}", value, step)
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": step, **without_nan(values)}) + "\n")


def untrained(out: Path) -> list[str]:
    """Models that a folder holds no checkpoint of, finished or not: their settings may still change."""
    begun = {path.name.split(".")[0] for path in (out / "checkpoints").glob("*.pt")}
    return [name for name in RECIPES if name not in begun]


def record_settings(earlier: Config, config: Config, path: Path) -> None:
    """Write the settings of a run anew where those of models that are not trained yet have changed."""
    if differences(earlier, config):
        write_json(config.to_dict(), path)


def write_environment(path: Path) -> None:
    """Write versions, machine, command, and the git commit of the code."""
    content: dict[str, Any] = {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor(),
        "commit": _commit(),
    }
    write_json(content, path)


def _commit() -> str | None:
    """Commit of the code, with "+changes" if files differ from it; None outside of a repository."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "-s", "-uno"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


@dataclass
class Run:
    """What the stages of one run share."""

    config: Config
    splits: Splits
    out: Path
    device: torch.device
    log: RunLog

    def model(self, checkpoint: str | None = None) -> Segmenter:
        """A model with the weights of a finished stage, or first ones: from the seed, `init` or pretraining."""
        torch.manual_seed(self.config.seed)
        model = make_segmenter(self.config, self.splits.train.categories)
        weights = self.config.model.backbone_weights
        if checkpoint is None and weights is not None:
            load_backbone_weights(model.network.backbone, weights)
        if checkpoint is None and self.config.init is not None:
            take_weights(model, self.config.model.backbone, Path(self.config.init))
        if checkpoint is not None:
            path = self.checkpoint(checkpoint)
            content = self.load(path)
            with using(path, OTHER_VERSION):
                model.load_state_dict(content["model"])
        return model.to(self.device, memory_format=torch.channels_last)  # convolutions run a third faster on a CPU

    def load(self, path: Path) -> dict[str, Any]:
        """Content of a checkpoint of this run; its categories, if recorded, must be those of the data."""
        content = load_checkpoint(path)
        if "categories" in content:
            with using(path, OTHER_VERSION):
                earlier = categories_of(content)
            changed = category_differences(earlier, self.splits.train.categories, "the checkpoint", "the data")
            if changed is not None:
                raise CheckpointError(f"{path} was trained with other categories: {changed}; {OTHER_OUT}")
        return content

    def checkpoint(self, name: str) -> Path:
        """Path of a checkpoint."""
        return self.out / "checkpoints" / f"{name}.pt"

    def finished(self, name: str) -> bool:
        """Whether a stage has written its result."""
        return self.checkpoint(name).exists()

    def categories(self) -> list[dict[str, Any]]:
        """Categories of the data, as plain data."""
        return [asdict(c) for c in self.splits.train.categories]

    def _forget_scores(self, name: str) -> None:
        """A model that is trained anew has no scores yet, whatever files of the run say of an earlier one."""
        for path in (self.out / METRICS, *self.out.glob("scores*.json")):
            with contextlib.suppress(ValueError):  # a corrupt file, which whoever reads it reports
                known = read_scores(path)
                if known.pop(name, None) is not None:
                    write_json(known, path)

    def finish(self, name: str, weights: dict[str, Tensor], **more: Any) -> None:
        """Write the result of a stage."""
        content = {"model": weights, "config": self.config.to_dict(), "categories": self.categories(), **more}
        if parallel.rank() == 0:
            self._forget_scores(name)
            save_atomically(content, self.checkpoint(name))
        parallel.wait()


def check_settings(config: Config, categories: Sequence[Category], world: int = 1) -> None:
    """Check before a run begins that settings, each in its range (`check_ranges`), fit together: none may fail later.

    Raises
    ------
    ValueError
        If one does not fit another one, the categories, or the number of processes.
    """
    model = config.model
    divisor = strides_of(model.backbone)[-1]
    if config.init is not None and model.backbone_weights is not None:
        raise ValueError(
            f"init={config.init} holds weights of the backbone too: leave out init or model.backbone_weights, or pass "
            f"null for it"
        )
    cut_layer(model.distances, categories, {"solver": model.solver, "effort": model.effort})
    size = config.dataset.size or 64
    if any(n % divisor for n in crop_size(size)):
        raise ValueError(f"dataset.size must be divisible by {divisor}, got {size}")
    for part, name in ((config.pretrain, "pretrain"), (config.finetune, "finetune")):
        share = part.accumulate * world
        if part.batch is not None and part.batch < share:
            raise ValueError(
                f"{name}.batch must hold a sample for each of {name}.accumulate={part.accumulate} parts in each of "
                f"{world} processes, got {part.batch}"
            )
