"""What training minimises: one function for each loss, and nothing about models or stages.

A loss takes the cut of a batch (`step.Cut`: costs, and a solution when it asks for one), the targets where the cut is
made, the objective and the settings of pre-training. It returns "loss", which is minimised, and what else is logged.
`recipes.LOSSES` says what the losses are called in the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcomb import CutOutput, FenchelYoung, StructuredSVM, amwc, malis_loss, solver_loss

from .data.targets import Targets
from .model.network import Logits
from .surrogate import PanopticQualitySurrogate

if TYPE_CHECKING:
    from .config import Pretrain
    from .recipes import Objective
    from .step import Cut


def paper(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """The losses of pre-training (section 4.2): weighted cross-entropies over the hardest cells and edges."""
    logits = logits_of(cut)
    semantic = semantic_loss(logits.classes, targets, pretrain.semantic_share)
    affinity = affinity_loss(logits.cuts, targets, pretrain.affinity_share)
    return {"loss": semantic + pretrain.affinity_weight * affinity, "semantic": semantic, "affinity": affinity}


def mean(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """Plain means of both cross-entropies over all known cells and edges; they calibrate the costs."""
    logits = logits_of(cut)
    semantic = mean_semantic_loss(logits.classes, targets)
    edges = F.binary_cross_entropy_with_logits(logits.cuts, targets.cut, reduction="none")
    known_edges = (targets.edge_weight > 0).to(edges)
    affinity = (edges * known_edges).sum() / known_edges.sum().clamp(min=1)
    return {"loss": semantic + affinity, "semantic": semantic, "affinity": affinity}


def malis(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """MALIS on the edges, and the mean cross-entropy of the classes; no path goes through void."""
    edges, graph = cut.layer.edge_costs(cut.edge_costs)  # logits of "not cut"
    affinity = malis_loss(graph, edges, targets.segments.flatten(1), logits=True)
    semantic = mean_semantic_loss(-cut.class_costs, targets)
    return {"loss": semantic + affinity, "semantic": semantic, "malis": affinity}


def surrogate(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """The surrogate of panoptic quality (eq. 6) of the solution."""
    quality = PanopticQualitySurrogate(cut.thresholds, cut.cell_area, objective.weight, variant=objective.variant)
    solution = cut.solve()
    loss = quality(solution, solution.label_classes, targets.segments)
    return {"loss": loss, "surrogate_pq": 100 * (1 - loss.detach() / objective.weight)}


def separate(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """Losses on the solution's classes (eq. 8) and on its cut edges (eq. 9)."""
    return separate_losses(cut.solve(), targets, objective.weight)


def structured_svm(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """The structured SVM against the true partition: one solve with costs that prefer mistakes."""
    loss = StructuredSVM(objective.margin, **_unlabelled(objective))
    return against_true_partition(loss, cut, targets, objective.void)


def fenchel_young(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """The Fenchel-Young loss against the true partition: solves with noise on the costs."""
    loss = FenchelYoung(objective.sigma, objective.num_lambdas, **_unlabelled(objective))
    return against_true_partition(loss, cut, targets, objective.void)


def combined(cut: Cut, targets: Targets, objective: Objective, pretrain: Pretrain) -> dict[str, Tensor]:
    """The surrogate and the structured SVM, added up."""
    values = surrogate(cut, targets, objective, pretrain)
    svm = structured_svm(cut, targets, objective, pretrain)["loss"]
    return {**values, "loss": values["loss"] + objective.svm_weight * svm, "structured_svm": svm}


def logits_of(cut: Cut) -> Logits:
    """Logits that stand for the costs, so that scales and offsets learn under losses of logits as well."""
    return Logits(-cut.class_costs, -cut.edge_costs)


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


def mean_semantic_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Plain mean of the cross-entropy over all known cells."""
    cells = F.cross_entropy(logits, targets.labels, ignore_index=-1, reduction="none")
    known = (targets.labels >= 0).to(cells)
    return (cells * known).sum() / known.sum().clamp(min=1)


def affinity_loss(logits: Tensor, targets: Targets, share: float) -> Tensor:
    """Binary cross-entropy of "cut", weighted, over the hardest `share` of each map, summed over the maps."""
    loss = F.binary_cross_entropy_with_logits(logits, targets.cut, reduction="none") * targets.edge_weight
    maps = [top_k_mean(m, share) for m in loss.unbind(1) if m.numel()]
    return torch.stack(maps).sum()


def against_true_partition(
    loss: StructuredSVM | FenchelYoung, cut: Cut, targets: Targets, void: str = "zero"
) -> dict[str, Tensor]:
    """A loss of `diffcomb.solver_loss` against the true partition, a mean over the nodes.

    With `void` "zero", void cells and edges that touch void get cost 0, but a margin or noise as all others; else they
    are unlabelled parts of the target, and the loss says what that means.
    """
    layer = cut.layer
    known = (targets.labels >= 0).flatten(1)[..., None]
    x = F.one_hot(targets.labels.clamp(min=0), cut.class_costs.shape[1]).flatten(1, 2).to(cut.class_costs)
    edges, graph = layer.edge_costs(cut.edge_costs)
    y, _ = layer.edge_costs(targets.cut.to(cut.edge_costs))
    weight, _ = layer.edge_costs(targets.edge_weight.to(cut.edge_costs))
    nodes = cut.class_costs.flatten(2).transpose(1, 2)
    labelled = known, weight > 0
    if void == "zero":
        nodes, edges, labelled = nodes * known, edges * (weight > 0), None
    value = solver_loss(amwc, loss, generator=layer.generator)(
        nodes, edges, target=(x, y), labelled=labelled,
        graph=graph, partitionable=layer.partitionable, **layer.options,
    )  # fmt: skip
    return {"loss": value / nodes.shape[1]}


def _unlabelled(objective: Objective) -> dict[str, str]:
    return {} if objective.void == "zero" else {"unlabelled": objective.void}


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
