"""The comparison of models on one image: colours of mistakes, counts, notes, and a legible arrangement."""

from dataclasses import replace

import cops.study.panels
import numpy as np
import pytest
from cops.data.samples import Category, Sample, Segment
from cops.scores.mistakes import KINDS, find_mistakes
from cops.study.panels import (
    COLORS,
    LARGEST,
    NOTHING,
    arranged,
    class_entries,
    comparison,
    cost_panels,
    mistakes_panel,
    model_panels,
    note_of,
    panel_size,
    resized,
    resized_ids,
    segments_panel,
    with_note,
    wrapped,
)
from PIL import Image, ImageFont
from prediction_files import prediction

CATEGORIES = (Category(1, "floor", False, (10, 200, 30)), Category(2, "cell", True, (200, 100, 50)))
FLOOR, CELL = 0, 1
DISTANCES = [1, 4]


def sample(ids, *cells):
    ids = np.asarray(ids, np.int64)
    segments = tuple(Segment(i, CELL if i in cells else FLOOR) for i in np.unique(ids).tolist() if i)
    image = np.random.default_rng(0).integers(0, 255, (*ids.shape, 3), np.uint8)
    return Sample("a", image, ids, segments)


def found(ids, *cells):
    """A prediction with costs and cut edges at two distances."""
    ids = np.asarray(ids, np.int64)
    result = prediction(ids, [(s.id, s.category) for s in sample(ids, *cells).segments])
    costs = np.random.default_rng(1).normal(size=(4, *ids.shape)).astype(np.float32)
    return replace(result, edge_costs=costs, edges=(costs < 0).astype(np.uint8))


@pytest.fixture
def cells():
    """Six cells of 8×8 pixels on a floor: right, missed, split, two merged, and one of which half is found."""
    ids = np.full((40, 60), 9)
    for number in range(6):
        ids[16:24, 2 + 8 * number : 10 + 8 * number] = number + 1
    guess = ids.copy()
    guess[ids == 2] = 9
    guess[16:20, 18:26] = 7
    guess[ids == 5] = 4
    guess[20:24, 42:50] = 8
    guess[16:20, 42:50] = 9
    guess[30:34, 30:36] = 10
    guess[guess == 6] = 0
    return sample(ids, 1, 2, 3, 4, 5, 6), found(guess, 1, 3, 4, 7, 8, 10)


def test_colours_say_where_a_model_is_wrong_and_counts_how_often(cells):
    truth, guess = cells
    mistakes = find_mistakes(truth, guess, CATEGORIES)
    panel = mistakes_panel("baseline", truth, guess, mistakes, truth.ids.shape)
    grey = np.array(Image.fromarray(truth.image).convert("L").convert("RGB"))

    def mixed(pixel, kind):
        return np.abs(panel.picture[pixel] - (0.45 * grey[pixel] + 0.55 * np.array(COLORS[kind]))).max() <= 1

    for pixel, kind in {
        (18, 13): "missed", (18, 20): "split", (22, 20): "split", (20, 30): "merged", (20, 38): "merged",
        (32, 32): "false", (17, 45): "missed",
    }.items():  # fmt: skip
        assert mixed(pixel, kind), (pixel, kind)
    for pixel in ((20, 5), (5, 50)):  # a cell with a match, and floor
        assert (panel.picture[pixel] == grey[pixel]).all()
    both = [(y, x) for y in (21, 22) for x in range(43, 49)]  # half of a cell: missed, and what was found is false
    assert {kind for pixel in both for kind in ("missed", "false") if mixed(pixel, kind)} == {"missed", "false"}
    assert all(mixed(pixel, "missed") or mixed(pixel, "false") for pixel in both)
    assert panel.title == "baseline: 2 matches"
    assert [text for _, text in panel.entries] == ["missed 2", "false 2", "split 1", "merged 1"]
    assert [color for (color,), _ in panel.entries] == [COLORS[kind] for kind in KINDS]


