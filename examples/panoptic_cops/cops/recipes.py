"""The table of models: how each is trained, from what, and where it appears.

Choices on the command line, sections of the settings, the order of training, comparisons and tables all follow from
it. `LOSSES` names what can be minimised, `RECIPES` the models, `COMPARED` the models that a table sets side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from diffcomb import Blackbox, LogGrid, LogUniform, Uniform

from . import losses

SCHEDULES = {"uniform": Uniform, "loguniform": LogUniform, "loggrid": LogGrid}


class Loss(NamedTuple):
    """A function of `losses`, and whether its gradient comes back through the solver."""

    function: Callable[..., dict[str, Tensor]]
    through_solver: bool


LOSSES = {
    "paper": Loss(losses.paper, through_solver=False),
    "mean": Loss(losses.mean, through_solver=False),
    "malis": Loss(losses.malis, through_solver=False),
    "surrogate": Loss(losses.surrogate, through_solver=True),
    "separate": Loss(losses.separate, through_solver=True),
    "structured_svm": Loss(losses.structured_svm, through_solver=True),
    "fenchel_young": Loss(losses.fenchel_young, through_solver=True),
    "combined": Loss(losses.combined, through_solver=True),
}


@dataclass
class Objective:
    """What a model minimises, which layers learn, and how fast.

    Attributes
    ----------
    loss : Without the solver: "paper", the losses of pre-training, "mean", plain means of both cross-entropies, or
        "malis", the mean cross-entropy of the classes and MALIS on the edges.
        Through it: "surrogate" of panoptic quality (eq. 6), "separate" losses on classes and edges (eq. 8-9),
        "structured_svm" or "fenchel_young" against the true partition, or "combined", the surrogate and the SVM.
    layers : What learns beside the scales and offsets of the costs: "none", the "heads", or "all" layers.
    head_lr, body_lr, scale_lr : Learning rates of the heads, of all layers below them, and of the cost scales and
        offsets.
    pixels : Whether the loss sees costs interpolated to pixels and cuts there, or costs on the network's grid.
    dropout : Share of the costs set to zero before they go to the solver.
    lambda_low, lambda_high, num_lambdas : Scales of eq. 4; Fenchel-Young takes as many samples.
    schedule : Their distribution.
    start, repair : Of the perturbed solves; see diffcomb.Blackbox.
    weight : w, the factor of the surrogate and of the separate losses.
    variant : Of the surrogate.
    margin : Of the structured SVM, in units of the costs.
    svm_weight : Factor of the structured SVM, a mean over the grid's nodes, in "combined".
    sigma : Noise of Fenchel-Young, in units of the costs.
    means_until : Part of a training from scratch in which plain means are minimised first, without any solve: a network
        that knows nothing yet has little to learn from whole solutions.
    average : Decay of the running mean of the weights over the steps, which is the result; 0 takes the last weights, or
        in a second stage those that score best.
    void : What the structured SVM and Fenchel-Young do with void: "zero" sets its costs to 0 but keeps its margin and
        noise; "ignored" and "completed" are those of diffcomb.StructuredSVM.
    """

    loss: Literal[tuple(LOSSES)]  # type: ignore[valid-type]
    layers: Literal["none", "heads", "all"] = "all"
    head_lr: float = 3e-4
    body_lr: float = 3e-4
    scale_lr: float = 1e-2
    pixels: bool = False
    dropout: float = 0.1
    lambda_low: float = 1000.0
    lambda_high: float = 5000.0
    num_lambdas: int = 5
    schedule: Literal[tuple(SCHEDULES)] = "uniform"  # type: ignore[valid-type]
    start: Literal["cold", "warm", "best"] = "warm"
    repair: bool = False
    weight: float = 10.0
    variant: Literal["paper", "reference"] = "paper"
    margin: float = 1.0
    svm_weight: float = 10.0
    sigma: float = 0.5
    means_until: float = 0.0
    average: float = 0.0
    void: Literal["zero", "ignored", "completed"] = "zero"

    def estimator(self) -> Blackbox:
        """The gradient estimator of the solver (eq. 4)."""
        scales = SCHEDULES[self.schedule](self.lambda_low, self.lambda_high, self.num_lambdas)
        return Blackbox(scales, start=self.start, repair=self.repair)


BASELINE = "baseline"
DEEPLAB = "panoptic_deeplab"
CALIBRATED = "control_pixels"  # the control by plain means; where predictions are cut on the grid, its `on_grid`


@dataclass(frozen=True)
class Recipe:
    """How one model is trained, and where it appears.

    Attributes
    ----------
    name : str
        Names its checkpoint, its row in tables, and its section of the settings if it has one.
    objective : Objective, optional
        What it minimises; the default of its section.
    method : {"scratch", "finetune", "search", "deeplab"}
        All layers from random weights; further training of `start`; a search for the scales and offsets of `start`; or
        Panoptic-DeepLab, the comparator without a solver.
    start : str, optional
        The model that it begins with.
    stages : tuple of {"pretrain", "finetune"}
        It takes as many steps as these stages have in the settings, together.
    longer : int
        Times as many steps.
    choice : bool
        Whether `finetune.models` may name it; then its objective is a section of the settings.
    default : bool
        Whether `train.py` trains it if nothing else is asked for.
    resolution : {"objective", "prediction"}
        The loss is computed where the objective says (`pixels`), or where the run cuts its predictions.
    on_grid : str, optional
        The model that takes its place where everything is cut on the network's grid; else the model is the same, with
        an objective on the grid.
    drawn : bool
        Whether `train.py` draws its results.
    """

    name: str
    objective: Objective | None = None
    method: Literal["scratch", "finetune", "search", "deeplab"] = "finetune"
    start: str | None = BASELINE
    stages: tuple[Literal["pretrain", "finetune"], ...] = ("finetune",)
    longer: int = 1
    choice: bool = False
    default: bool = False
    resolution: Literal["objective", "prediction"] = "objective"
    on_grid: str | None = None
    drawn: bool = False

    @property
    def has_section(self) -> bool:
        """Whether its objective is a section of the settings."""
        return self.choice and self.objective is not None

    @property
    def through_solver(self) -> bool:
        """Whether it is trained with a gradient through the solver."""
        return self.objective is not None and LOSSES[self.objective.loss].through_solver


def _each(*recipes: Recipe, **common: Any) -> tuple[Recipe, ...]:
    """Recipes that have these fields in common."""
    return tuple(replace(recipe, **common) for recipe in recipes)


_BOTH = ("pretrain", "finetune")
_HEADS = dict(layers="heads", head_lr=3e-5, scale_lr=1e-3)  # the published code's ratio of the rates
_ALL = dict(head_lr=1e-4, body_lr=1e-4, scale_lr=1e-3)
_SCRATCH = dict(average=0.99)  # with 0.98, eight trainings on vnc score 1.2 PQ more than with their last weights
_MEAN = Objective("mean", pixels=True, **_SCRATCH)
_SVM = Objective("structured_svm", pixels=True, dropout=0.0, **_SCRATCH)
_ONE_SAMPLE = Objective("fenchel_young", num_lambdas=1, dropout=0.0, **_SCRATCH)
LONGER, FAST = 3, 1e-3

_TABLE = (
    Recipe(BASELINE, Objective("paper"), "scratch", None, ("pretrain",), drawn=True),
    *_each(
        Recipe("control", Objective("paper")),
        Recipe("control_mean", Objective("mean"), drawn=True),
        Recipe("control_pixels", Objective("mean", pixels=True), default=True, on_grid="control_mean"),
        Recipe("control_search", method="search"),
        Recipe("malis", Objective("malis", pixels=True)),
        Recipe("full", Objective("surrogate", pixels=True, **_HEADS), default=True, drawn=True),
        Recipe("full_svm", Objective("structured_svm", pixels=True), default=True, drawn=True),
        Recipe("fenchel_young", Objective("fenchel_young", pixels=True)),
        Recipe("single_mean", _MEAN, "scratch", None, _BOTH, drawn=True),
        Recipe("single_svm", _SVM, "scratch", None, _BOTH, drawn=True),
        Recipe("single_mean_svm", replace(_SVM, means_until=0.5), "scratch", None, _BOTH, drawn=True),
        choice=True,
    ),
    *_each(
        # Other objectives, from the same start.
        Recipe("full_n1", Objective("surrogate", num_lambdas=1, **_HEADS)),
        Recipe("full_reference", Objective("surrogate", variant="reference", **_HEADS)),
        Recipe("separate", Objective("separate", **_HEADS)),
        Recipe("full_all_layers", Objective("surrogate", **_ALL)),
        Recipe("combined", Objective("combined")),
        # Do the layers that learn, and their rates, explain how objectives differ?
        Recipe("mean_heads", Objective("mean", **_HEADS)),
        Recipe("svm_heads", Objective("structured_svm", **_HEADS)),
        Recipe("full_fast", Objective("surrogate")),
        # What does each objective add to a network that is calibrated, and the search after training?
        Recipe("mean_on", Objective("mean"), start=CALIBRATED),
        Recipe("svm_on", Objective("structured_svm"), start=CALIBRATED),
        Recipe("full_on", Objective("surrogate", **_ALL), start=CALIBRATED),
        Recipe("mean_searched", method="search", start=CALIBRATED),
        Recipe("svm_searched", method="search", start="full_svm"),
        # Other losses from scratch, in as many steps and with as many solves as single_mean and single_svm.
        Recipe("single_malis", Objective("malis", **_SCRATCH), "scratch", None, _BOTH),
        Recipe("single_fenchel_young", _ONE_SAMPLE, "scratch", None, _BOTH),
        # Does the difference last if both may learn more?
        Recipe("mean_long", Objective("mean", head_lr=FAST, body_lr=FAST), longer=LONGER),
        Recipe("svm_long", Objective("structured_svm", head_lr=FAST, body_lr=FAST), longer=LONGER),
        Recipe("full_long", Objective("surrogate", head_lr=3e-4, body_lr=3e-4, scale_lr=1e-3), longer=LONGER),
        Recipe("single_mean_long", _MEAN, "scratch", None, _BOTH, longer=LONGER),
        Recipe("single_svm_long", _SVM, "scratch", None, _BOTH, longer=LONGER),
        Recipe(DEEPLAB, None, "deeplab", None, _BOTH),
        resolution="prediction",
    ),
)
RECIPES = {recipe.name: recipe for recipe in _TABLE}
CHOICES = tuple(recipe.name for recipe in _TABLE if recipe.choice)
DEFAULTS = tuple(recipe.name for recipe in _TABLE if recipe.default)
SECOND_STAGE = tuple(recipe.name for recipe in _TABLE if recipe.choice and recipe.start is not None)
SECTIONS = tuple(recipe.name for recipe in _TABLE if recipe.has_section)

# Models that a table or figure sets side by side, in this order; differences are to the first one.
COMPARED = {
    "claim": (
        BASELINE, "control", "control_mean", CALIBRATED, "control_search", "single_mean",
        "full", "full_all_layers", "full_svm", "single_svm",
    ),
    "table4": ("full", "full_reference", "separate", "full_all_layers", "full_svm", "fenchel_young", "combined"),
    "rates": ("full", "mean_heads", "svm_heads", "full_all_layers", "full_fast", CALIBRATED, "full_svm"),
    "ceiling": ("single_mean", "single_mean_long", "single_svm", "single_svm_long"),
    "reach": (BASELINE, CALIBRATED, "full", "full_svm"),
    "table8": (BASELINE, CALIBRATED, "full", "full_svm"),
    "table9": (BASELINE, CALIBRATED, "full", "full_svm"),
    "comparators": (BASELINE, CALIBRATED, "full_svm"),
    "calibrated": (CALIBRATED, "mean_on", "svm_on", "full_on", "mean_searched", "full_svm", "svm_searched"),
    "single": (BASELINE, CALIBRATED, "full_svm", "single_mean", "single_svm"),
    "single_seeds": ("single_mean", "single_svm", "single_mean_svm"),
    "losses": ("single_mean", "single_malis", "single_svm", "single_fenchel_young"),
    "losses_after": (BASELINE, CALIBRATED, "malis", "full_svm", "fenchel_young"),
    "threshold": (BASELINE, CALIBRATED, "malis", "full_svm"),
    "longer": ("mean_long", "svm_long", "full_long"),
    "sizes": (BASELINE, CALIBRATED, "full_svm"),
    "alignment": (BASELINE, CALIBRATED),
    "figure4": ("full", "full_n1"),
    "figure5": ("full",),
    "figure6": (BASELINE, CALIBRATED, "full", "full_svm"),
    "checkpoints": (BASELINE, CALIBRATED, "full", "full_svm", "single_svm"),
}  # fmt: skip


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """These models in the order in which they are trained: that of the table, and the one they start from first.

    Without any name it is the baseline alone.
    """
    wanted = set(names)
    wanted |= {RECIPES[name].start for name in wanted} - {None}
    return tuple(name for name in RECIPES if name in (wanted or {BASELINE}))


def counterpart(name: str, pixels: bool) -> str:
    """The model itself where predictions are cut on pixels, else the one that takes its place on the grid."""
    return name if pixels else RECIPES[name].on_grid or name
