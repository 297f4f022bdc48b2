"""torch layers over grids: where solvers, lifting and gradients meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._arrays import Array
from .cells import Cells
from .cut_output import CutOutput, multicut_output
from .cuts import amwc, multicut, mwc
from .gradients import Blackbox, Estimator, perturbed_grad
from .gradients.compiling import uncompiled
from .gradients.interfaces import as_estimator
from .gradients.wrapping import Differentiable
from .grid import GridGraph, MaskedGridGraph, check_anchor, checked_mask, grid_graph, integer_vectors
from .lifting import LiftedMWC
from .solve_instances import check_count
from .solvers import Solver, get_solver

MAX_GRAPHS = 8  # image sizes whose graphs a layer keeps,
MAX_EDGES = 2**24  # as long as they have no more edges together: a quarter of a GiB


class GridLayer(nn.Module):
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
        vectors = integer_vectors(offsets)
        shape = (1,) * (len(vectors[0]) if vectors else 2)
        self.offsets = grid_graph(shape, vectors).offsets  # says now what is wrong with the offsets
        self.ndim = len(shape)
        get_solver(solver)
        if effort is not None:
            check_count(effort, "effort")
        self.anchor = check_anchor(anchor)
        self.estimator = Blackbox() if estimator is None else estimator
        self.options = {"solver": solver, "effort": effort}
        self.generator = generator
        self._graphs: dict[tuple[int, ...], tuple[GridGraph, Tensor]] = {}
        self._masked: tuple[MaskedGridGraph, Tensor] | None = None

    def extra_repr(self) -> str:
        """What torch prints of a layer."""
        return f"offsets={self.offsets}, solver={self.options['solver']!r}, estimator={self.estimator}"

    def graph(self, *shape: int) -> GridGraph:
        """The grid graph for images (H, W) or volumes (Z, Y, X) of that shape; made once a shape."""
        return self._graph_and_places(*shape)[0]

    @uncompiled
    def _graph_and_places(self, *shape: int) -> tuple[GridGraph, Tensor]:
        found = self._graphs.get(shape)
        if found is None:
            graph = grid_graph(shape, self.offsets)
            index = np.arange(len(self.offsets) * graph.num_nodes).reshape(len(self.offsets), *shape)
            found = graph, _kept(graph.edge_values(index, self.anchor))
            # Other threads may use this layer: they see the old dict or the new one, never one that changes.
            self._graphs = _newest({**self._graphs, shape: found})
        return found

    @uncompiled
    def _within(self, mask: Any, *shape: int) -> tuple[MaskedGridGraph, Tensor]:
        """The graph of the cells that a mask holds, and the places of its edges; that of the last mask is kept."""
        grid, places = self._graph_and_places(*shape)
        cells, last = checked_mask(mask, grid.shape), self._masked
        if last is not None and last[0].grid is grid and np.array_equal(last[0].mask, cells):
            return last
        graph = MaskedGridGraph(grid, cells)
        self._masked = found = graph, _kept(places.numpy()[graph.kept])
        return found

    def edge_costs(
        self, affinities: Tensor | Sequence[Tensor], *, mask: Any = None
    ) -> tuple[Tensor, GridGraph | MaskedGridGraph]:
        """Gather affinity maps, O maps (B, H, W) or one tensor (B, O, H, W), into edge costs (B, m) of the grid graph.

        What `forward` solves for; with it, a :func:`diffcomb.solver_loss` can use the maps and targets of a layer.
        """
        return self.gathered(affinities, mask)[:2]

    def gathered(
        self, affinities: Tensor | Sequence[Tensor], mask: Any = None
    ) -> tuple[Tensor, GridGraph | MaskedGridGraph, Tensor]:
        """Affinity maps (B, O, H, W) as edge costs (B, m), with their graph and the places of its edges in the maps."""
        maps = affinities if isinstance(affinities, (list, tuple)) else [affinities]
        if not all(isinstance(a, Tensor) for a in maps):
            raise TypeError(f"affinities must be a tensor or a list of tensors, got {type(affinities).__name__}")
        if not isinstance(affinities, Tensor) and len({a.shape for a in affinities}) != 1:
            shapes = ", ".join(str(tuple(a.shape)) for a in affinities) or "none"
            raise ValueError(f"affinities must be {len(self.offsets)} maps of one shape, got {shapes}")
        given = affinities if isinstance(affinities, Tensor) else torch.stack(list(affinities), dim=1)
        if given.ndim != 2 + self.ndim or given.shape[1] != len(self.offsets):
            axes = {2: "H, W", 3: "Z, Y, X"}.get(self.ndim, f"{self.ndim} axes")
            raise ValueError(
                f"affinities must be {len(self.offsets)} maps (B, {axes}) or a tensor "
                f"(B, {len(self.offsets)}, {axes}), got shape {tuple(given.shape)}"
            )
        graph: GridGraph | MaskedGridGraph
        graph, places = (
            self._graph_and_places(*given.shape[2:]) if mask is None else self._within(mask, *given.shape[2:])
        )
        places = places.to(given.device)
        return given.flatten(1).index_select(1, places), graph, places

    def scattered(self, edge_labels: Tensor, places: Tensor, cells: Cells) -> Tensor:
        """Edge labels (B, m) as maps (B, O, H, W)."""
        shape = torch.Size((len(edge_labels), len(self.offsets), *cells.shape))
        values = edge_labels.new_zeros(shape[0], int(torch.Size(shape[1:]).numel()))
        return values.index_copy(1, places, edge_labels).view(shape)


class AsymmetricMultiwayCutLayer(GridLayer):
    """Asymmetric multiway cut on a grid, differentiable through the lift of COPS Algorithm 1.

    Parameters
    ----------
    offsets : iterable of tuples of int
        One (vertical, horizontal) offset for each affinity map; (z, y, x) for volumes, whose maps are (B, K, Z, Y, X).
    partitionable : list of int or mask
        The classes P that may be split into several clusters.
    estimator : Estimator, optional
        ``Blackbox()`` by default: COPS eq. 4 with scales relative to the costs, from warm starts at effort 0.
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

    def forward(self, class_costs: Tensor, affinities: Tensor | Sequence[Tensor], *, mask: Any = None) -> CutOutput:
        """Solve for class costs (B, K, H, W) and affinity costs, O maps (B, H, W) or one tensor (B, O, H, W).

        `mask`, truth values (H, W), is a region of interest, the same for all images: only its cells are nodes. Outside
        it costs are not used and get no gradient, one-hot maps and cut edges are 0, clusters and labels -1.
        """
        edge_costs, graph, places = self.gathered(affinities, mask)
        cells = Cells(graph, edge_costs.device)
        nodes = checked_class_costs(class_costs, edge_costs, cells)
        solve = perturbed_grad(amwc, estimator=self.estimator, lift=self.lift, generator=self.generator)
        data = {"graph": graph, "partitionable": self.partitionable, **self.options}
        parts, (y,) = labels_of_solver(solve, (nodes, edge_costs), data, cells)
        return CutOutput(self.scattered(y, places, cells), **parts)


