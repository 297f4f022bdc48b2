"""Everything that can be set, with its default; the command line and YAML files are made from this."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from .model.network import BACKBONES, strides_of
from .recipes import CHOICES, DEFAULTS, RECIPES, SECTIONS, Objective


@dataclass
class Dataset:
    """How samples are split, cut and filtered.

    Attributes
    ----------
    train, test : Number of scenes.
    validation : Number of scenes, or of training images held out, that select checkpoints; 100 scenes or a fifth
        of the images by default.
    held_out : Which training images are held out (and which are for testing, if one folder holds all): "random" ones,
        or the "last" in the order of their file names, as in a stack of sections, where neighbours look alike.
    gap : With "last": so many images between the parts are not used.
    overfit : If given, training, validation and test images are the first so many training images, and nothing is
        flipped, turned, resized or made brighter. `train.py --overfit` sets it.
    size : Size of a scene, and of the training crops, in pixels, or [height, width]; 128 by default.
    shortest_edges : If given, a training image is first resized so that its shorter edge is one of these, at random.
    brightness : Training images are made brighter or darker by up to this share, at random.
    turns : Training images are also turned by multiples of 90 degrees, at random: for data without an up and a down.
    small_area : Things of fewer pixels than this weigh three times as much in pre-training.
    reject_things, reject_stuff : Smaller segments are rejected, in pixels.
    normalize : "fixed" takes grey values as they are; "percentile" stretches each channel of an image between its
        percentiles 1 and 99.8, as is usual in microscopy.
    """

    train: int = 1000
    validation: int | None = None
    test: int = 200
    held_out: Literal["random", "last"] = "random"
    gap: int = 0
    overfit: int | None = None
    size: int | list[int] | None = None
    shortest_edges: list[int] | None = None
    brightness: float = 0.0
    turns: bool = False
    small_area: int = 60
    reject_things: int = 20
    reject_stuff: int = 80
    normalize: Literal["fixed", "percentile"] = "fixed"


@dataclass
class Model:
    """The network and the solver.

    Attributes
    ----------
    backbone : "small" for a CPU; "small_fine" with a grid of the image's own pixels, for thin boundaries, which takes
        two to four times as long; "efficientnet_lite0" for a CPU and photographs, "resnet50" as in the paper (with the
        stem of three convolutions), "resnet50_torchvision" with the usual stem.
    backbone_weights : Weight file: torchvision's or detectron2's for a ResNet; "imagenet" for "efficientnet_lite0".
    distances : Edge distances on the grid, which has half of the image's resolution with "small".
    solver : Solver of the asymmetric multiway cut.
    effort : Rounds of search of the solver "multilevel"; 0 takes its first pass, which is ten times faster.
    full_resolution : Whether predictions are cut on pixels (Table 8), not on the network's grid.
    """

    backbone: Literal[tuple(BACKBONES)] = "small"  # type: ignore[valid-type]
    backbone_weights: str | None = None
    distances: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    solver: Literal["multilevel", "greedy"] = "multilevel"
    effort: int = 0
    full_resolution: bool = True


@dataclass
class Pretrain:
    """First stage: both branches with top-k cross-entropy.

    Attributes
    ----------
    steps : 800 for scenes and 1,000 for images by default.
    semantic_share, affinity_share : Share of the hardest cells and edges in the loss.
    ramp : Part of the steps over which these shares fall from 1, linearly. 0 mines from the first step, as in the
        paper; a network that cannot tell the hardest edges apart yet then learns to answer 1/2 for all of them.
    affinity_weight : Weight of the affinity loss.
    batch : Samples a step; 65,536 pixels' worth by default, which is 4 scenes.
    accumulate : Parts that a batch is split into, where it does not fit into memory.
    """

    steps: int | None = None
    batch: int | None = None
    accumulate: int = 1
    lr: float = 3e-3
    warmup: int = 50
    semantic_share: float = 0.2
    affinity_share: float = 0.25
    ramp: float = 0.5
    affinity_weight: float = 0.25

    def at(self, progress: float) -> Pretrain:
        """The settings when that part of the steps is done: shares on their way from 1 to their final values."""
        left = 1 - min(1.0, progress / self.ramp) if self.ramp > 0 else 0.0
        semantic, affinity = (share + left * (1 - share) for share in (self.semantic_share, self.affinity_share))
        return replace(self, semantic_share=semantic, affinity_share=affinity)


@dataclass
class Finetune:
    """What all models of the second stage share, so that only their objectives differ.

    Attributes
    ----------
    steps : 70 for scenes and 100 for images by default.
    batch : Samples a step; 196,608 pixels' worth by default, which is 12 scenes.
    accumulate : Parts that a batch is split into; the surrogate then sums over each part alone.
    overlap : Whether a thread solves one part while the network computes the next; by default if that runs on an
        accelerator.
    evaluate_every : Steps between scores on the validation split, which select the checkpoint.
    search : Evaluations of "control_search", which searches scales and offsets of the costs on the validation split.
    models : Which models to train, beside the baseline; by default the best control of most data and both that train
        through the solver in a second stage. Those of one stage ("single_...") need no baseline.
    """

    steps: int | None = None
    batch: int | None = None
    accumulate: int = 1
    overlap: bool | None = None
    evaluate_every: int = 25
    search: int = 60
    models: list[Literal[CHOICES]] = field(default_factory=lambda: list(DEFAULTS))  # type: ignore[valid-type]


@dataclass
class _Parts:
    """The settings that all models share."""

    data: Literal["scenes", "coco", "cityscapes", "folder"] = "scenes"
    root: str | None = None
    dataset: Dataset = field(default_factory=Dataset)
    model: Model = field(default_factory=Model)
    pretrain: Pretrain = field(default_factory=Pretrain)
    finetune: Finetune = field(default_factory=Finetune)


_Sections = make_dataclass(
    "_Sections",
    [(name, Objective, field(default_factory=partial(replace, RECIPES[name].objective))) for name in SECTIONS],
    bases=(_Parts,),
)  # one section for each model that has an objective of its own


@dataclass
class Config(_Sections):  # type: ignore[misc, valid-type]
    """One run.

    Attributes
    ----------
    data : "scenes" is generated; "coco" (COCO panoptic), "cityscapes" and "folder" (your own) are read from `root`.
    root : Folder of the data, in the layouts that docs/data.md describes.
    out : Folder of the run; "runs/<data>" by default.
    init : Checkpoint whose weights the models that are trained from scratch begin with. Its classes and distances may
        be others: what both have by name is kept, the rest is fresh. The backbone must be the same.
    seed : First weights, crops, noise and scales follow from it; the splits do not, and are the same for every seed.
    device : Where the network runs; "auto" takes CUDA if there is one.
    amp : The network computes in bfloat16 where that is safe; the solver always gets float32.
    threads : torch threads; all CPUs, but not more than 4, by default: the default network is too small for more.
    save_every : Steps between checkpoints.
    pictures : Test images to draw.
    control, control_mean, control_pixels, malis, full, full_svm, fenchel_young : Objectives of the second stage; "full"
        is the paper's.
    single_mean, single_svm, single_mean_svm : Objectives of models that are trained from scratch in one stage of as
        many steps as both stages take; all layers learn at `pretrain.lr`. The last begins with plain means.
    """

    out: str | None = None
    init: str | None = None
    seed: int = 0
    device: str = "auto"
    amp: bool = False
    threads: int | None = None
    save_every: int = 25
    pictures: int = 4

    def resolved(self) -> Config:
        """This configuration with every default that depends on another setting filled in."""
        size = self.dataset.size or 128
        height, width = crop_size(size)
        area = height * width
        validation, steps = self.dataset.validation, (1000, 100)
        if self.data == "scenes":  # all in ten minutes on two CPU cores
            validation, steps = (100 if validation is None else validation), (800, 70)
        p, f = self.pretrain, self.finetune
        return replace(
            self,
            out=self.out or f"runs/{self.data}",
            dataset=replace(self.dataset, size=size, validation=validation),
            pretrain=replace(p, steps=_given(p.steps, steps[0]), batch=p.batch or max(2, 65536 // area)),
            finetune=replace(f, steps=_given(f.steps, steps[1]), batch=f.batch or max(2, 196608 // area)),
        )

    def on_grid(self) -> Config:
        """The same run with every cut, every loss and the predictions on the network's grid, as in the paper."""
        models = list(dict.fromkeys(RECIPES[name].on_grid or name for name in self.finetune.models))
        return replace(
            self,
            model=replace(self.model, full_resolution=False),
            finetune=replace(self.finetune, models=models),
            **{n: replace(getattr(self, n), pixels=False) for n in SECTIONS if RECIPES[n].on_grid is None},
        )

    def fine(self) -> Config:
        """The same run with a grid of the image's own pixels, and edges that reach as far as before."""
        stride = strides_of(self.model.backbone)[0]
        distances = list(dict.fromkeys((1, *(stride * d for d in self.model.distances))))
        return replace(self, model=replace(self.model, backbone="small_fine", distances=distances))

    def objective(self, name: str) -> Objective | None:
        """What the model of that name minimises in this run; None where it minimises nothing by gradients."""
        recipe = RECIPES[name]
        if recipe.has_section:
            return getattr(self, name)  # type: ignore[no-any-return]
        if recipe.objective is None or recipe.resolution == "objective":
            return recipe.objective
        return replace(recipe.objective, pixels=self.model.full_resolution)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def crop_size(size: int | list[int]) -> tuple[int, int]:
    """Height and width of a crop.

    Raises
    ------
    ValueError
        If it is neither one positive number nor two.
    """
    both = [size, size] if isinstance(size, int) else list(size)
    if len(both) != 2 or min(both) < 1:
        raise ValueError(f"dataset.size must be a positive number or [height, width], got {size}")
    return both[0], both[1]


