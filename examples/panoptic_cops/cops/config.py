"""Everything that can be set, with its default; the command line and YAML files are made from this."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal


@dataclass
class Dataset:
    """How samples are split, cut and filtered.

    Attributes
    ----------
    train, test : Number of scenes.
    validation : Number of scenes, or of training images set aside, to choose checkpoints with; 200 scenes or a fifth
        of the images by default.
    size : Size of a scene, and of the training crops, in pixels; 64 for scenes and 128 for images by default.
    small_area : Things of fewer pixels than this weigh three times as much in pre-training.
    reject_things, reject_stuff : Smaller segments are rejected, in pixels.
    """

    train: int = 1000
    validation: int | None = None
    test: int = 400
    size: int | None = None
    small_area: int = 60
    reject_things: int = 20
    reject_stuff: int = 80


@dataclass
class Model:
    """The network and the solver.

    Attributes
    ----------
    backbone : "small" for a CPU, "resnet50" for real use.
    backbone_weights : State dict in torchvision's naming, for "resnet50".
    distances : Edge distances on the grid.
    solver : Solver of the asymmetric multiway cut.
    effort : Rounds of search of the solver "multilevel"; 0 takes its first pass, which is ten times faster.
    """

    backbone: Literal["small", "resnet50"] = "small"
    backbone_weights: str | None = None
    distances: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    solver: Literal["multilevel", "greedy"] = "multilevel"
    effort: int = 0


@dataclass
class Pretrain:
    """First stage: both branches with top-k cross-entropy.

    Attributes
    ----------
    semantic_share, affinity_share : Share of the hardest cells and edges in the loss.
    affinity_weight : Weight of the affinity loss.
    batch : Samples a step; 65,536 pixels' worth by default, which is 16 scenes.
    """

    steps: int = 2000
    batch: int | None = None
    lr: float = 3e-3
    warmup: int = 50
    semantic_share: float = 0.2
    affinity_share: float = 0.25
    affinity_weight: float = 0.25


@dataclass
class Full:
    """Second stage: the panoptic-quality surrogate through the solver.

    Attributes
    ----------
    head_lr, scale_lr : Learning rates of the heads, and of the cost scales and offsets.
    lambda_low, lambda_high, num_lambdas : Scales of eq. 4.
    schedule : Their distribution.
    start, repair : Of the perturbed solves; see diffcomb.Blackbox.
    weight : w, the factor of the loss.
    dropout : Share of the costs set to zero.
    variant : Of the surrogate.
    evaluate_every : Steps between scores on the validation split, which choose the checkpoint.
    batch : Samples a step; 196,608 pixels' worth by default, which is 48 scenes.
    """

    steps: int = 100
    batch: int | None = None
    head_lr: float = 3e-5
    scale_lr: float = 1e-3
    lambda_low: float = 1000.0
    lambda_high: float = 5000.0
    num_lambdas: int = 5
    schedule: Literal["uniform", "loguniform", "loggrid"] = "uniform"
    start: Literal["cold", "warm", "best"] = "warm"
    repair: bool = False
    weight: float = 10.0
    dropout: float = 0.1
    variant: Literal["paper", "reference"] = "paper"
    evaluate_every: int = 25


@dataclass
class Config:
    """One run.

    Attributes
    ----------
    data : "scenes" is generated, "coco" is the COCO panoptic format from `root`.
    root : Folder with annotations/: panoptic_train*.json is split into training and validation images,
        panoptic_val*.json is the test split.
    out : Folder of the run; "runs/<data>" by default.
    seed : Everything random follows from it.
    device : Where the network runs; "auto" takes CUDA if there is one.
    threads : torch threads; all CPUs, but not more than 4, by default: the default network is too small for more.
    save_every : Steps between checkpoints.
    pictures : Test images to draw.
    """

    data: Literal["scenes", "coco"] = "scenes"
    root: str | None = None
    dataset: Dataset = field(default_factory=Dataset)
    model: Model = field(default_factory=Model)
    pretrain: Pretrain = field(default_factory=Pretrain)
    full: Full = field(default_factory=Full)
    out: str | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    save_every: int = 25
    pictures: int = 4

    def resolved(self) -> Config:
        """This configuration with every default that depends on another setting filled in."""
        size = self.dataset.size or (64 if self.data == "scenes" else 128)
        validation = self.dataset.validation
        if validation is None and self.data == "scenes":
            validation = 200
        return replace(
            self,
            out=self.out or f"runs/{self.data}",
            dataset=replace(self.dataset, size=size, validation=validation),
            pretrain=replace(self.pretrain, batch=self.pretrain.batch or max(2, 65536 // size**2)),
            full=replace(self.full, batch=self.full.batch or max(2, 196608 // size**2)),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def config_from_dict(values: dict[str, Any]) -> Config:
    """The configuration that `to_dict` wrote."""
    parts: dict[str, Any] = {"dataset": Dataset, "model": Model, "pretrain": Pretrain, "full": Full}
    known = {f.name for f in fields(Config)}
    return Config(**{k: parts[k](**v) if k in parts else v for k, v in values.items() if k in known})


def differences(a: Config, b: Config) -> list[str]:
    """Which settings that shape the result differ, as "name: old -> new"."""
    free = {"out", "device", "threads", "save_every", "pictures"}
    return [f"{k}: {v} -> {_flat(b)[k]}" for k, v in _flat(a).items() if k not in free and v != _flat(b)[k]]


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{key}.{k}": v for k, v in value.items()}
        else:
            flat[key] = value
    return flat