class MultiwayCutLayer(GridLayer):
    """Multiway cut on a grid: no class is partitionable, and the panoptic labels are the classes.

    Parameters are those of :class:`AsymmetricMultiwayCutLayer` without `partitionable` and `spare`.
    """

    def forward(self, class_costs: Tensor, affinities: Tensor | Sequence[Tensor], *, mask: Any = None) -> CutOutput:
        """Solve for class costs (B, K, H, W) and affinity costs, O maps (B, H, W) or one tensor (B, O, H, W).

        `mask` is a region of interest (H, W), as for the :class:`AsymmetricMultiwayCutLayer`.
        """
        edge_costs, graph, places = self.gathered(affinities, mask)
        cells = Cells(graph, edge_costs.device)
        nodes = checked_class_costs(class_costs, edge_costs, cells)
        batch, _, K = nodes.shape
        solve = perturbed_grad(mwc, estimator=self.estimator, generator=self.generator)
        x, y, clusters = solve(nodes, edge_costs, graph=graph, **self.options)
        classes = cells.maps(x.transpose(1, 2))
        return CutOutput(
            self.scattered(y, places, cells),
            cells.numbers(clusters),
            torch.arange(K, device=x.device).expand(batch, K),
            classes=lambda: classes,
            panoptic=lambda: classes,
            labels=lambda: cells.numbers(x.argmax(2)),
        )