def test_outlines_of_truth_and_prediction_are_drawn_at_mistakes_only(cells):
    truth, guess = cells
    panel = mistakes_panel("m", truth, guess, find_mistakes(truth, guess, CATEGORIES), (80, 120))
    assert (panel.picture[2 * 18, 2 * 18 - 1] == 255).all()  # the predicted outline of the split cell
    assert (panel.picture[2 * 18, 2 * 34 - 1] == 0).all()  # the true outline between the merged ones
    assert not (panel.picture[:, : 2 * 9] == 255).all(-1).any()  # nothing at the cell that was found


def test_segments_have_the_colours_of_their_classes_and_white_outlines_one_pixel_wide(cells):
    truth, _ = cells
    panel = segments_panel("truth", truth, truth.ids, truth.segments, CATEGORIES, (200, 300))
    cell = panel.picture[5 * 16 : 5 * 24 - 1, 5 * 2 : 5 * 10 - 1]
    image = resized(truth.image, (200, 300))[5 * 16 : 5 * 24 - 1, 5 * 2 : 5 * 10 - 1]
    np.testing.assert_allclose(cell, 0.45 * image + 0.55 * np.array([200, 100, 50]), atol=1)
    assert (panel.picture[5 * 16 : 5 * 24, 5 * 10 - 1] == 255).all()


