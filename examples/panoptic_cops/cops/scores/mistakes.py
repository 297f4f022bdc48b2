"""Where a prediction is wrong, and how: segments that are missed, false, split or merged.

Segments match as for panoptic quality. What has no match is explained by the segments of its class that it covers:

- a true thing is *split* if several predicted things lie mostly inside it, and together cover more than half of it;
- a predicted thing is *merged* if several true things lie mostly inside it, and together cover more than half of it;
- any other true segment without a match is *missed*, and any other predicted one is *false*.

So a piece of a split thing is not false as well, and a thing in a merged one is not missed as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..data.samples import VOID, Category, Prediction, Sample, Segment
from .quality import PanopticQuality

KINDS = ("missed", "false", "split", "merged")


@dataclass(frozen=True)
class Mistakes:
    """The mistakes in one image.

    Attributes
    ----------
    true, predicted : the kind of every segment without a match, by id
    counts : matched pairs ("right"), missed and split true segments, false and merged predicted ones
    """

    true: dict[int, str]
    predicted: dict[int, str]
    counts: dict[str, int]


def find_mistakes(sample: Sample, prediction: Prediction, categories: Sequence[Category]) -> Mistakes:
    """Every segment of an image that has no match, and why.

    Raises
    ------
    ValueError
        If sizes differ or the prediction holds an id that its segments lack.
    """
    found = PanopticQuality(categories).match(prediction.ids, prediction.segments, sample)
    predicted, real = _things(prediction.segments, categories), _things(sample.segments, categories)
    alike = {pair: a for pair, a in found.overlap.items() if VOID not in pair and _alike(pair, predicted, real)}
    split = _covered({(g, p): a for (p, g), a in alike.items()}, found.real_area, found.area)
    merged = _covered(alike, found.area, found.real_area)
    pieces, swallowed = ({part for parts in whole.values() for part in parts} for whole in (split, merged))
    of_true = {g: "split" if g in split else "merged" if g in swallowed else "missed" for g in found.missed}
    of_predicted = {p: "merged" if p in merged else "split" if p in pieces else "false" for p in found.false}
    counts = {
        "right": len(found.iou),
        "missed": list(of_true.values()).count("missed"),
        "false": list(of_predicted.values()).count("false"),
        "split": len(split),
        "merged": len(merged),
    }
    return Mistakes(of_true, of_predicted, counts)


def _things(segments: Sequence[Segment], categories: Sequence[Category]) -> dict[int, int]:
    """The class of every thing, by id; crowds are none."""
    return {s.id: s.category for s in segments if categories[s.category].isthing and not s.iscrowd}


def _alike(pair: tuple[int, int], predicted: Mapping[int, int], real: Mapping[int, int]) -> bool:
    p, g = pair
    return p in predicted and g in real and predicted[p] == real[g]


def _covered(
    overlap: Mapping[tuple[int, int], int], wholes: Mapping[int, int], parts: Mapping[int, int]
) -> dict[int, list[int]]:
    """Segments in which several of the other side lie, each by more than half, that fill more than half of it."""
    inside: dict[int, list[int]] = defaultdict(list)
    for (whole, part), pixels in overlap.items():
        if 2 * pixels > parts[part]:
            inside[whole].append(part)
    return {
        whole: members
        for whole, members in inside.items()
        if len(members) > 1 and 2 * sum(overlap[whole, part] for part in members) > wholes[whole]
    }
