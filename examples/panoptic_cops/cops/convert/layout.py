"""How labels become classes and numbers: what a call chooses, and what classes.json of an earlier call says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..data.coco import read_json
from ..data.folder import read_classes
from ..data.samples import DataError, first_double
from ..files import write_json
from .shapes import Annotated
from .sources import Source

Counts = list[tuple[Annotated, Counter[str]]]  # images, and how many instances of every label they have
DIVISORS = (1000, 500, 400, 300, 200, 2000, 5000, 10000, 20000, 30000)  # of labels with 16 bits, by preference


@dataclass(frozen=True)
class Choice:
    """How labels become classes.

    Attributes
    ----------
    classes : all classes in their order; without them, those that the source lists or that occur
    stuff : names of those that are stuff
    void : labels whose pixels become void
    background : the stuff class of all pixels that no shape covers; "" makes them void, None leaves it to the folder
        that an earlier call wrote, or else to the source
    """

    classes: tuple[str, ...] = ()
    stuff: frozenset[str] = frozenset()
    void: frozenset[str] = frozenset()
    background: str | None = None


class Layout(NamedTuple):
    """What classes.json says, and the suffix of labels that hold such numbers."""

    numbers: dict[str, int]
    stuff: set[str]
    divisor: int
    background: str | None = None

    @property
    def suffix(self) -> str:
        return ".png" if (max(self.numbers.values(), default=0) + 1) * self.divisor <= 2**16 else ".tif"

    def write(self, path: Path) -> None:
        """Write classes.json; readers of data ignore "background", which later calls take over."""
        classes = [{"id": k, "name": n, "isthing": n not in self.stuff} for n, k in self.numbers.items()]
        write_json({"divisor": self.divisor, "background": self.background, "classes": classes}, path)


def new_layout(source: Source, counts: Counts, choice: Choice) -> Layout:
    """Classes and divisor of a folder that holds nothing yet."""
    background = (source.background if choice.background is None else choice.background) or None
    occurring = sorted({label for _, labels in counts for label in labels})
    names = _with_background(choice.classes or source.classes or occurring, background, choice)
    _check_names(names)
    stuff = choice.stuff | ({background} if background is not None else set())
    for name in sorted(stuff - set(names)):
        raise DataError(f"--stuff names {name!r}, which is none of the classes {', '.join(names)}")
    numbers = {name: k for k, name in enumerate(names, start=1)}
    return Layout(numbers, set(stuff), _divisor(len(names), _most(counts, stuff)), background)


def earlier_layout(path: Path, source: Source, choice: Choice) -> Layout:
    """Classes and divisor of the folder that an earlier call wrote.

    Raises
    ------
    DataError
        If its file is malformed, or a choice differs from that of the earlier call.
    """
    categories, divisor = read_classes(path)
    names, stuff = [c.name for c in categories], {c.name for c in categories if not c.isthing}
    content = read_json(path)
    if "background" in content:
        background = content["background"]
    else:  # this program did not write the file
        background = source.background if choice.background is None else choice.background
        background = background if background in stuff else None
    if background is not None and background not in list(stuff):
        raise DataError(f"{path}: 'background' must be null or a stuff class, got {background!r:.80}")
    given_classes = _with_background(choice.classes, background, choice)
    given_stuff = sorted(choice.stuff | ({background} if background is not None else set()))
    for option, found, given in (
        ("background", [background or ""], None if choice.background is None else [choice.background]),
        ("classes", names, given_classes if choice.classes else None),
        ("stuff", sorted(stuff), given_stuff if choice.stuff else None),
    ):
        if given is not None and given != found:
            of_folder, of_call = (
                " ".join([f"--{option}", *map(repr, values)]) if any(values) else f"no --{option}"
                for values in (found, given)
            )
            raise DataError(
                f"{path}, which an earlier call wrote, stands for {of_folder}, but this call says {of_call}: leave out "
                f"--{option} to take over the earlier choice, or choose another --out"
            )
    return Layout({c.name: c.id for c in categories}, stuff, divisor, background)


def _with_background(classes: Iterable[str], background: str | None, choice: Choice) -> list[str]:
    """All classes in their order, without those that become void."""
    names = [name for name in classes if name not in choice.void]
    return names if background is None or background in names else [*names, background]


def checked(layout: Layout, counts: Counts, choice: Choice, path: Path | None) -> Layout:
    """The layout if it has room for all labels; `path` is the file that an earlier call wrote, if it comes from one."""
    known = str(path) if path is not None else "--classes" if choice.classes else "the list of classes"
    for image, labels in counts:
        for label in labels:
            if label not in layout.numbers and label not in choice.void:
                raise DataError(
                    f"{image.where}: the label {label!r} is unknown to {known}; --void {label!r} makes it void"
                )
    if (most := _most(counts, layout.stuff)) >= layout.divisor:
        raise DataError(
            f"{path} has the divisor {layout.divisor}, but an image has {most} instances of a class: convert all "
            f"splits to a new --out, the one with this image first"
        )
    return layout


def _most(counts: Counts, stuff: Set[str]) -> int:
    """The largest number of instances of one thing in an image."""
    return max((n for _, labels in counts for label, n in labels.items() if label not in stuff), default=0)


def _check_names(names: list[str]) -> None:
    """Raise a DataError for names that stand twice, or differ in capitals only."""
    if (twice := first_double(names)) is not None:
        raise DataError(f"the class {twice!r} is named twice")
    if (twice := first_double([name.casefold() for name in names])) is not None:
        alike = [name for name in names if name.casefold() == twice]
        raise DataError(f"the classes {' and '.join(map(repr, alike))} differ in capitals only: rename one of them")


def _divisor(classes: int, most: int) -> int:
    """A number above those of instances and classes, for which labels have 16 bits if that is possible."""
    for divisor in DIVISORS:
        if divisor > max(most, classes) and (classes + 1) * divisor <= 2**16:
            return divisor
    divisor = int(10 ** max(3, len(str(max(most, classes)))))
    if (classes + 1) * divisor > 2**31:
        raise DataError(f"{classes} classes and {most} instances of a class in an image do not fit into 32 bits")
    return divisor
