"""One training step of COPS, from top to bottom: images -> network -> class and edge costs -> cut -> loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcomb import AsymmetricMultiwayCutLayer, CutOutput

from .config import Pretrain
from .data.targets import Targets
from .model.segmenter import Segmenter
from .recipes import LOSSES, Objective


class TrainingStep:
    """What a training step computes for a batch, up to its loss.

    Parameters
    ----------
    model : Segmenter
    objective : Objective
    pretrain : Pretrain
        Shares and weight of the losses of pre-training, for the objective that takes them.
    amp : bool
        The network computes in bfloat16.
    frozen_statistics : bool
        Batch norm and the network's dropout stay as in prediction.
    """

    def __init__(
        self,
        model: Segmenter,
        objective: Objective,
        pretrain: Pretrain,
        amp: bool = False,
        frozen_statistics: bool = True,
    ) -> None:
        self.model, self.objective, self.pretrain = model, objective, pretrain
        self.amp, self.frozen_statistics = amp, frozen_statistics
        self.layer = model.make_layer(objective.pixels, objective.estimator())
        self.loss = LOSSES[objective.loss]

    def __call__(self, images: Tensor, targets: Targets, progress: float = 1.0) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to losses: "loss" is minimised, the others are logged.

        `progress` is the part of the steps that is done; hard mining begins gradually (`Pretrain.ramp`), and so may
        training through the solver (`Objective.means_until`).
        """
        class_costs, edge_costs = self.costs(images)
        return self.losses(class_costs, edge_costs, targets, progress)

    def costs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The network's half: class costs (B, K, h, w) and edge costs (B, O, h, w) of its grid."""
        self.model.train(not self.frozen_statistics)
        logits = self.model.logits(images, self.amp)  # of classes and of cut edges (section 3.1)
        class_costs, edge_costs = self.model.scaling(logits)  # with learned scales and offsets
        return class_costs, edge_costs

    def losses(
        self, class_costs: Tensor, edge_costs: Tensor, targets: Targets, progress: float = 1.0
    ) -> dict[str, Tensor]:
        """The solver's half: the asymmetric multiway cut of the costs, and the loss of what it finds."""
        loss = LOSSES["mean"] if progress < self.objective.means_until else self.loss
        if self.objective.pixels:
            class_costs, edge_costs = self.model.to_pixels(class_costs, edge_costs, targets.labels.shape[1:])
        if loss.through_solver:
            class_costs, edge_costs = (drop(c, self.objective.dropout) for c in (class_costs, edge_costs))
        area = 1.0 if self.objective.pixels else float(self.model.stride**2)
        cut = Cut(self.layer, class_costs, edge_costs, self.model.thresholds, area)  # solved when the loss asks for it
        return loss.function(cut, targets, self.objective, self.pretrain.at(progress))


@dataclass(frozen=True)
class Cut:
    """The asymmetric multiway cut of a batch.

    Attributes
    ----------
    layer : AsymmetricMultiwayCutLayer
    class_costs : Tensor, shape (B, K, h, w)
    edge_costs : Tensor, shape (B, O, h, w)
    thresholds : Tensor, shape (K,)
        Segments of a class with fewer image pixels are rejected in predictions.
    cell_area : float
        Image pixels of a node.
    """

    layer: AsymmetricMultiwayCutLayer
    class_costs: Tensor
    edge_costs: Tensor
    thresholds: Tensor
    cell_area: float

    def solve(self) -> CutOutput:
        """The solution; the gradient of what is made of it comes back through the solver (eq. 4, Algorithm 1)."""
        return self.layer(self.class_costs, self.edge_costs)  # type: ignore[no-any-return]


def drop(costs: Tensor, share: float) -> Tensor:
    """Set a share of the values to zero, without rescaling the others (A.2)."""
    return costs * (torch.rand_like(costs) >= share) if share > 0 else costs
