"""The images of every split, recorded in the run folder: none that was trained on may later count as held out.

Splits are drawn from the images that the data set has, so a few more images redraw them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config import Config
from ..data.sample_files import SampleFiles
from ..data.samples import Dataset
from ..data.splits import Splits, files_of
from ..files import write_json
from .run import OTHER_OUT

FILE = "splits.json"
FILES = "test_files"  # what the record calls the fingerprint of the test split's images and labels
SHOWN = 5  # images in an error


def record_splits(config: Config, splits: Splits, out: Path, scores: Iterable[str]) -> None:
    """Write splits.json, or compare with what an earlier call of this run wrote.

    If images or labels of the test split have changed, the files `scores` of the run go: models are scored anew.

    Raises
    ------
    ValueError
        If images for training or validation are others than when the run began, or splits.json is corrupt.
    """
    if config.data == "scenes" or config.dataset.overfit is not None:  # no split depends on what else is in a folder
        return
    root = str(config.root)
    names = {split: _names(data, root) for split, data in splits._asdict().items()}
    today = {**names, FILES: _fingerprint(files_of(splits.test), root)}
    earlier = _read(out / FILE)
    changed = _changes(earlier, names, ("train", "validation")) if earlier else []
    if changed:
        raise ValueError(_other_splits(root, out, changed, OTHER_OUT))
    if earlier == today:
        return
    known = earlier.get(FILES)  # not of a record that an earlier version wrote
    for path in (out / name for name in scores if known and (out / name).exists()):
        print(f"images or labels of the test split have changed since {path} was written: scoring again")
        path.unlink()
    write_json(today, out / FILE)


def check_held_out(checkpoint: Path, config: Config, split: str, data: Dataset) -> None:
    """Compare a split with the record of the run in whose folder the checkpoint lies, if there is one.

    Raises
    ------
    ValueError
        If an image of the split was in another one when the run began, or splits.json is corrupt.
    """
    folder = checkpoint.absolute().parent
    recorded = _read(folder.parent / FILE) if folder.name == "checkpoints" else {}
    if not recorded:
        return
    changes = _changes(recorded, {split: _names(data, str(config.root))}, (split,))
    moved = [text for text in changes if "has moved" in text]  # images that are new are held out as well
    if moved:
        raise ValueError(_other_splits(str(config.root), folder.parent, moved, "train on them with another --out"))


def _names(data: Dataset, root: str) -> list[str]:
    return [os.path.relpath(files.image, root) for files in files_of(data)]


def _fingerprint(samples: Sequence[SampleFiles], root: str) -> str:
    """Changes with every image or label file that is added, removed or written."""
    found = [(os.path.relpath(p, root), p.stat()) for p in sorted({p for s in samples for p in (s.image, *s.labels)})]
    text = json.dumps([(name, status.st_size, status.st_mtime_ns) for name, status in found])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> dict[str, list[str] | str]:
    """The record; empty where there is none, as in runs of earlier versions."""
    try:
        content = json.loads(path.read_text()) if path.exists() else {}
        return {FILES: content.get(FILES, ""), **{s: content[s] for s in Splits._fields}} if content else {}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is corrupt ({error}): {OTHER_OUT}") from error


def _changes(earlier: dict[str, list[str] | str], today: dict[str, list[str]], of: Sequence[str]) -> list[str]:
    """What happened to every image that one of the splits `of` has gained or lost."""
    was = {name: split for split in Splits._fields for name in earlier.get(split, ())}
    now = {name: split for split, names in today.items() for name in names}
    pairs = [(name, was.get(name), now.get(name)) for name in sorted(was | now)]
    return [f"{name} {_change(a, b)}" for name, a, b in pairs if a != b and {a, b} & set(of)]


def _change(was: str | None, now: str | None) -> str:
    if was is None:
        return f"is new in {now}"
    return f"is gone from {was}" if now is None else f"has moved from {was} to {now}"


def _other_splits(root: str, out: Path, changes: list[str], advice: str) -> str:
    more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    listed = "; ".join(changes[:SHOWN]) + more
    return f"{root} has other splits than when the run in {out} began ({listed}): restore the images, or {advice}"
