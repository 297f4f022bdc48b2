"""torch layers over grids: where solvers, lifting and gradients meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .cut_output import CutOutput, maps, one_hot
from .cuts import amwc, check_count, multicut, mwc
from .gradients import Blackbox, Estimator, perturbed_grad
from .gradients.interfaces import as_estimator
from .grid import GridGraph, check_anchor, grid_graph
from .lifting import LiftedMWC
from .solvers import Solver, get_solver

MAX_GRAPHS = 8  # image sizes whose graphs a layer keeps,
MAX_EDGES = 2**24  # as long as they have no more edges together: a quarter of a GiB


class _GridLayer(nn.Module):
    """Costs on a grid to costs on its graph, and back."""

    def __init__(
        self,
        offsets: Iterable[Sequence[int]],
        *,
        estimator: Estimator | None = None,
        solver: str | Solver = "multilevel",
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
            found = graph, graph.edge_values(index, self.anchor)
            # Other threads may use this layer: they see the old dict or the new one, never one that changes.
            self._graphs = _newest({**self._graphs, key: found})
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
        given = affinities if isinstance(affinities, Tensor) else torch.stack(list(affinities), dim=1)
        if given.ndim != 4 or given.shape[1] != len(self.offsets):
            raise ValueError(
                f"affinities must be {len(self.offsets)} maps (B, H, W) or a tensor (B, {len(self.offsets)}, H, W), "
                f"got shape {tuple(given.shape)}"
            )
        graph, places = self._graph_and_places(*given.shape[2:])
        places = places.to(given.device)
        return given.flatten(1).index_select(1, places), graph, places

    def _scatter(self, edge_labels: Tensor, places: Tensor, graph: GridGraph) -> Tensor:
        shape = torch.Size((len(edge_labels), len(self.offsets), *graph.shape))
        values = edge_labels.new_zeros(shape[0], int(torch.Size(shape[1:]).numel()))
        return values.index_copy(1, places, edge_labels).view(shape)


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
    solver : str or callable
        As in :func:`diffcomb.amwc`.
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
        solver: str | Solver = "multilevel",
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
        data = {"graph": graph, "partitionable": self.partitionable, **self.options}
        # A mean of several labellings is not one-hot; and torch.func's transforms map arrays, not labels in a box.
        if as_estimator(self.estimator).smooths or torch._C._are_functorch_transforms_active():
            z, y, clusters, label_classes = solve(nodes, edge_costs, **data)
            of_class = label_classes[:, :, None] == torch.arange(K, device=z.device)
            return CutOutput(
                self._scatter(y, places, graph),
                clusters.view(batch, height, width),
                label_classes,
                classes=lambda: maps(z @ of_class.to(z.dtype), height, width),  # M^T: labels of one class add up
                panoptic=lambda: maps(z, height, width),
                labels=lambda: z.argmax(2).view(batch, height, width),
            )
        found, y, clusters = solve.labels(nodes, edge_costs, **data)
        return CutOutput(
            self._scatter(y, places, graph),
            clusters.view(batch, height, width),
            found.classes,
            classes=lambda: maps(found.one_hot_classes(K), height, width),
            panoptic=lambda: maps(found.one_hot(), height, width),
            labels=lambda: found.labels.view(batch, height, width),
            overlaps=found.overlaps,
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
        classes = maps(x, height, width)
        return CutOutput(
            self._scatter(y, places, graph),
            clusters.view(batch, height, width),
            torch.arange(K, device=x.device).expand(batch, K),
            classes=lambda: classes,
            panoptic=lambda: classes,
            labels=lambda: classes.argmax(1),
        )


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
        present = ids[None] <= clusters.flatten(1).amax(1)[:, None] if clusters.numel() else ids[None] < ids[None]
        return CutOutput(
            self._scatter(y, places, graph),
            clusters,
            torch.where(present, 0, -1).expand(batch, count),
            classes=lambda: y.new_ones(batch, 1, height, width),
            panoptic=lambda: one_hot(clusters, count, y.dtype),
            labels=lambda: clusters,
        )


def _newest(graphs: dict[tuple[int, int], tuple[GridGraph, Tensor]]) -> dict[tuple[int, int], tuple[GridGraph, Tensor]]:
    """The graphs that were made last, as many as a layer keeps; always the very last."""
    kept: dict[tuple[int, int], tuple[GridGraph, Tensor]] = {}
    edges = 0
    for key, found in reversed(graphs.items()):
        edges += found[0].num_edges
        if kept and (len(kept) == MAX_GRAPHS or edges > MAX_EDGES):
            break
        kept = {key: found, **kept}
    return kept


def _check_class_costs(class_costs: Tensor, edge_costs: Tensor, graph: GridGraph) -> tuple[int, int, int, int]:
    expected = (len(edge_costs), *graph.shape)
    if class_costs.ndim != 4 or (class_costs.shape[0], *class_costs.shape[2:]) != expected:
        raise ValueError(
            f"class_costs must have shape (B, K, H, W) with B, H, W = {expected} as the affinities have, "
            f"got {tuple(class_costs.shape)}"
        )
    batch, K, height, width = class_costs.shape
    return batch, K, height, width
