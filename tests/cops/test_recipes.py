"""The table of models, what follows from it, and the training step that its objectives describe."""

from dataclasses import fields, replace

import pytest
import torch
from cops.config import Config, Model, differences
from cops.data.scenes import Scenes
from cops.data.targets import make_targets, to_input
from cops.model.network import CopsNetwork
from cops.model.segmenter import Segmenter
from cops.recipes import (
    BASELINE,
    CALIBRATED,
    COMPARED,
    LOSSES,
    RECIPES,
    SECTIONS,
    Objective,
    counterpart,
    in_order,
)
from cops.step import TrainingStep
from cops.study.run import check_settings
from torch.nn.functional import one_hot


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_name_models_and_losses_that_exist(recipe):
    names = list(RECIPES)
    if recipe.start is not None:
        assert names.index(recipe.start) < names.index(recipe.name)  # so the order of the table trains it first
    assert (recipe.start is None) == (recipe.method in ("scratch", "deeplab"))
    assert (recipe.objective is None) == (recipe.method in ("search", "deeplab"))
    if recipe.objective is not None:
        assert recipe.objective.loss in LOSSES
        assert recipe.through_solver == LOSSES[recipe.objective.loss].through_solver
    assert recipe.on_grid is None or recipe.on_grid in names
    assert recipe.choice or not recipe.default


def test_tables_compare_models_that_exist():
    assert {name for names in COMPARED.values() for name in names} <= set(RECIPES)


def test_settings_have_one_section_for_each_objective_that_can_be_chosen():
    config = Config()
    assert [f.name for f in fields(Config) if isinstance(getattr(config, f.name), Objective)] == list(SECTIONS)
    for name in SECTIONS:
        assert config.objective(name) == getattr(config, name) == RECIPES[name].objective
        assert getattr(config, name) is not RECIPES[name].objective  # a run changes its own copy


@pytest.mark.parametrize(
    ("asked", "trained"),
    [
        ([], [BASELINE]),
        (["full", "control"], [BASELINE, "control", "full"]),
        (["single_svm"], ["single_svm"]),
        (["single_svm", "control_search"], [BASELINE, "control_search", "single_svm"]),
    ],
)
def test_models_are_trained_after_the_one_they_start_from(asked, trained):
    assert list(in_order(asked)) == trained


def test_everything_on_the_grid_takes_the_counterparts():
    config = Config()
    config = replace(
        config, finetune=replace(config.finetune, models=["control_pixels", "control_mean", "full"])
    ).on_grid()
    assert config.finetune.models == ["control_mean", "full"]
    assert not any(config.objective(name).pixels for name in SECTIONS if name != CALIBRATED)
    assert counterpart(CALIBRATED, pixels=False) == "control_mean"
    assert counterpart(CALIBRATED, pixels=True) == CALIBRATED
    assert [Config().objective("mean_on").pixels, config.objective("mean_on").pixels] == [True, False]


def test_settings_are_checked_without_a_network(monkeypatch):
    def build(*_):
        raise AssertionError("a network was built")

    monkeypatch.setattr(CopsNetwork, "__init__", build)
    config = Config().resolved()
    check_settings(config, Scenes.categories)
    for model, message in (
        (Model(backbone="vgg"), "backbone must be one of 'small'"),
        (Model(distances=[0]), "offset"),
        (Model(effort=-1), "effort"),
        (Model(solver="none"), "solver"),
    ):
        with pytest.raises(ValueError, match=message):
            check_settings(replace(config, model=model), Scenes.categories)
    for size, backbone, divisor in ((60, "small", 8), ([64, 72], "resnet50", 16)):
        settings = replace(config, model=Model(backbone=backbone), dataset=replace(config.dataset, size=size))
        with pytest.raises(ValueError, match=f"dataset.size must be divisible by {divisor}"):
            check_settings(settings, Scenes.categories)


def test_another_spelling_of_the_data_folder_is_no_other_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(data="coco", root="images")
    for root in ("./images", str(tmp_path / "images"), "images/"):
        assert differences(config, replace(config, root=root)) == []
    assert differences(config, replace(config, root="others")) == ["root: images -> others"]


@pytest.fixture(scope="module")
def batch():
    """A model, images, and targets on the grid and on pixels."""
    torch.manual_seed(0)
    model = Segmenter(Config(model=Model(distances=[1, 4])).resolved(), Scenes.categories, torch.Generator())
    samples = [Scenes(2, 1, 64)[i] for i in range(2)]
    grid, pixels = (make_targets(samples, Scenes.categories, d, s, 60) for d, s in (([1, 4], 2), ([1, 8], 1)))
    return model, to_input([s.image for s in samples]), grid, pixels


