"""Pre-training losses: weighted top-k cross-entropy for classes and for each affinity predictor (section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .network import Logits
from .targets import Targets


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
