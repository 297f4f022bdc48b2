"""What a data set is: categories, and samples of an image with its panoptic ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = 0  # segment id of pixels without a label
SHOWN = 3  # differences that a message names


class DataError(Exception):
    """The data on disk are not as they should be; the message says which file, and what to do."""


Note = Callable[[str], None]  # takes one problem of the data; reading goes on after it if it returns


def refuse(problem: str) -> None:
    """Raise a DataError: what training, evaluation and prediction do with the first problem."""
    raise DataError(problem)


def noted(note: Note, read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns; None if it raised a DataError, of which `note` has got the message."""
    try:
        return read(*arguments)
    except DataError as error:
        note(str(error))
        return None


@dataclass(frozen=True)
class Category:
    """One class; its index in ``Dataset.categories`` is the class label used everywhere in training."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic image; `category` is an index into the data set's categories."""

    id: int
    category: int
    iscrowd: bool = False


@dataclass(frozen=True)
class Sample:
    """An image (H, W, 3) uint8, its segment ids (H, W) int64 with 0 for void, and what those segments are.

    `image_id` is what the data set itself calls the image, for dumps that an official evaluation reads; `file_name`
    is the image's file, with the folders in which the data set has it.
    """

    name: str
    image: NDArray[np.uint8]
    ids: NDArray[np.int64]
    segments: tuple[Segment, ...]
    image_id: int | str | None = None
    file_name: str | None = None

    def class_map(self) -> NDArray[np.int64]:
        """Class label of every pixel; -1 for void and crowds."""
        labels = np.full(int(self.ids.max(initial=0)) + 1, -1, np.int64)
        for segment in self.segments:
            if segment.id < len(labels) and not segment.iscrowd:
                labels[segment.id] = segment.category
        return labels[self.ids]


@dataclass(frozen=True)
class Prediction:
    """A panoptic segmentation of one image.

    Attributes
    ----------
    ids : (H, W) int64, 0 for void
    segments : what the ids are
    scores : confidence of every segment, higher is surer (the negative of eq. 12)
    classes : (H, W) int64, the class of every pixel before small segments are rejected
    edges : (O, h, w) uint8, the cut edges on the grid, or on pixels
    class_costs, edge_costs : the costs that were solved for
    """

    ids: NDArray[np.int64]
    segments: tuple[Segment, ...]
    scores: tuple[float, ...]
    classes: NDArray[np.int64]
    edges: NDArray[np.uint8]
    class_costs: NDArray[np.float32]
    edge_costs: NDArray[np.float32]


class ImageKey(NamedTuple):
    """What a data set calls an image, known before the image is read; see `Sample`."""

    image_id: int | str | None
    file_name: str


