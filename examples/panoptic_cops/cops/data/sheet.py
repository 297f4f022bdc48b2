"""A sheet of samples: every image with the outlines of its true segments in the colours of their classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .pictures import legend, outlines
from .samples import VOID, Category, Sample

SIDE, COLUMNS, TEXT, GAP = 320, 4, 22, 6  # pixels of a cell, cells of a row, height of a caption, space around cells
LETTERS = 13  # pixels of their height
DARK = 0.35  # brightness of void


def sheet(samples: Sequence[tuple[str, Sample]], categories: Sequence[Category]) -> Image.Image:
    """Draw samples with captions, and a legend of the classes below; void is dark.

    Parameters
    ----------
    samples : sequence of (str, Sample)
        At least one, each with the name of its split.
    """
    columns = min(COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    cell = SIDE + GAP, SIDE + TEXT + GAP
    used = {s.category for _, sample in samples for s in sample.segments}
    entries = [((c.color,), c.name) for k, c in enumerate(categories) if k in used]
    width, top = columns * cell[0] + GAP, rows * cell[1] + GAP
    below, font = legend(entries, width, LETTERS), ImageFont.load_default(LETTERS)
    canvas = Image.new("RGB", (width, top + below.height), "white")
    canvas.paste(below, (0, top))
    pen = ImageDraw.Draw(canvas)
    for number, (split, sample) in enumerate(samples):
        left, top = GAP + number % columns * cell[0], GAP + number // columns * cell[1]
        height, width = sample.ids.shape
        text = f"{split}: {sample.name}"
        while font.getlength(text) > SIDE - 80 and len(text) > 20:
            text = text[:-2] + "…"
        pen.text((left, top + TEXT // 2), f"{text}, {width}x{height}", fill="black", font=font, anchor="lm")
        canvas.paste(drawn(sample, categories), (left, top + TEXT))
    return canvas


def drawn(sample: Sample, categories: Sequence[Category]) -> Image.Image:
    """The image at a size that fits into a cell, with outlines; drawn after scaling, so that they stay visible."""
    scale = SIDE / max(sample.ids.shape)
    size = tuple(max(1, round(n * scale)) for n in sample.ids.shape[::-1])
    smooth = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    image = np.array(Image.fromarray(sample.image).resize(size, smooth))
    small = Image.fromarray(sample.ids.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    ids = np.asarray(small).astype(np.int64)
    image[ids == VOID] = (DARK * image[ids == VOID]).astype(np.uint8)
    return Image.fromarray(outlines(image, ids, sample.segments, categories))
