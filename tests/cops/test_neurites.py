"""Variation of information and adapted Rand error: closed forms, sums over pixels and pairs, and published code."""

import itertools
import json
import math
from collections import Counter

import cops.study.experiments
import numpy as np
import pytest
from cops.config import Config
from cops.data.samples import Category, Sample, Segment
from cops.scores.measure import Scores
from cops.scores.neurites import NeuriteScores, adapted_rand_error, contingency, variation_of_information
from cops.study.experiments import Experiment
from cops.study.questions import neurites
from cops.study.rows import ALL_SCORES
from hypothesis import given
from hypothesis import strategies as st
from prediction_files import prediction

CATEGORIES = (
    Category(1, "membrane", False, (0, 0, 0)),
    Category(2, "neurite", True, (0, 0, 0)),
    Category(3, "mitochondrion", True, (0, 0, 0)),
)
MEMBRANE, NEURITE, MITOCHONDRION = 0, 1, 2
ANY = st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4)


def pair(truth, found, real=None, predicted=None):
    """A sample and a prediction whose ids are all neurites, but for those with another class."""
    truth, found = np.asarray(truth, np.int64), np.asarray(found, np.int64)
    in_truth, in_found = (
        [(i, *(classes or {}).get(i, (NEURITE,))) for i in np.unique(ids).tolist() if i]
        for ids, classes in ((truth, real), (found, predicted))
    )
    segments = tuple(Segment(*s) for s in in_truth)
    return Sample("a", np.zeros((*truth.shape, 3), np.uint8), truth, segments), prediction(found, in_found)


def score(*pairs):
    scores = NeuriteScores(CATEGORIES)
    for sample, result in pairs:
        scores.add(sample, result)
    return scores.result()


def approximately(split, merge, error):
    return {"VI_split": pytest.approx(split), "VI_merge": pytest.approx(merge), "ARE": pytest.approx(100 * error)}


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        pytest.param([[1, 1, 2, 2]], [[7, 7, 5, 5]], (0, 0, 0), id="perfect under other ids"),
        pytest.param([[1, 1, 1, 1]], [[1, 1, 2, 2]], (1, 0, 1 / 3), id="one neurite in halves"),
        pytest.param([[1, 1, 2, 2]], [[1, 1, 1, 1]], (0, 1, 1 / 3), id="two neurites in one"),
        pytest.param([[1, 1, 1, 1, 2, 2, 2, 2]], [[1, 1, 2, 2, 1, 1, 2, 2]], (1, 1, 1 / 2), id="both at once"),
        pytest.param([[1, 1, 1, 1]], [[0, 0, 0, 0]], (0, 0, 1 - 8 / 20), id="nothing found: singletons for ARE only"),
        pytest.param([[1, 1, 2, 2]], [[1, 0, 2, 0]], (1, 0.5, 1 - 8 / 12), id="background is one segment for VI"),
        pytest.param([[0, 0, 2, 2]], [[1, 1, 1, 1]], (0, 0, 0), id="void of the truth is left out"),
    ],
)
def test_scores_of_small_images_are_those_computed_by_hand(truth, found, expected):
    assert score(pair(truth, found)) == approximately(*expected)


def test_stuff_and_crowds_of_the_truth_are_left_out_and_predicted_stuff_is_background():
    truth, found = [[1, 1, 2, 2, 3, 3, 4, 4]], [[1, 1, 1, 2, 1, 2, 1, 2]]
    real = {1: (MEMBRANE,), 2: (NEURITE,), 3: (NEURITE, True), 4: (MITOCHONDRION,)}
    kept = score(pair([[1, 1, 2, 2]], [[1, 2, 1, 2]]))
    assert score(pair(truth, found, real)) == kept
    predicted_stuff = {2: (MEMBRANE,)}
    background = score(pair([[1, 1, 2, 2]], [[1, 0, 1, 0]]))
    assert score(pair(truth, found, real, predicted_stuff)) == background != kept


def test_scores_are_means_over_images_with_things():
    perfect, halves = pair([[1, 1, 1, 1]], [[1, 1, 1, 1]]), pair([[1, 1, 1, 1]], [[1, 1, 2, 2]])
    empty = pair([[0, 0, 0, 0]], [[1, 1, 2, 2]])
    assert score(perfect, halves, empty) == approximately(0.5, 0, 1 / 6)
    assert all(math.isnan(value) for value in score(empty).values())


