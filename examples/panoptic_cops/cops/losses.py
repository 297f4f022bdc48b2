"""Pre-training losses: weighted top-k cross-entropy for classes and for each affinity predictor (section 4.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcomb import AsymmetricMultiwayCutLayer, CutOutput, FenchelYoung, StructuredSVM, amwc, solver_loss

from .config import Objective
from .data.targets import Targets
from .model.network import Logits
from .surrogate import PanopticQualitySurrogate


def top_k_mean(values: Tensor, share: float) -> Tensor:
    """Mean of the largest `share` of all values; ignored ones count among them as zeros, as in Panoptic-DeepLab."""
    flat = values.flatten()
    k = max(1, int(share * flat.numel()))
    if k == flat.numel():
        return flat.mean()
    return torch.topk(flat, k, sorted=False).values.mean()


def semantic_loss(logits: Tensor, targets: Targets, share: float) -> Tensor:
    """Cross-entropy of the classes, weighted, over the hardest `share` of the cells."""
    loss = F.cross_entropy(logits, targets.labels, ignore_index=-1, reduction="none")
    return top_k_mean(loss * targets.class_weight, share)


def affinity_loss(logits: Tensor, targets: Targets, share: float) -> Tensor:
    """Binary cross-entropy of "cut", weighted, over the hardest `share` of each map, summed over the maps."""
    loss = F.binary_cross_entropy_with_logits(logits, targets.cut, reduction="none") * targets.edge_weight
    maps = [top_k_mean(m, share) for m in loss.unbind(1) if m.numel()]
    return torch.stack(maps).sum()


def pretraining_loss(
    logits: Logits, targets: Targets, semantic_share: float, affinity_share: float, affinity_weight: float
) -> dict[str, Tensor]:
    """Both losses and their weighted sum, "loss"."""
    semantic = semantic_loss(logits.classes, targets, semantic_share)
    affinity = affinity_loss(logits.cuts, targets, affinity_share)
    return {"loss": semantic + affinity_weight * affinity, "semantic": semantic, "affinity": affinity}


def mean_loss(logits: Logits, targets: Targets) -> dict[str, Tensor]:
    """Plain means of both cross-entropies over all known cells and edges: what calibrates the logits."""
    cells = F.cross_entropy(logits.classes, targets.labels, ignore_index=-1, reduction="none")
    edges = F.binary_cross_entropy_with_logits(logits.cuts, targets.cut, reduction="none")
    known_cells, known_edges = (targets.labels >= 0).to(cells), (targets.edge_weight > 0).to(edges)
    semantic = (cells * known_cells).sum() / known_cells.sum().clamp(min=1)
    affinity = (edges * known_edges).sum() / known_edges.sum().clamp(min=1)
    return {"loss": semantic + affinity, "semantic": semantic, "affinity": affinity}


Loss = Callable[[AsymmetricMultiwayCutLayer, Tensor, Tensor, Targets], dict[str, Tensor]]


def make_loss(settings: Objective, surrogate: PanopticQualitySurrogate) -> Loss:
    """From layer, class costs (B, K, h, w), edge costs (B, O, h, w) and targets to "loss" and what else is logged."""
    if settings.loss == "structured_svm":
        return TrueCut(StructuredSVM(settings.margin))
    if settings.loss == "fenchel_young":
        return TrueCut(FenchelYoung(settings.sigma, settings.num_lambdas))

    def panoptic(layer: AsymmetricMultiwayCutLayer, classes: Tensor, edges: Tensor, t: Targets) -> dict[str, Tensor]:
        out = layer(classes, edges)
        loss = surrogate(out, out.label_classes, t.segments)
        return {"loss": loss, "surrogate_pq": 100 * (1 - loss.detach() / settings.weight)}

    def separate(layer: AsymmetricMultiwayCutLayer, classes: Tensor, edges: Tensor, t: Targets) -> dict[str, Tensor]:
        return separate_losses(layer(classes, edges), t, settings.weight)

    if settings.loss == "separate":
        return separate
    if settings.loss == "surrogate":
        return panoptic
    true_cut = TrueCut(StructuredSVM(settings.margin))

    def combined(layer: AsymmetricMultiwayCutLayer, classes: Tensor, edges: Tensor, t: Targets) -> dict[str, Tensor]:
        values, margin = panoptic(layer, classes, edges, t), true_cut(layer, classes, edges, t)["loss"]
        return {**values, "loss": values["loss"] + settings.svm_weight * margin, "structured_svm": margin}

    return combined


class TrueCut:
    """A loss of `diffcomb.solver_loss` against the true partition, a mean over the grid's nodes.

    Void cells and edges at void cost nothing, so they say nothing.

    Parameters
    ----------
    loss : a loss such as ``StructuredSVM()``
    """

    def __init__(self, loss: StructuredSVM | FenchelYoung) -> None:
        self.loss = loss

    def __call__(
        self, layer: AsymmetricMultiwayCutLayer, class_costs: Tensor, edge_maps: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        f = solver_loss(amwc, self.loss, generator=layer.generator)
        known = (targets.labels >= 0).flatten(1)
        x = F.one_hot(targets.labels.clamp(min=0), class_costs.shape[1]).flatten(1, 2).to(class_costs)
        edges, graph = layer.edge_costs(edge_maps)
        y, _ = layer.edge_costs(targets.cut.to(edge_maps))
        weight, _ = layer.edge_costs(targets.edge_weight.to(edge_maps))
        nodes = class_costs.flatten(2).transpose(1, 2)
        loss = f(
            nodes * known[..., None], edges * (weight > 0), target=(x, y),
            graph=graph, partitionable=layer.partitionable, **layer.options,
        )  # fmt: skip
        return {"loss": loss / nodes.shape[1]}


def separate_losses(out: CutOutput, targets: Targets, weight: float) -> dict[str, Tensor]:
    """Losses on classes (eq. 8) and on the cut edges of each offset (eq. 9), weighted as in pre-training.

    Eq. 8 is a mean over the cells, eq. 9 one minus a soft F1 score for each map; weights go into the sums.
    """
    x = F.one_hot(targets.labels.clamp(min=0), out.classes.shape[1]).permute(0, 3, 1, 2).to(out.classes)
    wrong = (out.classes - x).abs().sum(1) * targets.class_weight
    classes = wrong.sum() / targets.class_weight.sum().clamp(min=1)
    cut, w = targets.cut, targets.edge_weight
    hit = (w * out.edges * cut).sum((0, 2, 3))
    error = (w * (out.edges * (1 - cut) + (1 - out.edges) * cut)).sum((0, 2, 3))
    present = (hit + error).detach() > 0
    edges = 1 - (hit[present] / (hit[present] + 0.5 * error[present]))
    total = weight * (classes + (edges.mean() if len(edges) else torch.zeros_like(classes)))
    return {"loss": total, "classes": classes, "edges": edges.mean() if len(edges) else torch.zeros_like(classes)}
