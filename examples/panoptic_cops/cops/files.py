"""Files that survive a kill at any moment: written beside, synced, then renamed into place."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the disk, the quota, or the largest size of a file is reached
METRICS = "metrics.json"  # the scores that train.py writes; those of tables are in scores*.json


class DiskFullError(OSError):
    """A file could not be written for lack of space; the message says which file, and what to do."""


def save_atomically(content: Any, path: Path) -> None:
    """Write `content` with torch.save; the old file stays whole until the new one is on disk.

    Raises
    ------
    DiskFullError
        If there is no space.
    """
    buffer = io.BytesIO()  # torch hides what goes wrong while it writes to a file behind an error of its own
    torch.save(content, buffer)
    with replacing(path, "wb") as file:
        file.write(buffer.getbuffer())


def write_json(content: Any, path: Path) -> None:
    """Write JSON atomically; numbers that are not finite, which JSON lacks, become null."""
    write_text(json.dumps(without_nan(content), indent=2) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text atomically."""
    with replacing(path, "w") as file:
        file.write(text)


def check_writable(path: Path) -> None:
    """Check that a file can be written later; its folder is made.

    Raises
    ------
    ValueError
        If it cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def read_scores(path: Path) -> dict[str, Any]:
    """Scores that `write_json` wrote, by model and name; null becomes nan. Empty where there is no such file.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
        return {model: {k: math.nan if v is None else v for k, v in row.items()} for model, row in known.items()}
    except (AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is corrupt ({error}): delete it to score the models anew") from error


def without_nan(content: Any) -> Any:
    """Replace numbers that are not finite by None in nested dicts and lists."""
    if isinstance(content, dict):
        return {k: without_nan(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(v) for v in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error for lack of space into one that names the file.

    Raises
    ------
    DiskFullError
        If there is no space.
    """
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        full = DiskFullError(
            f"the disk is full: {path} could not be written ({os.strerror(error.errno)}); what was written before is "
            f"whole: free some space, then rerun the same command"
        )
        full.errno = error.errno
        raise full from error


@contextlib.contextmanager
def replacing(path: Path, mode: str) -> Iterator[Any]:
    """A file beside `path` that takes its place once it is whole and on disk; removed if writing fails."""
    temporary = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