@given(ANY, st.randoms())
def test_scores_equal_sums_over_pixels_and_pairs_of_pixels(rows, random):
    """The definitions, as loops; id 0 is void, id 4 stuff, in truth and prediction."""
    truth = np.array(rows)
    found = np.array([[random.randint(0, 4) for _ in row] for row in rows])
    stuff = {4: (MEMBRANE,)}
    pixels = [(g, p) for g, p in zip(truth.ravel(), found.ravel(), strict=True) if g not in (0, 4)]
    sample, result = pair(truth, found, stuff, stuff)
    table = contingency(sample, result.ids, result.segments, CATEGORIES)
    assert table.sum() == len(pixels)
    if not pixels:
        return
    for_entropy = [(g, 0 if p == 4 else p) for g, p in pixels]
    joint, true, predicted = Counter(for_entropy), Counter(g for g, _ in pixels), Counter(p for _, p in for_entropy)
    split = sum(math.log2(true[g] / joint[g, p]) for g, p in for_entropy) / len(pixels)
    merge = sum(math.log2(predicted[p] / joint[g, p]) for g, p in for_entropy) / len(pixels)
    assert variation_of_information(table) == (pytest.approx(split), pytest.approx(merge))
    for_pairs = [(g, ("alone", i) if p in (0, 4) else p) for i, (g, p) in enumerate(pixels)]
    same = [(a[0] == b[0], a[1] == b[1]) for a, b in itertools.product(for_pairs, repeat=2)]
    both = sum(g and p for g, p in same)
    precision, recall = both / sum(p for _, p in same), both / sum(g for g, _ in same)
    assert adapted_rand_error(table) == pytest.approx(1 - 2 * precision * recall / (precision + recall))


def test_scores_match_published_code():
    """Golden numbers of scikit-image 0.26 (variation_of_information) and of cremi_python (adapted_rand)."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (6, 8)).repeat(3, 0).repeat(3, 1)
    found = np.roll(rng.integers(1, 6, (9, 8)).repeat(2, 0).repeat(3, 1), (1, 2), (0, 1))
    assert score(pair(truth, found)) == approximately(2.17634329, 1.47563247, 0.7102499094530967)
    enlarged = score(pair(*(ids.repeat(8, 0).repeat(8, 1) for ids in (truth, found))))
    # scikit-image leaves out the pairs of a pixel with itself, which hardly matter in larger images
    assert enlarged["ARE"] == pytest.approx(100 * 0.710372925409258, abs=0.02)


def test_table_stays_small_whatever_the_ids_are():
    sample, result = pair([[1, 1, 256**3 - 1, 256**3 - 1]], [[2**40, 3, 3, 2**40]])
    table = contingency(sample, result.ids, result.segments, CATEGORIES)
    assert table.shape == (2, 3)
    assert table.nnz == 4
    with pytest.raises(ValueError, match="differ in size"):
        score((sample, pair([[1]], [[1]])[1]))


def test_all_scores_of_a_data_set_include_those_of_neurites():
    scores = Scores(CATEGORIES)
    scores.add(*pair([[1, 1, 1, 1]], [[1, 1, 2, 2]]))
    result = scores.result()
    assert set(ALL_SCORES) <= result.keys()
    assert {k: result[k] for k in ("VI_split", "VI_merge", "ARE")} == approximately(1, 0, 1 / 3)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Two seeds with cached scores of an earlier version; a model scores 50 in all, and nothing is trained."""
    monkeypatch.setattr(Experiment, "model", lambda self, seed, name: (self.run(seed), None))
    monkeypatch.setattr(Experiment, "finished", lambda self, seed: [("full", 1.0), ("single_svm", 1.0)][: 2 - seed])
    scored = []

    def all_scores(model, dataset, device, title):
        scored.append(title)
        return dict.fromkeys(ALL_SCORES, 50.0)

    monkeypatch.setattr(cops.study.experiments, "all_scores", all_scores)
    config = Config()
    config.dataset.size, config.finetune.models = 8, ["full"]
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "scores.json").write_text(json.dumps({"full": {"PQ": 40.0 + seed}}))
    return Experiment(config, tmp_path, (0, 1)), scored


def test_cached_scores_that_lack_a_wanted_one_are_computed_anew(experiment):
    runs, scored = experiment
    assert runs.table(["full"], "PQ").tolist() == [[40.0, 41.0]]
    assert scored == []
    assert runs.scores(0, "full", ["PQ", "VI_split"])["VI_split"] == 50.0
    assert scored == ["test full, seed 0"]
    assert runs.table(["full"], "PQ").tolist() == [[50.0, 41.0]]
    assert json.loads((runs.folder / "seed0" / "scores.json").read_text())["full"]["ARE"] == 50.0
    assert runs.table(["full"], "VI_split").tolist() == [[50.0, 50.0]]
    assert scored == ["test full, seed 0", "test full, seed 1"]


def test_table_of_neurites_holds_models_that_are_trained_for_every_seed(experiment):
    runs, _ = experiment
    written = {}
    neurites(runs, lambda name, title, rows, note: written.update(name=name, rows=rows, note=note))
    assert [row["model"] for row in written["rows"]] == ["baseline", "full"]
    assert list(written["rows"][0].values()) == ["baseline", *["50.00 ± 0.00"] * 3, "100.00 ± 0.00", "50.00 ± 0.00"]
    assert list(written["rows"][0])[1:] == ["PQ", "VI_split", "VI_merge", "VI", "ARE"]
    assert "lower is better" in written["note"]
    first = Experiment(runs.config, runs.folder, (0,))
    neurites(first, lambda name, title, rows, note: written.update(rows=rows))
    assert [row["model"] for row in written["rows"]] == ["baseline", "full", "single_svm"]
