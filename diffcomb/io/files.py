"""Files as such: errors that name them, and outputs that are checked before the work and never left half written."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np

STREAMS = (Path("/dev"), Path("/dev/fd"))  # folders of what is written as it is, /dev/stdout for instance
WRONG_CONTENT = (ValueError, TypeError, OverflowError)
DAMAGE = (EOFError, LookupError, RuntimeError, SyntaxError, TokenError, struct.error, zipfile.BadZipFile, zlib.error)

FOREIGN = ("allow_pickle", "Python objects", "magic string")  # in errors of numpy, which advise what is not safe


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Raise what is wrong with the content of a file as a ValueError that begins with its name."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: the file holds text that is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8, "
            f"or name the file's format if it is no text"
        ) from error
    except WRONG_CONTENT as error:
        foreign = any(words in str(error) for words in FOREIGN)
        reason = "this is no such file of numpy, or it holds Python objects, which are not loaded" if foreign else error
        raise ValueError(f"{path}: {reason}") from error
    except DAMAGE as error:
        raise ValueError(f"{path}: the file is damaged, incomplete or of another format: {error}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the file cannot be read at all, and the system says so
            raise
        raise ValueError(f"{path}: the file is damaged, incomplete or of another format: {error}") from error


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark."""
    return path.read_text(encoding="utf-8-sig")


@contextmanager
def opened_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an npz file, which are loaded one by one."""
    with path.open("rb") as file:  # which numpy leaves open where the file is damaged
        opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise ValueError("this is a single array (.npy), not an npz file of named arrays: numpy.savez writes those")
        with opened:
            yield opened


def check_writable(path: Path, may_be_folder: bool = False) -> None:
    """Raise a ValueError unless a file can be made at `path`, or replaced there.

    Parameters
    ----------
    path : Path
    may_be_folder : bool
        Whether the output is a folder, as of zarr.
    """
    if _is_stream(path):
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        folder = f"{target.parent}, where the link leads" if path.is_symlink() else path.parent
        raise ValueError(f"there is no folder {folder}: make it, or choose another output than {str(path)!r}")
    if target.is_dir() and not may_be_folder:
        raise ValueError(f"{path} is a folder: choose another output")
    if target.exists() and not os.access(target, os.W_OK):
        raise ValueError(f"{path} may not be written: change its permissions, or choose another output")
    try:
        with tempfile.TemporaryDirectory(prefix=".diffcomb-", dir=target.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"nothing can be written in the folder of {path} ({reason}): choose another output") from error


def check_keeps(path: Path, source: Path, name: str) -> None:
    """Raise a ValueError if writing `path` would replace `source`, which the user calls `name`."""
    same = path.exists() and source.exists() and not _is_stream(path) and path.samefile(source)
    if same or os.path.realpath(path) == os.path.realpath(source):
        raise ValueError(f"the output {str(path)!r} would replace {name!r}, which is read: choose another file")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when it is complete; if writing fails, the old file stays.

    A link stays a link: the file that it points to is replaced. Devices and pipes are written as they are; what is
    already in a file that /dev/stdout leads to, stays.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        with tempfile.TemporaryDirectory(prefix="diffcomb-") as folder:
            unfinished = Path(folder) / "output"
            yield unfinished
            with unfinished.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as stream:
                shutil.copyfileobj(source, stream)
        return
    if _is_stream(path):
        yield path
        return
    check_writable(path)
    target = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(prefix=".diffcomb-", dir=target.parent) as folder:  # on the same file system
        unfinished = Path(folder) / target.name
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        unfinished.replace(target)


@contextmanager
def replacing_folder(path: Path, beside: Path) -> Iterator[Path]:
    """A folder to make, which takes the place of `path` when it is complete; if that fails, the old one stays.

    It is made where `beside` lies, a file or folder of the same file system.
    """
    with tempfile.TemporaryDirectory(prefix=".diffcomb-", dir=beside.parent) as folder:
        unfinished, old = Path(folder) / "new", Path(folder) / "old"
        yield unfinished
        if path.exists():
            path.rename(old)
        try:
            unfinished.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise


def descriptor_of(path: Path) -> int | None:
    """The number of the open file that a path as /dev/stdout stands for; None for any other path."""
    if path.parent == STREAMS[1] and path.name.isdigit():
        return int(path.name)
    return {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path))


def _is_stream(path: Path) -> bool:
    special = path.exists() and not path.is_file() and not path.is_dir()
    return special or path.absolute().parent in STREAMS
