"""Files that survive a kill at any moment: written beside, synced, then renamed into place."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint is missing or cannot be used; the message says which file, and what to do."""


def save_atomically(content: Any, path: Path) -> None:
    """Write `content` with torch.save; the old file stays whole until the new one is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "wb") as file:
        torch.save(content, file)


def write_json(content: Any, path: Path) -> None:
    """Write JSON the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


@contextlib.contextmanager
def replacing(path: Path, mode: str) -> Iterator[Any]:
    """A file beside `path` that takes its place once it is whole and on disk; removed if writing fails."""
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, or not one of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"the checkpoint {path} does not exist") from None
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {path} is corrupt ({type(error).__name__}: {error}); delete it to train that stage anew"
        ) from error
    if not isinstance(content, dict) or "model" not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this program: it lacks the key 'model'")
    return content
