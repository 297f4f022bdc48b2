"""The files behind a sample."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class SampleFiles(NamedTuple):
    """The image of a sample, and all files that say what it shows: its label image, and a JSON file where one does."""

    image: Path
    labels: tuple[Path, ...]