def config_from_dict(values: dict[str, Any]) -> Config:
    """The configuration that `to_dict` wrote."""
    parts: dict[str, Any] = {"dataset": Dataset, "model": Model, "pretrain": Pretrain, "finetune": Finetune}
    parts |= dict.fromkeys(SECTIONS, Objective)
    known = {f.name for f in fields(Config)}
    if "pretrain" in values:
        values = {**values, "pretrain": {"ramp": 0.0, **values["pretrain"]}}  # runs made before there was a ramp
    return Config(**{k: parts[k](**v) if k in parts else v for k, v in values.items() if k in known})


def differences(a: Config, b: Config, untrained: Collection[str] = ()) -> list[str]:
    """Which settings that shape the result differ, as "name: old -> new"; those of untrained models shape none."""
    free = {"out", "device", "threads", "save_every", "pictures", "finetune.models"}
    if a.data != "scenes":
        free |= {"dataset.train", "dataset.test"}  # numbers of scenes
    old, new = flat(a), flat(b)
    if a.root and b.root and Path(a.root).resolve() == Path(b.root).resolve():
        free.add("root")
    return [
        f"{name}: {value} -> {new[name]}"
        for name, value in old.items()
        if name not in free and name.split(".")[0] not in untrained and value != new[name]
    ]


def flat(config: Config) -> dict[str, Any]:
    """Every setting by the name that the command line gives it, such as "pretrain.lr"."""
    settings: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if isinstance(value, dict):
            settings |= {f"{key}.{k}": v for k, v in value.items()}
        else:
            settings[key] = value
    return settings
