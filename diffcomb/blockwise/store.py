"""What a run has finished: one file a task, written under another name and renamed: it is whole, or not there."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array
from .._version import __version__
from .blocks import Box

RUN = "run.json"
_DAMAGED = OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error


class Store:
    """The folder of a run.

    Parameters
    ----------
    folder : path
    run : dict
        Everything that the results depend on, as JSON: inputs, options, seed.
    resume : bool
        Whether the folder may hold a run, which must be of the same inputs and options.

    Raises
    ------
    FileExistsError
        If it holds a run that may not be resumed.
    ValueError
        If it holds a run of other inputs or options.
    """

    def __init__(self, folder: Any, run: dict[str, Any], resume: bool) -> None:
        self.folder = Path(folder).absolute()
        run = json.loads(json.dumps({"diffcomb": __version__, **run}, default=_plain))
        self.digest = _hash(json.dumps(run, sort_keys=True))
        self.begun: dict[str, str] = {}
        self.token = ""
        path = self.folder / RUN
        if path.exists():
            self._check(path, run, resume)
        elif self.folder.exists() and any(not p.name.startswith(RUN) for p in self.folder.iterdir()):
            raise FileExistsError(f"store: {self.folder} holds files, but no {RUN}: choose another folder or empty it")
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(run, indent=1).encode())

    def _check(self, path: Path, run: dict[str, Any], resume: bool) -> None:
        if not resume:
            raise FileExistsError(
                f"store: {self.folder} holds a run; pass resume=True, choose another folder or delete it"
            )
        try:
            earlier = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"store: {path} cannot be read ({error}): choose another folder or delete it") from error
        changed = [
            f"{key}: {_short(earlier.get(key))} there, {_short(run.get(key))} now"
            for key in sorted({*earlier, *run})
            if earlier.get(key) != run.get(key)
        ]
        if changed:
            raise ValueError(
                f"store: {self.folder} holds a run that differs ({'; '.join(changed)}): choose another folder for "
                f"these settings, or give those of the run"
            )

    def enter(self, stage: str) -> str:
        """Begin a stage; returns a hash of all that its results depend on."""
        return self.begun.setdefault(stage, self.digest)

    def leave(self, stage: str, names: Iterable[str]) -> None:
        """End a stage: what later ones find is kept apart from what they find where these tasks left something else.

        That is so where other tasks failed, and where a task had to run again, its file being lost, with a solver that
        does not always find the same, as one with a time limit.
        """
        left = [(name, self._checksums(stage, name)) for name in sorted(names)]
        self.digest = _hash(f"{self.digest}/{stage}/{left}")

    def _checksums(self, stage: str, name: str) -> list[int] | None:
        """Of the arrays that a task left; None where it failed."""
        with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(self.path(stage, name)) as file:
            return [array.CRC for array in file.infolist()]
        return None

    def path(self, stage: str, name: str) -> Path:
        """The file of a task."""
        key = _hash(f"{self.begun.get(stage, self.digest)}/{stage}/{name}")[:16]
        return self.folder / stage / f"{name}-{key}.npz"

    def array_path(self, name: str) -> Path:
        """The folder of an array of the whole volume."""
        return self.folder / f"{name}-{self.enter(name)[:8]}.zarr"

    def seed(self, seed: int, stage: str, name: str) -> int:
        """The seed of a task, which does not depend on when and where it runs."""
        return int.from_bytes(hashlib.blake2b(f"{seed}/{stage}/{name}".encode(), digest_size=4).digest(), "big")

    def has(self, stage: str, name: str) -> bool:
        """Whether a task is finished; a damaged file counts as none, and is removed."""
        path = self.path(stage, name)
        if not path.exists():
            return False
        with contextlib.suppress(*_DAMAGED), zipfile.ZipFile(path) as file:
            if file.testzip() is None:
                return True
        path.unlink(missing_ok=True)
        return False

    def forget_unless(self, stage: str, name: str, **arrays: Array) -> None:
        """Remove the results of a task if they do not hold these arrays, or cannot be read."""
        path = self.path(stage, name)
        if not path.exists():
            return
        with contextlib.suppress(*_DAMAGED):
            found = self.load(stage, name, arrays)
            if all(np.array_equal(*pair) for pair in zip(found, arrays.values(), strict=True)):
                return
        path.unlink()

    def begin(self, stage: str, name: str) -> Store:
        """Leave a mark that a task runs now; returns the store for this try, which saves while the mark is its own."""
        mark = self._mark(stage, name)
        mark.parent.mkdir(parents=True, exist_ok=True)
        found = copy.copy(self)
        found.token = uuid.uuid4().hex
        mark.write_text(found.token)
        return found

    def is_wanted(self, stage: str, name: str) -> bool:
        """Whether no later try of the task has begun: one that ran for too long may end after the next."""
        mark = self._mark(stage, name)
        return not self.token or (mark.exists() and mark.read_text() == self.token)

    def has_begun(self, stage: str, name: str) -> bool:
        """Whether there is such a mark."""
        return self._mark(stage, name).exists()

    def forget(self, stage: str, name: str) -> None:
        """Remove it, before the task is sent again."""
        self._mark(stage, name).unlink(missing_ok=True)

    def _mark(self, stage: str, name: str) -> Path:
        return self.path(stage, name).with_suffix(".begun")

    def save(self, stage: str, name: str, **arrays: Any) -> None:
        """Keep the results of a task."""
        if not self.is_wanted(stage, name):
            return
        path = self.path(stage, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{self.token or os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, stage: str, name: str, keys: Iterable[str]) -> list[Array]:
        """Some of the arrays that a task left."""
        with self.path(stage, name).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return [file[key] for key in keys]


def remove(folder: Path) -> None:
    """Delete the folder of a run; until all else is gone, it is one that can be resumed."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    shutil.rmtree(folder)


def chunk_bytes(arrays: Sequence[Any], core: Box) -> Array:
    """The size of the file in which each array keeps a core, which is one chunk; -1 where it is all fill value."""
    sizes = []
    for array in arrays:
        place = tuple(start // length for start, length in zip(core.start, array.chunks, strict=True))
        path = Path(array.store.root, array.path, array.metadata.encode_chunk_key(place))
        sizes.append(path.stat().st_size if path.exists() else -1)
    return np.array(sizes, np.int64)


def stored(array: Any, box: Box) -> Array:
    """A part of an array of the whole volume, which other tasks have written."""
    try:
        return np.asarray(array[box.slices], np.int64)
    except Exception as error:  # whatever the decoder makes of damaged bytes
        folder = Path(array.store.root, array.path)
        raise OSError(f"{folder} is damaged ({error}): delete that folder; a rerun computes it again") from error


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
