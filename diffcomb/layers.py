"""torch layers over grids: where solvers, lifting and gradients meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .cuts import amwc, check_count, multicut, mwc
from .gradients import Blackbox, perturbed_grad
from .gradients.oracle import Estimator
from .graph import GridGraph, check_anchor, grid_graph
from .lifting import LiftedMWC
from .solvers import get_solver

MAX_GRAPHS = 8  # image sizes whose graphs a layer keeps


class CutOutput(NamedTuple):
    """What a layer returns; the first three are differentiable (of the multicut only `edges` is).

    Attributes
    ----------
    classes : Tensor, shape (B, K, H, W)
        One-hot class labels x (for the multicut, K = 1).
    edges : Tensor, shape (B, O, H, W)
        y: 1 where the edge of that offset is cut; 0 where the map has no edge.
    panoptic : Tensor, shape (B, J, H, W)
        One-hot panoptic labels z; J is the largest number of labels in the batch.
    clusters : Tensor of int64, shape (B, H, W)
        Cluster ids 0..M-1 of every image.
    label_classes : Tensor of int64, shape (B, J)
        The map m: class of every panoptic label, -1 for padding.
    """

    classes: Tensor
    edges: Tensor
    panoptic: Tensor
    clusters: Tensor
    label_classes: Tensor


class _GridLayer(nn.Module):
    """Costs on a grid to costs on its graph, and back."""

    def __init__(
        self,
        offsets: Iterable[Sequence[int]],
        *,
        estimator: Estimator | None = None,
        solver: str = "multilevel",
        anchor: str = "start",
        generator: torch.Generator | None = None,
        effort: int | None = None,
    ) -> None:
        super().__init__()
        self.offsets = grid_graph((1, 1), offsets).offsets  # says now what is wrong with the offsets
        get_solver(solver)
        if effort is not None:
            check_count(effort, "effort")
        self.anchor = check_anchor(anchor)
        self.estimator = Blackbox() if estimator is None else estimator
        self.options = {"solver": solver, "effort": effort}
        self.generator = generator
        self._graphs: dict[tuple[int, int], tuple[GridGraph, Tensor]] = {}

    def extra_repr(self) -> str:
        return f"offsets={self.offsets}, solver={self.options['solver']!r}, estimator={self.estimator}"

    def graph(self, height: int, width: int) -> GridGraph:
        """The grid graph for images of that size; made once a size."""
        return self._graph_and_places(height, width)[0]

    def _graph_and_places(self, height: int, width: int) -> tuple[GridGraph, Tensor]:
        key = (height, width)
        found = self._graphs.get(key)
        if found is None:
            graph = grid_graph(key, self.offsets)
            index = torch.arange(len(self.offsets) * height * width).view(len(self.offsets), height, width)
            places = [index[o][graph.map_window(o, self.anchor)].flatten() for o in range(len(self.offsets))]
            found = graph, torch.cat([index.new_empty(0), *places])
            # Other threads may use this layer: they see the old dict or the new one, never one that changes.
            newest = list(self._graphs.items())[1 - MAX_GRAPHS :]
            self._graphs = dict([*newest, (key, found)])
        return found

    def edge_costs(self, affinities: Tensor | Sequence[Tensor]) -> tuple[Tensor, GridGraph]:
        """Gather affinity maps, O maps (B, H, W) or one tensor (B, O, H, W), into edge costs (B, m) of the grid graph.

        What `forward` solves for; with it, a :func:`diffcomb.solver_loss` can use the maps and targets of a layer.
        """
        return self._edge_costs(affinities)[:2]

    def _edge_costs(self, affinities: Tensor | Sequence[Tensor]) -> tuple[Tensor, GridGraph, Tensor]:
        """Gather affinity maps (B, O, H, W) into edge costs (B, m)."""
        if not isinstance(affinities, Tensor) and not all(isinstance(a, Tensor) for a in affinities):
            raise TypeError(f"affinities must be a tensor or a list of tensors, got {type(affinities).__name__}")
        maps = affinities if isinstance(affinities, Tensor) else torch.stack(list(affinities), dim=1)
        if maps.ndim != 4 or maps.shape[1] != len(self.offsets):
            raise ValueError(
                f"affinities must be {len(self.offsets)} maps (B, H, W) or a tensor (B, {len(self.offsets)}, H, W), "
                f"got shape {tuple(maps.shape)}"
            )
        graph, places = self._graph_and_places(*maps.shape[2:])
        places = places.to(maps.device)
        return maps.flatten(1)[:, places], graph, places

    @staticmethod
    def _scatter(edge_labels: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
        maps = edge_labels.new_zeros(shape[0], int(torch.Size(shape[1:]).numel()))
        return maps.index_copy(1, places, edge_labels).view(shape)


class AsymmetricMultiwayCutLayer(_GridLayer):
    """Asymmetric multiway cut on a grid, differentiable through the lift of COPS Algorithm 1.

    Parameters
    ----------
    offsets : iterable of (int, int)
        One (vertical, horizontal) offset for each affinity map.
    partitionable : list of int or mask
        The classes P that may be split into several clusters.
    estimator : Estimator, optional
        ``Blackbox()`` by default: COPS eq. 4 with scales relative to the costs, from warm starts.
    solver : str
        Name of the solver, as in :func:`diffcomb.amwc`.
    anchor : {"start", "center"}
        Where in its map the cost of the edge p -- p + d stands: at p, or at its middle p + ceil(d / 2), as
        in COPS eq. 10-11. Values at places without an edge are not used.
    generator : torch.Generator, optional
        Source of the estimator's randomness.
    effort : int
        As in :func:`diffcomb.amwc`.
    spare : int
        Labels of every partitionable class, beyond the clusters found, that the perturbed problem may open.
    """

    def __init__(
        self,
        offsets: Iterable[Sequence[int]],
        partitionable: Any,
        *,
        estimator: Estimator | None = None,
        solver: str = "multilevel",
        anchor: str = "start",
        generator: torch.Generator | None = None,
        effort: int | None = None,
        spare: int = 0,
    ) -> None:
        super().__init__(offsets, estimator=estimator, solver=solver, anchor=anchor, generator=generator, effort=effort)
        self.partitionable = partitionable
        self.lift = LiftedMWC(spare=spare)

    def forward(self, class_costs: Tensor, affinities: Tensor | Sequence[Tensor]) -> CutOutput:
        """Solve for class costs (B, K, H, W) and affinity costs, O maps (B, H, W) or one tensor (B, O, H, W)."""
        edge_costs, graph, places = self._edge_costs(affinities)
        batch, K, height, width = _check_class_costs(class_costs, edge_costs, graph)
        nodes = class_costs.flatten(2).transpose(1, 2)
        solve = perturbed_grad(amwc, estimator=self.estimator, lift=self.lift, generator=self.generator)
        z, y, clusters, label_classes = solve(
            nodes, edge_costs, graph=graph, partitionable=self.partitionable, **self.options
        )
        one_hot = label_classes[:, :, None] == torch.arange(K, device=z.device)
        x = z @ one_hot.to(z.dtype)  # M^T: the labels of one class add up
        shape = torch.Size((batch, len(self.offsets), height, width))
        return CutOutput(
            x.transpose(1, 2).reshape(batch, K, height, width),
            self._scatter(y, places, shape),
            z.transpose(1, 2).reshape(batch, z.shape[2], height, width),
            clusters.view(batch, height, width),
            label_classes,
        )


class MultiwayCutLayer(_GridLayer):
    """Multiway cut on a grid: no class is partitionable, and the panoptic labels are the classes.

    Parameters are those of :class:`AsymmetricMultiwayCutLayer` without `partitionable` and `spare`.
    """

    def forward(self, class_costs: Tensor, affinities: Tensor | Sequence[Tensor]) -> CutOutput:
        """Solve for class costs (B, K, H, W) and affinity costs, O maps (B, H, W) or one tensor (B, O, H, W)."""
        edge_costs, graph, places = self._edge_costs(affinities)
        batch, K, height, width = _check_class_costs(class_costs, edge_costs, graph)
        solve = perturbed_grad(mwc, estimator=self.estimator, generator=self.generator)
        x, y, clusters = solve(class_costs.flatten(2).transpose(1, 2), edge_costs, graph=graph, **self.options)
        classes = x.transpose(1, 2).reshape(batch, K, height, width)
        shape = torch.Size((batch, len(self.offsets), height, width))
        labels = torch.arange(K, device=x.device).expand(batch, K)
        return CutOutput(classes, self._scatter(y, places, shape), classes, clusters.view(batch, height, width), labels)


class MulticutLayer(_GridLayer):
    """Multicut on a grid: affinity costs in, cut edges out.

    Parameters are those of :class:`AsymmetricMultiwayCutLayer` without `partitionable` and `spare`.
    """

    def forward(self, affinities: Tensor | Sequence[Tensor]) -> CutOutput:
        """Solve for affinity costs, O maps (B, H, W) or one tensor (B, O, H, W).

        The gradient is that of the cut edges; `panoptic` is the one-hot form of `clusters`.
        """
        edge_costs, graph, places = self._edge_costs(affinities)
        height, width = graph.shape
        batch = len(edge_costs)
        solve = perturbed_grad(multicut, estimator=self.estimator, generator=self.generator)
        y, clusters = solve(edge_costs, graph=graph, **self.options)
        clusters = clusters.view(batch, height, width)
        count = int(clusters.max()) + 1 if clusters.numel() else 0
        ids = torch.arange(count, device=y.device)
        panoptic = (clusters[:, None] == ids[None, :, None, None]).to(y.dtype)
        present = ids[None] <= clusters.flatten(1).amax(1)[:, None] if clusters.numel() else ids[None] < ids[None]
        return CutOutput(
            torch.ones_like(panoptic[:, :1]) if count else y.new_ones(batch, 1, height, width),
            self._scatter(y, places, torch.Size((batch, len(self.offsets), height, width))),
            panoptic,
            clusters,
            torch.where(present, 0, -1).expand(batch, count),
        )


def _check_class_costs(class_costs: Tensor, edge_costs: Tensor, graph: GridGraph) -> tuple[int, int, int, int]:
    expected = (len(edge_costs), *graph.shape)
    if class_costs.ndim != 4 or (class_costs.shape[0], *class_costs.shape[2:]) != expected:
        raise ValueError(
            f"class_costs must have shape (B, K, H, W) with B, H, W = {expected} as the affinities have, "
            f"got {tuple(class_costs.shape)}"
        )
    batch, K, height, width = class_costs.shape
    return batch, K, height, width