def test_panels_are_legible_for_small_images_and_bounded_for_large_ones():
    assert [panel_size((n, n))[0] for n in (64, 128, 250, 256, 512)] == [384, 384, 500, 512, 512]
    assert panel_size((1024, 2048)) == (LARGEST // 2, LARGEST)
    assert panel_size((1, 3000)) == (1, LARGEST)


@pytest.mark.parametrize("size", [(3, 4), (9, 12), (2, 2)])
def test_ids_in_another_size_are_ids_of_the_place(size):
    ids = np.arange(12).reshape(3, 4)
    large = resized_ids(ids, size)
    assert large.shape == size
    assert [large[0, 0], large[-1, -1]] == [0, ids[(size[0] - 1) * 3 // size[0], (size[1] - 1) * 4 // size[1]]]
    if size == (9, 12):
        np.testing.assert_array_equal(large, ids.repeat(3, 0).repeat(3, 1))


def test_undertrained_models_get_a_note_inside_their_panel(cells):
    truth, guess = cells
    nothing = replace(guess, ids=0 * guess.ids, segments=(), scores=())
    assert note_of(nothing) == NOTHING == "no segment above the rejection thresholds"
    assert note_of(guess) == ""
    most = found(np.where(np.arange(2400).reshape(40, 60) < 600, 9, 0))
    assert note_of(most) == "75 % lies in segments below the rejection thresholds"
    pieces = found(1 + np.arange(2400).reshape(40, 60), *range(1, 2401))
    assert note_of(pieces) == "2,400 segments: most pixels lie on an outline"
    torn = mistakes_panel("m", truth, pieces, find_mistakes(truth, pieces, CATEGORIES), truth.ids.shape)
    assert not (torn.picture == 255).all(-1).any()  # without outlines
    own, wrong = model_panels("m", truth, nothing, CATEGORIES, (320, 480))
    assert (own.note, own.entries) == (NOTHING, [((), "0 segments")])
    plain, noted = (np.asarray(arranged([[replace(own, note=note)]])) for note in ("", own.note))
    rows, columns = np.nonzero((plain != noted).any(-1))
    assert 100 < rows.min() < rows.max() < 250  # in the middle
    box = noted[rows.min() : rows.max(), columns.min() : columns.max()]
    assert (box == 255).all(-1).mean() > 0.5  # black on white
    assert (box < 60).all(-1).any()
    assert [text for _, text in wrong.entries] == ["missed 7", "false 0", "split 0", "merged 0"]


def test_notes_wrap_in_narrow_panels():
    font = ImageFont.load_default(11)
    lines = wrapped(NOTHING, 100, 11)
    assert " ".join(lines) == NOTHING
    assert len(lines) > 2
    assert all(font.getlength(line) <= 100 for line in lines)
    noted = np.asarray(with_note(Image.new("RGB", (120, 90)), NOTHING, 11))
    assert (noted[0] == 0).all()
    assert (noted[45] == 255).any()


def test_cut_edges_say_if_none_or_all_are_cut(cells):
    _, guess = cells
    cut = guess.edges.copy()
    cut[:2], cut[2:] = 0, 1
    panels = cost_panels("m", replace(guess, edges=cut), DISTANCES, (80, 120))
    assert [panel.note for panel in panels] == ["", "", "no edge is cut", "every edge is cut"]
    assert [panel.entries[0][1] for panel in panels[2:]] == ["cut: 0.0 %", "cut: 100.0 %"]
    assert [panel.title for panel in panels][::2] == ["m: affinity, d = 1", "m: cut edges, d = 1"]
    limit = np.abs(guess.edge_costs).max()
    costs = np.zeros_like(guess.edge_costs)
    costs[0, 0, 0], costs[0, 0, 1] = limit, -limit
    corner = cost_panels("m", replace(guess, edge_costs=costs), DISTANCES, (40, 60))[0]
    joined, apart = ((color,) for (color,), _ in corner.entries)
    assert (tuple(corner.picture[0, 0]),) == joined  # the legend has the colours of the map
    assert (tuple(corner.picture[0, 1]),) == apart


def test_legend_names_the_classes_that_are_there(cells):
    truth, guess = cells
    assert class_entries(truth, [], CATEGORIES) == [
        ((CATEGORIES[0].color,), "floor"),
        ((CATEGORIES[1].color,), "cell: 6"),
    ]
    only = sample(np.array([[0, 1]]), 1)
    assert [text for _, text in class_entries(only, [], CATEGORIES)] == ["cell: 1", "void"]
    assert [text for _, text in class_entries(only, [guess], CATEGORIES)] == ["floor", "cell: 1", "void"]


@pytest.mark.parametrize("models", [1, 4, 5, 11])
def test_every_model_is_drawn_and_no_row_is_too_wide(cells, models, tmp_path, monkeypatch):
    truth, guess = cells
    rows = []
    monkeypatch.setattr(cops.study.panels, "arranged", lambda r: rows.extend(r) or arranged(r))
    names = [f"model {i}" for i in range(models)]
    comparison(tmp_path / "new" / "a.png", truth, dict.fromkeys(names, guess), CATEGORIES, DISTANCES)
    titles = [panel.title for row in rows for panel in row]
    assert titles[:2] == ["input", "ground truth"]
    assert [t for t in titles if t in names] == names
    assert [t for t in titles if t.endswith("matches")] == [f"{name}: 2 matches" for name in names]
    assert titles[-4:] == [f"{names[-1]}: {kind}, d = {d}" for kind in ("affinity", "cut edges") for d in DISTANCES]
    assert max(len(row) for row in rows) <= 6
    for own, wrong in zip(rows[0:-1:2], rows[1:-1:2], strict=True):  # mistakes stand below the segments
        assert [p.title.split(":")[0] for p in wrong if "mistakes" not in p.title] == [
            p.title for p in own if p.title in names
        ]
    with Image.open(tmp_path / "new" / "a.png") as file:
        side = panel_size(truth.ids.shape)[1]
        assert max(4, min(models + 2, 6)) * side <= file.width < 6 * (side + 20)


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7), (64, 64), (700, 900)])
def test_images_of_any_size_can_be_compared(size, tmp_path):
    ids = np.ones(size, np.int64)
    ids[size[0] // 2 :, size[1] // 2 :] = 2
    comparison(tmp_path / "a.png", sample(ids, 2), {"m": found(0 * ids), "n": found(ids, 2)}, CATEGORIES, DISTANCES)
    with Image.open(tmp_path / "a.png") as file:
        assert min(file.size) > 60
