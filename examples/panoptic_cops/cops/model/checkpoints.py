"""Reading checkpoints, and the models in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..config import Config, config_from_dict
from ..data.samples import Category
from .segmenter import Segmenter

OTHER_VERSION = "it may be of another version of this program: train it again, or take the version that wrote it"
SHOWN = 300  # letters of an error of torch, which names every layer


class CheckpointError(Exception):
    """A checkpoint is missing or cannot be used; the message says which file, and what to do."""


def load_checkpoint(
    path: Path, advice: str = "in the folder of a run, delete it to train that stage anew"
) -> dict[str, Any]:
    """Read a checkpoint.

    Parameters
    ----------
    path : path
    advice : str
        What to do about a file that is no checkpoint, for the message.

    Raises
    ------
    CheckpointError
        If the file is missing, a folder, truncated, or not one of ours.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give a checkpoint, such as checkpoints/full.pt of a run")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"the checkpoint {path} does not exist") from None
    except PermissionError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror}") from error
    except Exception as error:
        said = shortened(error).partition(". ")[0]  # torch goes on with advice for those who trust the file
        raise CheckpointError(
            f"the checkpoint {path} is corrupt, or not one of this program ({type(error).__name__}: {said}); {advice}"
        ) from error
    if not isinstance(content, dict) or "model" not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this program: it lacks the key 'model'")
    return content


@contextlib.contextmanager
def using(path: Path, advice: str) -> Iterator[None]:
    """Turn errors that arise while the content of a checkpoint is used into one that names the file.

    Raises
    ------
    CheckpointError
        If keys are missing, or values or layers are not those that this program expects.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        what = f"the key {error} is missing" if isinstance(error, KeyError) else shortened(error)
        raise CheckpointError(f"the checkpoint {path} does not fit: {what}; {advice}") from error


def shortened(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def make_segmenter(config: Config, categories: Sequence[Category]) -> Segmenter:
    """The model of a configuration, with fresh weights."""
    return Segmenter(config, categories, generator=torch.Generator())


def load_model(path: Path, solver: str | None = None) -> tuple[Segmenter, Config]:
    """The model of a finished stage, ready to predict, and the configuration it was trained with.

    Raises
    ------
    CheckpointError
        If the file is missing, corrupt, of an unfinished stage, or of another version with other settings or layers.
    """
    content = load_checkpoint(path)
    if "optimizer" in content:
        raise CheckpointError(
            f"{path} belongs to an unfinished stage; take a finished model, whose file has no .last in its name"
        )
    with using(path, OTHER_VERSION):
        config = config_from_dict(content["config"])
        if solver is not None:
            config = replace(config, model=replace(config.model, solver=solver))
        model = make_segmenter(config, categories_of(content))
        model.load_state_dict({name: value.float() if value.is_floating_point() else value
                               for name, value in content["model"].items()})  # fmt: skip
    return model, config


def categories_of(content: dict[str, Any]) -> tuple[Category, ...]:
    """Categories of a checkpoint, or of the run's file of categories."""
    return tuple(
        Category(int(c["id"]), str(c["name"]), bool(c["isthing"]), tuple(c["color"])) for c in content["categories"]
    )


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if there is one. A ValueError says why it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name!r} cannot be used: {error}") from error