class Dataset(Protocol):
    """A sequence of samples with its categories; `image_keys` names the samples without reading them."""

    categories: tuple[Category, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def image_keys(self) -> list[ImageKey]: ...


class Subset:
    """Some samples of a data set, by index."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = list(indices)
        self.categories = dataset.categories

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def image_keys(self) -> list[ImageKey]:
        """What the data set calls these samples."""
        keys = self.dataset.image_keys()
        return [keys[i] for i in self.indices]


def augmented(
    sample: Sample,
    size: tuple[int, int],
    rng: np.random.Generator,
    shortest_edges: Sequence[int] | None = None,
    brightness: float = 0.0,
    turns: bool = False,
    flip: bool = True,
) -> Sample:
    """Section 4.1: resize so that the shorter edge is one of those given, crop, flip; and change the brightness.

    With `turns`, a square crop is also turned by 0, 90, 180 or 270 degrees, another one by 0 or 180.
    """
    if shortest_edges:
        sample = resized(sample, int(rng.choice(shortest_edges)))
    sample = random_crop(sample, size, rng, flip)
    if brightness > 0:
        factor = rng.uniform(1 - brightness, 1 + brightness)
        sample = replace(sample, image=np.clip(factor * sample.image, 0, 255).astype(np.uint8))
    if turns:
        quarters = int(rng.integers(4)) if size[0] == size[1] else 2 * int(rng.integers(2))
        image, ids = (np.ascontiguousarray(np.rot90(a, quarters)) for a in (sample.image, sample.ids))
        sample = replace(sample, image=image, ids=ids)
    return sample


def resized(sample: Sample, shortest_edge: int) -> Sample:
    """The sample with a shorter edge of that length: the image bilinearly, its segments by nearest neighbours."""
    height, width = sample.ids.shape
    scale = shortest_edge / min(height, width)
    new = max(1, round(width * scale)), max(1, round(height * scale))
    image = np.asarray(Image.fromarray(sample.image).resize(new, Image.Resampling.BILINEAR))
    ids = np.asarray(Image.fromarray(sample.ids.astype(np.int32)).resize(new, Image.Resampling.NEAREST))
    return replace(sample, image=image, ids=ids.astype(np.int64))


def random_crop(sample: Sample, size: tuple[int, int], rng: np.random.Generator, flip: bool = True) -> Sample:
    """Crop to `size` at random, padding what is missing with void; with `flip`, mirror left and right at random."""
    image, ids = sample.image, sample.ids
    pad = [(0, max(0, want - have)) for want, have in zip(size, ids.shape, strict=True)]
    if any(after for _, after in pad):
        image = np.pad(image, [*pad, (0, 0)])
        ids = np.pad(ids, pad, constant_values=VOID)
    top, left = (int(rng.integers(have - want + 1)) for want, have in zip(size, ids.shape, strict=True))
    window = slice(top, top + size[0]), slice(left, left + size[1])
    image, ids = image[window], ids[window]
    if flip and rng.random() < 0.5:
        image, ids = image[:, ::-1], ids[:, ::-1]
    return replace(sample, image=np.ascontiguousarray(image), ids=np.ascontiguousarray(ids))


def parse_categories(entries: Sequence[Any], path: Path) -> tuple[Category, ...]:
    """Categories of the entries {"id", "name", "isthing"} and perhaps "color" of a JSON file.

    Raises
    ------
    DataError
        If a field is missing or of another type, or an id or a name stands twice.
    """
    found: list[Category] = []
    for entry in entries:
        try:
            number, name = whole(entry["id"], "id"), entry["name"]
            if not isinstance(name, str):
                raise ValueError(f"'name' must be a string, got {name!r}")
            found.append(Category(number, name, flag(entry["isthing"], "isthing"), _color(entry, number)))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: a category is malformed: {said(error)}, in {entry!r:.120}") from error
    for what, values in (("id", [c.id for c in found]), ("name", [c.name for c in found])):
        if (twice := first_double(values)) is not None:
            raise DataError(f"{path}: the category {what} {twice!r} is given twice")
    return tuple(found)


def unique(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different values in order, and the number of each element's value among them, as np.unique finds them.

    Values that are not negative and not many times larger than the number of elements are counted instead of sorted,
    which is many times faster for large labels.
    """
    if not values.size or values.min() < 0 or values.max() > 4 * values.size:
        found, inverse = np.unique(values, return_inverse=True)
        return found, inverse.reshape(values.shape)
    present = np.bincount(values.ravel()) > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[values]


def whole(value: Any, field: str) -> int:
    """The value if it is an integer, else a ValueError that quotes it as it is written."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{field!r} must be an integer, got {value!r}")
    return value


def flag(value: Any, field: str) -> bool:
    """The value if it is true or false, or 1 or 0, else a ValueError that quotes it as it is written."""
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f"{field!r} must be 0, 1, true or false, got {value!r}")
    return bool(value)


def first_double(values: Sequence[Any]) -> Any | None:
    """The first value that occurs a second time; None if all differ."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def said(error: Exception) -> str:
    """Describe a missing key, a wrong type or a wrong value, for messages."""
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def category_differences(a: Sequence[Category], b: Sequence[Category], of_a: str, of_b: str) -> str | None:
    """Describe how two lists of classes differ in ids, names, kinds or order; None if they agree.

    Colours make no difference.
    """
    first, second = ([_shown(c) for c in part] for part in (a, b))
    if first == second:
        return None
    if sorted(first) == sorted(second):
        i = next(i for i, (x, y) in enumerate(zip(first, second, strict=True)) if x != y)
        return f"another order: number {i + 1} is {first[i]} in {of_a}, and {second[i]} in {of_b}"
    by_id = {c.id: _shown(c) for c in a}, {c.id: _shown(c) for c in b}
    lines = [
        f"{by_id[0].get(i, 'absent')} in {of_a} is {by_id[1].get(i, 'absent')} in {of_b}"
        if i in by_id[0]
        else f"{by_id[1][i]} in {of_b} is absent in {of_a}"
        for i in dict.fromkeys([*by_id[0], *by_id[1]])
        if by_id[0].get(i) != by_id[1].get(i)
    ]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _shown(c: Category) -> str:
    return f"{c.name!r} (id {c.id}, {'thing' if c.isthing else 'stuff'})"


def _color(entry: dict[str, Any], number: int) -> tuple[int, int, int]:
    if "color" not in entry:
        r, g, b = np.random.default_rng(abs(number)).integers(40, 230, 3).tolist()
        return r, g, b
    color = entry["color"]
    if not isinstance(color, list) or len(color) != 3 or not all(0 <= whole(c, "color") < 256 for c in color):
        raise ValueError(f"'color' must be three numbers from 0 to 255, got {color!r}")
    return color[0], color[1], color[2]
