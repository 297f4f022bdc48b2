"""What the readers of all annotation formats share: the images found, what was skipped, and checks of fields."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from tqdm import tqdm

from ..data.images import MAX_PIXELS
from ..data.samples import DataError
from .shapes import FARTHEST, Annotated, Size

T = TypeVar("T")


@dataclass
class Source:
    """Annotated images of one source.

    Attributes
    ----------
    images : in the order of the source
    classes : labels in the order in which the source lists them; empty if it has no list
    skipped : what was left out on purpose, by reason
    doubts : what is converted and may be wrong, by reason
    background : the stuff class of what nothing covers, where no other is chosen; it is void without one
    """

    images: list[Annotated] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    doubts: dict[str, list[str]] = field(default_factory=dict)
    background: str | None = None

    def add(self, image: Annotated) -> None:
        """Add an image."""
        self.images.append(image)

    def skip(self, reason: str, what: str) -> None:
        """Note something that is left out."""
        self.skipped.setdefault(reason, []).append(what)

    def doubt(self, reason: str, what: str) -> None:
        """Note something that may be wrong."""
        self.doubts.setdefault(reason, []).append(what)

    @staticmethod
    def progress(items: Sequence[T]) -> Iterable[T]:
        """The items, with a progress bar."""
        return tqdm(items, desc="reading", unit="annotation")


def existing(candidates: Sequence[Path], where: str) -> Path:
    """The first candidate that is a file.

    Raises
    ------
    DataError
        If none is.
    """
    for path in candidates:
        with contextlib.suppress(OSError, ValueError):  # of names that no file can have
            if path.is_file():
                return path
    others = ", ".join(map(str, dict.fromkeys(candidates[1:])))
    raise DataError(
        f"{where}: the image {candidates[0]} is missing{f' (also tried: {others})' * bool(others)}: put it there, or "
        f"say with --images where it is"
    )


def file_name(value: Any, field: str, where: str) -> str:
    """The value if it names a file; a DataError quotes it if not."""
    if not isinstance(value, str) or not PureWindowsPath(value).name:  # which also splits at "/"
        raise DataError(f"{where}: {field!r} must be the name of a file, got {value!r:.80}")
    return value


def name_of_label(label: Any, where: str) -> str:
    """The label without spaces around it; a DataError if it is no text, or empty."""
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{where}: a label must be a text, got {label!r:.80}")
    return label.strip()


def stated_size(height: Any, width: Any, where: str) -> Size | None:
    """Height and width that an annotation states; None if it states none.

    Raises
    ------
    DataError
        If they are not positive integers, or no image of that size is read.
    """
    if height is None and width is None:
        return None
    for value in (height, width):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= FARTHEST:
            raise DataError(
                f"{where}: height and width must be positive integers, got {height!r:.20} and {width!r:.20}"
            )
    check_pixels(height, width, where)
    return height, width


def check_pixels(height: int, width: int, where: str) -> None:
    """Raise a DataError for a size that no image has which is read here."""
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{where}: {width}x{height} pixels cannot be right: images have at most {MAX_PIXELS:,} pixels here"
        )