@pytest.mark.parametrize("pixels", [False, True], ids=["grid", "pixels"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_finite_and_has_a_gradient_for_the_costs_and_leaves_the_layers_unchanged(batch, loss, pixels):
    model, images, *targets = batch
    layers = model.layer, model.pixel_layer
    before = [layer.estimator for layer in layers]
    step = TrainingStep(model, Objective(loss, pixels=pixels, num_lambdas=2), Config().pretrain)
    assert all(step.layer is not layer for layer in layers)
    classes, edges = (c.detach() for c in step.costs(images))
    true_classes = one_hot(targets[0].labels.clamp(min=0), len(Scenes.categories)).movedim(-1, 1)
    near_truth = classes - true_classes, edges + 1 - 2 * targets[0].cut  # a random network finds nothing to count,
    g = torch.Generator().manual_seed(0)  # and the truth itself leaves nothing to learn
    costs = [(c + torch.randn(c.shape, generator=g)).requires_grad_() for c in near_truth]
    losses = step.losses(*costs, targets[pixels])
    assert all(torch.isfinite(value).all() for value in losses.values())
    gradients = torch.autograd.grad(losses["loss"], costs)
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)
    assert all(layer.estimator is e for layer, e in zip(layers, before, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_only_losses_through_the_solver_drop_costs(batch, loss):
    model, images, grid, _ = batch
    values = []
    for dropout in (0.0, 0.9):
        torch.manual_seed(0)
        model.generator.manual_seed(0)
        step = TrainingStep(model, Objective(loss, num_lambdas=2, dropout=dropout), Config().pretrain)
        values.append(float(step(images, grid)["loss"].detach()))
    assert (values[0] != values[1]) == LOSSES[loss].through_solver


@pytest.fixture(scope="module")
def void():
    """Targets with a square of void; class and edge costs; and the same costs with others at void."""
    samples = [Scenes(2, 1, 64)[i] for i in range(2)]
    for sample in samples:
        sample.ids[10:30, 10:30] = 0
    targets = make_targets(samples, Scenes.categories, [1, 4], 1, 60)
    g = torch.Generator().manual_seed(0)
    classes, edges = torch.randn(2, len(Scenes.categories), 64, 64, generator=g), torch.randn(2, 4, 64, 64, generator=g)
    known = (targets.labels >= 0)[:, None], targets.edge_weight > 0
    others = [torch.where(k, c, c.flip(0)) for c, k in zip((classes, edges), known, strict=True)]
    return targets, (classes, edges), others


def loss_of(model, objective, costs, targets):
    model.generator.manual_seed(0)
    leaves = [c.clone().requires_grad_() for c in costs]
    losses = TrainingStep(model, objective, Config().pretrain).losses(*leaves, targets)
    return losses, torch.autograd.grad(losses["loss"], leaves)


def test_malis_takes_the_means_of_classes_and_leaves_void_out(batch, void):
    (targets, costs, others), options = void, {"pixels": False, "dropout": 0.0}
    losses, _ = loss_of(batch[0], Objective("malis", **options), costs, targets)
    changed, gradients = loss_of(batch[0], Objective("malis", **options), others, targets)
    assert torch.equal(changed["loss"], losses["loss"])
    assert torch.equal(losses["loss"], losses["semantic"] + losses["malis"])
    assert torch.equal(
        losses["semantic"], loss_of(batch[0], Objective("mean", **options), costs, targets)[0]["semantic"]
    )
    assert not gradients[1][targets.edge_weight == 0].any()
    assert gradients[1].any()


@pytest.mark.parametrize("loss", ["structured_svm", "fenchel_young"])
def test_void_that_is_ignored_has_no_influence(batch, void, loss):
    targets, costs, others = void
    objective = Objective(loss, dropout=0.0, num_lambdas=2, void="ignored")
    losses, _ = loss_of(batch[0], objective, costs, targets)
    changed, gradients = loss_of(batch[0], objective, others, targets)
    assert torch.equal(changed["loss"], losses["loss"])
    assert not gradients[1][targets.edge_weight == 0].any()
    completed, gradients = loss_of(batch[0], replace(objective, void="completed"), costs, targets)
    assert torch.isfinite(completed["loss"])
    assert gradients[1][targets.edge_weight == 0].any()
    assert not torch.equal(
        loss_of(batch[0], replace(objective, void="zero"), costs, targets)[0]["loss"], losses["loss"]
    )
