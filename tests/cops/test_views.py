"""Mirrored and transposed copies of an image at prediction: their costs come back to the edges they were predicted for."""

import json
import os

import cops.model.segmenter
import evaluate
import numpy as np
import predict
import pytest
import reproduce
import torch
from cops.config import Config, Dataset, Model
from cops.data.samples import Sample, Segment
from cops.data.scenes import CATEGORIES
from cops.data.splits import files_of
from cops.data.targets import make_targets, offsets
from cops.model.segmenter import Segmenter
from cops.model.views import VIEWS, View, mean_costs
from cops.recipes import DEEPLAB
from cops.study.experiments import Experiment
from hypothesis import given
from hypothesis import strategies as st
from prediction_files import picture
from test_resume_errors import error_of, trained_in

CPU = torch.device("cpu")
DISTANCES = [1, 2, 3, 3, 5]


def local_costs(stride):
    """Costs that look the same from everywhere: of cells their value, of edges the difference of their ends; else nan."""

    def costs_of(images):
        rows, columns = (-(-n // stride) for n in images[0].shape[:2])
        pad = [
            max(0, stride * (n - 1) + stride // 2 + 1 - m)
            for n, m in zip((rows, columns), images[0].shape, strict=False)
        ]
        values = np.stack([np.pad(i[..., 0], [(0, p) for p in pad], mode="edge") for i in images]).astype(np.float32)
        values = values[:, stride // 2 :: stride, stride // 2 :: stride][:, :rows, :columns]
        maps = []
        for down, right in offsets(DISTANCES):
            found = np.full_like(values, np.nan)
            if down < rows and right < columns:
                a, b = values[:, : rows - down, : columns - right], values[:, down:, right:]
                found[:, -(-down // 2) : rows - down // 2, -(-right // 2) : columns - right // 2] = np.abs(a - b)
            maps.append(found)
        return torch.from_numpy(values)[:, None], torch.from_numpy(np.stack(maps, 1))

    return costs_of


@given(
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    stride=st.integers(1, 5),
    count=st.sampled_from(list(VIEWS)),
    seed=st.integers(0, 99),
)
def test_every_view_gives_a_cost_back_to_its_own_cell_or_edge(size, stride, count, seed):
    """The mean of views that all see the same is what one of them sees, and nan reaches no edge."""
    images = list(np.random.default_rng(seed).integers(0, 99, (2, *size, 3)).astype(np.uint8))
    costs_of = local_costs(stride)
    expected = costs_of(images)
    found = mean_costs(costs_of, images, stride, offsets(DISTANCES), count)
    assert torch.equal(found[0], expected[0])
    assert found[1].shape == expected[1].shape
    real = ~expected[1].isnan()
    assert torch.equal(found[1][real], expected[1][real])


def test_views_are_all_mirrored_and_transposed_copies():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    for count, views in VIEWS.items():
        assert len(views) == count
        assert views[0] == View()
        assert len({view.of(image, 1).tobytes() for view in views}) == count


def test_costs_are_the_mean_over_the_views():
    """A network that sees columns counted from the left: the mean with the mirrored copy is the same everywhere."""

    def costs_of(images):
        columns = torch.arange(images[0].shape[1], dtype=torch.float32).expand(1, 1, *images[0].shape[:2])
        return columns, torch.zeros(1, 2, *images[0].shape[:2])

    image = np.zeros((3, 5, 3), np.uint8)
    for count, expected in (
        (1, costs_of([image])[0]),
        (2, torch.full((1, 1, 3, 5), 2.0)),
        (8, torch.full((1, 1, 3, 5), 1.5)),
    ):
        assert torch.equal(mean_costs(costs_of, [image], 1, offsets([1]), count)[0], expected)


@pytest.mark.parametrize("pixels", [True, False])
def test_a_model_predicts_from_as_many_views_as_it_is_told(pixels):
    torch.manual_seed(0)
    model = Segmenter(Config(model=Model(distances=[1, 3], full_resolution=pixels)).resolved(), CATEGORIES)
    image = np.random.default_rng(0).integers(0, 255, (20, 28, 3)).astype(np.uint8)
    one = model.costs([image], CPU)
    passes = []
    model.network.register_forward_hook(lambda *_: passes.append(1))
    model.views = 8
    for a, b in zip(one, model.costs([image], CPU), strict=True):
        assert a.shape == b.shape
        assert not torch.allclose(a, b)
    assert len(passes) == 8
    (found,) = model.predict([image], CPU)
    assert found.ids.shape == (20, 28)


def test_the_mean_over_all_views_does_not_depend_on_how_an_image_lies():
    """A network whose grid has the image's pixels: views of a view are views of the image."""
    torch.manual_seed(0)
    model = Segmenter(Config(model=Model(backbone="small_fine", distances=[1, 2, 3])).resolved(), CATEGORIES)
    model.views = 8
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    edges = make_targets(
        [Sample("", image, np.ones((32, 48), np.int64), (Segment(1, 0),))], CATEGORIES, [1, 2, 3], 1, 0
    )
    real = edges.edge_weight > 0
    classes, costs = model.costs([image], CPU)
    for view in VIEWS[8][1:]:
        found = view.back(model.costs([view.of(image, 1)], CPU), (32, 48), model.layer.offsets)
        assert torch.allclose(found[0], classes, atol=1e-4)
        assert torch.allclose(found[1][real], costs[real], atol=1e-4)
    model.views = 4
    (view,) = (v for v in VIEWS[8] if v == View(transposed=True))
    assert not torch.allclose(
        view.back(model.costs([view.of(image, 1)], CPU), (32, 48), model.layer.offsets)[0], classes
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2)])
def test_images_of_a_few_pixels_have_views_too(size):
    torch.manual_seed(0)
    model = Segmenter(Config().resolved(), CATEGORIES)
    model.views = 8
    (found,) = model.predict([np.zeros((*size, 3), np.uint8)], CPU)
    assert found.ids.shape == size


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_in(tmp_path_factory.mktemp("views"))


@pytest.fixture
def passes(monkeypatch):
    """The views of every prediction that is made."""
    seen = []

    def counted(costs_of, images, stride, edges, count):
        seen.append(count)
        return mean_costs(costs_of, images, stride, edges, count)

    monkeypatch.setattr(cops.model.segmenter, "mean_costs", counted)
    return seen


def test_commands_take_views(run, passes, tmp_path, capsys):
    checkpoint = run / "run" / "checkpoints" / "baseline.pt"
    evaluate.main([str(checkpoint), "--views=4"])
    predict.main([str(picture(tmp_path / "a.png")), f"--checkpoint={checkpoint}", f"--out={tmp_path}", "--views=8"])
    assert set(passes) == {4, 8}
    passes.clear()
    evaluate.main([str(checkpoint)])
    assert set(passes) == {1}
    assert "3" in error_of(evaluate.main, [str(checkpoint), "--views=3"], capsys)
    error = error_of(evaluate.main, [f"--predictions={tmp_path}", "--data=folder", "--views=8"], capsys)
    assert "--views 8 cannot be given together with --predictions" in error


def test_scores_of_views_stand_beside_those_of_one(run, passes, tmp_path):
    """They have a file of their own, and both are computed anew when labels of the test split change."""
    root = run / "data"
    config = Config(data="folder", root=str(root), dataset=Dataset(size=16, validation=1))
    config.pretrain.steps = 1
    one, two = (Experiment(config.resolved(), tmp_path, [0], views=views) for views in (1, 2))
    found = [e.scores(0, "baseline")["PQ"] for e in (one, two, one, two)]
    assert found[:2] == found[2:]
    assert passes[-1] == 2
    files = [tmp_path / "seed0" / name for name in ("scores.json", "scores-views2.json")]
    assert [json.loads(path.read_text())["baseline"]["PQ"] for path in files] == found[:2]
    (label,) = files_of(one.run(0).splits.test)[0].labels
    os.utime(label, (1, 1))
    two.run(0).log.close()
    assert not any(path.exists() for path in files)


def test_panoptic_deeplab_refuses_views(run, tmp_path):
    config = Config(data="folder", root=str(run / "data"), dataset=Dataset(size=16, validation=1)).resolved()
    with pytest.raises(ValueError, match="panoptic_deeplab predicts from one view alone: leave out --views 8"):
        Experiment(config, tmp_path, [0], views=8).model(0, DEEPLAB)


def test_a_table_of_views_has_a_folder_and_a_command_of_its_own(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(reproduce.WHAT, "table1", lambda e, report: (seen.append(e), report("table1", "T", [{"a": 1}])))
    reproduce.main(["table1", f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--views=8"])
    assert "table1 --data scenes --views 8`" in (tmp_path / "results" / "scenes-views8" / "table1.md").read_text()
    assert (seen[0].views, seen[0].folder) == (8, tmp_path / "runs" / "scenes")
