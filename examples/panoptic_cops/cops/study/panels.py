"""The comparison of models on one image: their segments and mistakes, and costs and cuts of the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from ..data.pictures import Color, blended, borders, class_colors, legend
from ..data.samples import VOID, Category, Prediction, Sample, Segment
from ..scores.mistakes import KINDS, Mistakes, find_mistakes

SIDE = 400  # pixels of a panel's longer side, about: small images are enlarged by a whole number
LARGEST = 640  # pixels of it at most: larger images are shrunk
COLUMNS = 6  # panels side by side
GAP = 12  # pixels between panels
STRIPE = 4  # pixels
DENSE = 0.5  # share of pixels on outlines above which these hide a panel
COLORS: dict[str, Color] = {  # readers with colour blindness tell these apart (Okabe and Ito)
    "missed": (213, 94, 0), "false": (86, 180, 233), "split": (240, 228, 66), "merged": (204, 121, 167),
}  # fmt: skip
MEANINGS = {
    "missed": "true segment that matches no predicted one",
    "false": "predicted segment that matches no true one",
    "split": "true thing with several predicted things in it",
    "merged": "predicted thing with several true things in it",
}
MATCHES = "Segments match if their class is the same and their IoU is above 0.5. Matches are not coloured."
LINES = "Stripes: both. Black lines: true outlines. White lines: predicted outlines."
NOTHING = "no segment above the rejection thresholds"
JOIN, CUT = (5, 48, 97), (103, 0, 31)  # the ends of the colour map of affinities


@dataclass(frozen=True)
class Panel:
    """A picture with a title above it, a legend below it, and maybe a note inside it."""

    title: str
    picture: NDArray[np.uint8]
    entries: Sequence[tuple[Sequence[Color], str]] = ()
    note: str = ""


def comparison(
    path: Path,
    sample: Sample,
    results: Mapping[str, Prediction],
    categories: Sequence[Category],
    distances: Sequence[int],
) -> None:
    """Draw an image, its true segments, segments and mistakes of every model, and costs and cuts of the last one.

    Parameters
    ----------
    path : path
        Of the PNG.
    sample : Sample
    results : dict
        A prediction for each model, in the order in which they are drawn.
    categories : sequence of Category
    distances : sequence of int
        Of the edges.

    Raises
    ------
    ValueError
        If a prediction has another size than the image, or an id that its segments lack.
    """
    size = panel_size(sample.ids.shape)
    models = [model_panels(name, sample, p, categories, size) for name, p in results.items()]
    name, last = list(results.items())[-1]
    costs = cost_panels(name, last, distances, size)
    truth = segments_panel("ground truth", sample, sample.ids, sample.segments, categories, size)
    truth = replace(truth, entries=class_entries(sample, results.values(), categories))
    columns = min(COLUMNS, max(2 + len(models), len(costs)))
    stops = [0, *range(columns - 2, len(models), columns), len(models)]  # the first rows hold two panels more
    rows: list[list[Panel]] = []
    for start, stop in pairwise(stops):
        rows += [[pair[k] for pair in models[start:stop]] for k in (0, 1)]
    rows[0][:0] = [Panel("input", resized(sample.image, size)), truth]
    rows[1][:0] = [key_panel((size[0], 2 * size[1] + GAP))]
    rows += [costs[i : i + columns] for i in range(0, len(costs), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    arranged(rows).save(path)


def panel_size(size: Sequence[int]) -> tuple[int, int]:
    """Height and width at which an image of that size is drawn."""
    longest = max(size)
    scale = min(max(1, round(SIDE / longest)), LARGEST / longest)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture in another size: enlarged pixels stay sharp, shrunk ones are averaged."""
    method = Image.Resampling.NEAREST if size[0] >= image.shape[0] else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size[::-1], method))


