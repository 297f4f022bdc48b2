"""First weights from a checkpoint that may have other classes and other distances: whatever fits is taken.

A class that both have by name keeps its row of the classifier, its offset, and its channel among the inputs of the
affinity head, which sees the class costs. A distance that both have keeps its classifier, its scale and its offset.
Everything that depends on neither is taken as it is, statistics of batch norm included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config import config_from_dict
from .checkpoints import OTHER_VERSION, CheckpointError, categories_of, load_checkpoint, using
from .network import CopsNetwork, CostScaling
from .segmenter import Segmenter

_CLASSIFIER = re.compile(r"network\.classifiers\.(\d+)\.(.+)")
_PER_DISTANCE = ("scaling.edge_scale", "scaling.edge_offset")


class Matches(NamedTuple):
    """Classes, or distances: what model and checkpoint both have, what only the model, and only the checkpoint has."""

    kept: list[Any]
    fresh: list[Any]
    unused: list[Any]

    def __str__(self) -> str:
        parts = zip(("kept", "fresh", "only in the checkpoint"), self, strict=True)
        return "; ".join(f"{what}: {', '.join(map(repr, values)) or 'none'}" for what, values in parts)


@dataclass(frozen=True)
class Taken:
    """What a model has taken from a checkpoint."""

    classes: Matches
    distances: Matches

    def __str__(self) -> str:
        return f"  classes   {self.classes}\n  distances {self.distances}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"classes": self.classes._asdict(), "distances": self.distances._asdict()}


def take_weights(model: Segmenter, backbone: str, path: Path) -> Taken:
    """Replace the fresh weights of a model, which is on the CPU, by what fits of a finished model's checkpoint.

    Raises
    ------
    CheckpointError
        If the file is missing, corrupt, of an unfinished stage, of another backbone, or does not fit.
    """
    content = load_checkpoint(path, "--init takes a finished checkpoint of a run, such as checkpoints/baseline.pt")
    if "optimizer" in content:
        raise CheckpointError(f"{path} belongs to an unfinished stage: give a finished checkpoint, such as baseline.pt")
    with using(path, OTHER_VERSION):
        theirs, known = config_from_dict(content["config"]).model, [c.name for c in categories_of(content)]
    if theirs.backbone != backbone:
        raise CheckpointError(
            f"{path} has the backbone {theirs.backbone!r}, and this run {backbone!r}: pass --model.backbone "
            f"{theirs.backbone}, or another --init"
        )
    names = [c.name for c in model.categories]
    with using(path, OTHER_VERSION):
        _take(model, backbone, dict(content["model"]), _Index(names, known), _Index(model.distances, theirs.distances))
    return Taken(_matches(names, known), _matches(model.distances, theirs.distances))


class _Index:
    """Where the entries of a new list stand in an old one."""

    def __init__(self, new: Sequence[Any], old: Sequence[Any]) -> None:
        self.new, self.old = len(new), len(old)
        self.pairs = {i: list(old).index(value) for i, value in enumerate(new) if value in old}

    def copy(self, fresh: Tensor, source: Tensor, axis: int) -> None:
        """Copy what both have along an axis, whose last entries belong to the list."""
        before = fresh.shape[axis] - self.new
        new, old = [*range(before)], [*range(before)]
        for i, j in self.pairs.items():
            new.append(before + i)
            old.append(before + j)
        at, read = (torch.tensor(indices, dtype=torch.long) for indices in (new, old))
        fresh.index_copy_(axis, at, source.index_select(axis, read))


def _take(model: Segmenter, backbone: str, theirs: dict[str, Tensor], classes: _Index, distances: _Index) -> None:
    """Overwrite every weight that has a counterpart in a checkpoint's weights."""
    axes = _class_axes(model, backbone)
    for name, fresh in model.state_dict().items():  # these are the model's own tensors
        found = _CLASSIFIER.fullmatch(name)
        if found is not None and int(found[1]) not in distances.pairs:
            continue
        source = theirs.pop(_renamed(name, distances)).to(fresh.dtype)
        index, axis = (distances, 0) if name in _PER_DISTANCE else (classes, axes.get(name))
        expected = list(fresh.shape)
        if axis is not None:
            expected[axis] += index.old - index.new
        if list(source.shape) != expected:
            raise ValueError(f"{name} has the shape {list(source.shape)}, and {expected} was expected")
        if axis is None:
            fresh.copy_(source)
        else:
            index.copy(fresh, source, axis)
    other = [name for name in theirs if not _CLASSIFIER.fullmatch(name)]
    if other:
        raise ValueError(f"{other[0]} is unknown")


def _renamed(name: str, distances: _Index) -> str:
    """What the checkpoint calls a weight: classifiers are numbered in the order of its own distances."""
    found = _CLASSIFIER.fullmatch(name)
    return name if found is None else f"network.classifiers.{distances.pairs[int(found[1])]}.{found[2]}"


def _class_axes(model: Segmenter, backbone: str) -> dict[str, int]:
    """The axis of every weight that would be longer if there was one class more; its last entries are the classes."""
    count, distances = len(model.categories) + 1, model.distances
    with torch.device("meta"):
        parts = {"network": CopsNetwork(backbone, count, distances), "scaling": CostScaling(count, len(distances))}
    longer = {f"{part}.{k}": v.shape for part, module in parts.items() for k, v in module.state_dict().items()}
    return {
        name: axis
        for name, value in model.state_dict().items()
        for axis, (a, b) in enumerate(zip(value.shape, longer[name], strict=True))
        if a != b
    }


def _matches(new: Sequence[Any], old: Sequence[Any]) -> Matches:
    return Matches([x for x in new if x in old], [x for x in new if x not in old], [x for x in old if x not in new])
