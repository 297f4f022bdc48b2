"""What the readers of all annotation formats share: the images found, what was skipped, and checks of fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

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
    """

    images: list[Annotated] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def add(self, image: Annotated) -> None:
        """Add an image."""
        self.images.append(image)

    def skip(self, reason: str, what: str) -> None:
        """Note something that is left out."""
        self.skipped.setdefault(reason, []).append(what)

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
        if path.is_file():
            return path
    raise DataError(f"{where}: the image {candidates[0]} is missing: put it there, or say with --images where it is")


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
        If they are not positive integers.
    """
    if height is None and width is None:
        return None
    for value in (height, width):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= FARTHEST:
            raise DataError(
                f"{where}: height and width must be positive integers, got {height!r:.20} and {width!r:.20}"
            )
    return height, width