def resized_ids(ids: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Ids in another size: each pixel takes one of the ids where it lies."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, ids.shape, strict=True))
    return ids[rows[:, None], columns]


def model_panels(
    name: str, sample: Sample, prediction: Prediction, categories: Sequence[Category], size: tuple[int, int]
) -> tuple[Panel, Panel]:
    """Segments of a model, and its mistakes."""
    own = segments_panel(name, sample, prediction.ids, prediction.segments, categories, size)
    own = replace(own, entries=[((), f"{len(prediction.segments):,} segments")], note=note_of(prediction))
    return own, mistakes_panel(name, sample, prediction, find_mistakes(sample, prediction, categories), size)


def segments_panel(
    title: str,
    sample: Sample,
    ids: NDArray[np.int64],
    segments: Sequence[Segment],
    categories: Sequence[Category],
    size: tuple[int, int],
) -> Panel:
    """The image under the colours of the classes, with a white outline around every segment; void is black."""
    large = resized_ids(ids, size)
    drawn = blended(resized(sample.image, size), class_colors(large, segments, categories))
    drawn[borders(large)] = 255
    return Panel(title, drawn)


def mistakes_panel(
    name: str, sample: Sample, prediction: Prediction, mistakes: Mistakes, size: tuple[int, int]
) -> Panel:
    """The image in grey; segments without a match in the colours of their mistakes, with outlines; and counts.

    Outlines are left out where they would hide the colours.
    """
    true, found = resized_ids(sample.ids, size), resized_ids(prediction.ids, size)
    of_true, of_found = _kinds(true, mistakes.true), _kinds(found, mistakes.predicted)
    stripe = np.add.outer(np.arange(size[0]), np.arange(size[1])) // STRIPE % 2 == 1
    kind = np.where((of_true == 0) | (stripe & (of_found > 0)), of_found, of_true)
    grey = np.array(Image.fromarray(resized(sample.image, size)).convert("L").convert("RGB"))
    colors = np.array([(0, 0, 0), *(COLORS[name] for name in KINDS)], np.uint8)[kind]
    drawn = np.where(kind[..., None] > 0, blended(grey, colors), grey)
    if not _dense(prediction.ids):
        near = binary_dilation(kind > 0, np.ones((3, 3)))
        drawn[borders(true) & near] = 0
        drawn[borders(found) & near] = 255
    counts = mistakes.counts
    return Panel(f"{name}: {counts['right']} matches", drawn, [((COLORS[k],), f"{k} {counts[k]}") for k in KINDS])


def _kinds(ids: NDArray[np.int64], kinds: Mapping[int, str]) -> NDArray[np.uint8]:
    """The mistake of every pixel's segment: its place in `KINDS`, counted from 1; 0 for none."""
    table = np.zeros(int(ids.max(initial=0)) + 1, np.uint8)
    for number, kind in kinds.items():
        if number < len(table):
            table[number] = 1 + KINDS.index(kind)
    return table[ids]


def class_entries(
    sample: Sample, predictions: Sequence[Prediction], categories: Sequence[Category]
) -> list[tuple[Sequence[Color], str]]:
    """The classes that are in the truth or in a prediction, with the number of true things."""
    true = [s.category for s in sample.segments]
    present = {*true, *(s.category for p in predictions for s in p.segments)}
    void = [(((0, 0, 0),), "void")] if (sample.ids == VOID).any() else []
    return [
        ((c.color,), f"{c.name}: {true.count(k)}" if c.isthing else c.name)
        for k, c in enumerate(categories)
        if k in present
    ] + void


def note_of(prediction: Prediction) -> str:
    """What to say of a prediction that is mostly void, or in pieces too small to see; nothing of others."""
    void = float((prediction.ids == VOID).mean())
    if void == 1:
        return NOTHING
    if void > 0.5:
        return f"{100 * void:.0f} % lies in segments below the rejection thresholds"
    if _dense(prediction.ids):
        return f"{len(prediction.segments):,} segments: most pixels lie on an outline"
    return ""


def _dense(ids: NDArray[np.int64]) -> bool:
    return bool(borders(ids).mean() > DENSE)


def cost_panels(name: str, prediction: Prediction, distances: Sequence[int], size: tuple[int, int]) -> list[Panel]:
    """Edge costs and cut edges of a model at the shortest, the middle and the longest distance."""
    from matplotlib import colormaps

    shown = sorted({0, len(distances) // 2, len(distances) - 1})
    limit = float(np.abs(prediction.edge_costs).max()) or 1.0
    affinities, cuts = [], []
    for k in shown:
        colors = colormaps["RdBu"](0.5 + prediction.edge_costs[2 * k] / (2 * limit), bytes=True)[..., :3]
        scale = [((JOIN,), f"join, up to {limit:.3g}"), ((CUT,), "cut")]
        affinities.append(Panel(f"{name}: affinity, d = {distances[k]}", resized(colors, size), scale))
        cut = np.maximum(prediction.edges[2 * k], prediction.edges[2 * k + 1])
        white = np.repeat((255 * (1 - cut))[..., None], 3, 2).astype(np.uint8)
        note = "no edge is cut" if not cut.any() else "every edge is cut" if cut.all() else ""
        share = [(((0, 0, 0),), f"cut: {100 * cut.mean():.1f} %")]
        cuts.append(Panel(f"{name}: cut edges, d = {distances[k]}", resized(white, size), share, note))
    return affinities + cuts


def key_panel(size: tuple[int, int]) -> Panel:
    """What the colours of mistakes mean."""
    font = _font_size(size[1] // 2)
    canvas = Image.new("RGB", size[::-1], "white")
    pen, y = ImageDraw.Draw(canvas), font // 2
    for color, text in (
        (None, MATCHES), *((COLORS[k], f"{k}: {MEANINGS[k]}") for k in KINDS), (None, LINES)
    ):  # fmt: skip
        left = 2 * font if color else font // 2
        if color:
            pen.rectangle((font // 2, y, font // 2 + font, y + font), fill=color, outline="gray")
        lines = wrapped(text, size[1] - left - font // 2, font)
        for line in lines:
            pen.text((left, y), line, fill="black", font=ImageFont.load_default(font))
            y += round(1.4 * font)
        y += font // 2
    return Panel("mistakes, and what they mean", np.asarray(canvas))


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Lines of a text that are no longer than `width` pixels, but for single words."""
    font = ImageFont.load_default(size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def with_note(picture: Image.Image, text: str, size: int) -> Image.Image:
    """The picture with a text on white in its middle."""
    noted, font = picture.copy(), ImageFont.load_default(size)
    pen = ImageDraw.Draw(noted)
    place = {"xy": (picture.width / 2, picture.height / 2), "anchor": "mm", "align": "center", "font": font}
    lines = "\n".join(wrapped(text, picture.width - 2 * size, size))
    left, top, right, bottom = pen.multiline_textbbox(text=lines, **place)
    pen.rectangle((left - size // 2, top - size // 2, right + size // 2, bottom + size // 2), "white", "gray")
    pen.multiline_text(text=lines, fill="black", **place)
    return noted


def arranged(rows: Sequence[Sequence[Panel]]) -> Image.Image:
    """All panels on one white canvas; the first one gives their size and that of the text."""
    size = _font_size(rows[0][0].picture.shape[1])
    places: list[tuple[int, int, Image.Image]] = []
    top = 0
    for row in rows:
        drawn = [_drawn(panel, size) for panel in row]
        left = 0
        for picture in drawn:
            places.append((left, top, picture))
            left += picture.width + GAP
        top += max(picture.height for picture in drawn)
    canvas = Image.new("RGB", (max(x + picture.width for x, _, picture in places), top), "white")
    for x, y, picture in places:
        canvas.paste(picture, (x, y))
    return canvas


def _drawn(panel: Panel, size: int) -> Image.Image:
    """A panel with its title, legend and note."""
    picture = Image.fromarray(panel.picture)
    if panel.note:
        picture = with_note(picture, panel.note, size)
    title = round(1.8 * size)
    below = legend(panel.entries, picture.width, size) if panel.entries else None
    height = title + picture.height + (size // 2 if below is None else below.height)
    canvas = Image.new("RGB", (picture.width, height), "white")
    ImageDraw.Draw(canvas).text(
        (picture.width // 2, title // 2), panel.title, fill="black", font=ImageFont.load_default(size), anchor="mm"
    )
    canvas.paste(picture, (0, title))
    if below is not None:
        canvas.paste(below, (0, title + picture.height))
    return canvas


def _font_size(width: int) -> int:
    """Pixels of the letters below a panel of that width."""
    return int(np.clip(round(width / 28), 11, 20))