class MulticutLayer(GridLayer):
    """Multicut on a grid: affinity costs in, cut edges out.

    Parameters are those of :class:`AsymmetricMultiwayCutLayer` without `partitionable` and `spare`.
    """

    def forward(self, affinities: Tensor | Sequence[Tensor], *, mask: Any = None) -> CutOutput:
        """Solve for affinity costs, O maps (B, H, W) or one tensor (B, O, H, W).

        The gradient is that of the cut edges; `panoptic` is the one-hot form of `clusters`. `mask` is a region of
        interest (H, W), as for the :class:`AsymmetricMultiwayCutLayer`.
        """
        edge_costs, graph, places = self.gathered(affinities, mask)
        solve = perturbed_grad(multicut, estimator=self.estimator, generator=self.generator)
        y, clusters = solve(edge_costs, graph=graph, **self.options)
        cells = Cells(graph, y.device)
        return multicut_output(y, clusters, cells, self.scattered(y, places, cells))


def _kept(places: Array) -> Tensor:
    """A tensor to keep: one that is made in inference mode could not be used for training later."""
    with torch.inference_mode(False):
        return torch.from_numpy(places)


def _newest(graphs: dict[tuple[int, ...], tuple[GridGraph, Tensor]]) -> dict[tuple[int, ...], tuple[GridGraph, Tensor]]:
    """The graphs that were made last, as many as a layer keeps; always the very last."""
    kept: dict[tuple[int, ...], tuple[GridGraph, Tensor]] = {}
    edges = 0
    for key, found in reversed(graphs.items()):
        edges += found[0].num_edges
        if kept and (len(kept) == MAX_GRAPHS or edges > MAX_EDGES):
            break
        kept = {key: found, **kept}
    return kept


def labels_of_solver(
    solve: Differentiable, costs: tuple[Tensor, ...], data: dict[str, Any], cells: Cells
) -> tuple[dict[str, Any], list[Tensor]]:
    """Solve through a lift; returns what a CutOutput takes besides edge maps, and the labels (B, m) of the edges."""
    K = costs[0].shape[2]
    # A mean of several labellings is not one-hot; and torch.func's transforms map arrays, not labels in a box.
    if as_estimator(solve.estimator).smooths or torch._C._are_functorch_transforms_active():
        z, *edge_labels, clusters, label_classes = solve(*costs, **data)
        of_class = label_classes[:, :, None] == torch.arange(K, device=z.device)
        parts = {
            "label_classes": label_classes,
            "classes": lambda: cells.maps((z @ of_class.to(z.dtype)).mT),  # M^T: labels of one class add up
            "panoptic": lambda: cells.maps(z.mT),
            "labels": lambda: cells.numbers(z.argmax(2)),
        }
    else:
        found, *edge_labels, clusters = solve.labels(*costs, **data)
        parts = {
            "label_classes": found.classes,
            "classes": lambda: cells.maps(found.one_hot_classes(K).mT),
            "panoptic": lambda: cells.maps(found.one_hot().mT),
            "labels": lambda: cells.numbers(found.labels),
            "overlaps": lambda segments, count: found.overlaps(cells.nodes(segments), count),
        }
    return {"clusters": cells.numbers(clusters), **parts}, edge_labels


def checked_class_costs(class_costs: Tensor, edge_costs: Tensor, cells: Cells) -> Tensor:
    """Class costs (B, K, H, W) as node costs (B, n, K)."""
    if not isinstance(class_costs, Tensor):
        raise TypeError(f"class_costs must be a tensor as the affinities are, got {type(class_costs).__name__}")
    expected = (len(edge_costs), *cells.shape)
    if class_costs.ndim != 1 + len(expected) or (class_costs.shape[0], *class_costs.shape[2:]) != expected:
        raise ValueError(
            f"class_costs must have shape (B, K, H, W) with B, H, W = {expected} as the affinities have, "
            f"got {tuple(class_costs.shape)}"
        )
    return cells.nodes(class_costs.flatten(2)).transpose(1, 2)
