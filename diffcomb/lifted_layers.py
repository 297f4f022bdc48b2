"""torch layers of lifted problems over grids: short-range costs connect, long-range costs only cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .cells import Cells
from .cut_output import CutOutput, multicut_output
from .gradients import Blackbox, Estimator, perturbed_grad
from .graph import Graph
from .layers import GridLayer, checked_class_costs, labels_of_solver
from .lifted_cuts import lifted_amwc, lifted_multicut
from .lifting import LiftedMWC
from .solvers.lifted_registry import LiftedSolver, get_lifted_solver

Maps = Tensor | Sequence[Tensor]


class _LiftedLayer(nn.Module):
    """Maps of base costs and of lifted costs to costs of two graphs on one grid."""

    def __init__(
        self,
        offsets: Iterable[Sequence[int]],
        lifted_offsets: Iterable[Sequence[int]],
        *,
        estimator: Estimator | None = None,
        solver: str | LiftedSolver = "multilevel",
        anchor: str = "start",
        generator: torch.Generator | None = None,
        effort: int | None = None,
    ) -> None:
        super().__init__()
        get_lifted_solver(solver)
        self.base = GridLayer(offsets, anchor=anchor, effort=effort)
        self.lifted = GridLayer(lifted_offsets, anchor=anchor)
        if self.base.ndim != self.lifted.ndim:
            raise ValueError(
                f"offsets and lifted_offsets must have as many components, got {self.base.ndim} and {self.lifted.ndim}"
            )
        self.estimator = Blackbox() if estimator is None else estimator
        self.options = {"solver": solver, "effort": effort}
        self.generator = generator

    def __repr__(self) -> str:
        offsets = f"offsets={self.base.offsets}, lifted_offsets={self.lifted.offsets}"
        return f"{type(self).__name__}({offsets}, solver={self.options['solver']!r}, estimator={self.estimator})"

    def _gathered(self, affinities: Maps, lifted: Maps, mask: Any) -> _Gathered:
        edge_costs, graph, places = self.base.gathered(affinities, mask)
        lifted_costs, far, far_places = self.lifted.gathered(lifted, mask)
        cells, far_cells = (Cells(g, edge_costs.device) for g in (graph, far))
        if cells.shape != far_cells.shape:
            shapes = f"{cells.shape} and {far_cells.shape}"
            raise ValueError(f"affinities and lifted must be maps of one shape, got {shapes}")
        return _Gathered((edge_costs, lifted_costs), (graph, far), (places, far_places), cells)

    def _scattered(self, labels: Sequence[Tensor], given: _Gathered) -> tuple[Tensor, Tensor]:
        """Labels of base and lifted edges as maps."""
        near = self.base.scattered(labels[0], given.places[0], given.cells)
        return near, self.lifted.scattered(labels[1], given.places[1], given.cells)


class _Gathered(NamedTuple):
    """Costs (B, m) and (B, m'), graphs and places in the maps of base and lifted edges, and the cells of the nodes."""

    costs: tuple[Tensor, Tensor]
    graphs: tuple[Graph, Graph]
    places: tuple[Tensor, Tensor]
    cells: Cells

    @property
    def data(self) -> dict[str, Any]:
        """The graphs as keywords of the verbs."""
        return {"graph": self.graphs[0], "lifted_edges": self.graphs[1]}


class LiftedMulticutLayer(_LiftedLayer):
    """Lifted multicut on a grid.

    Parameters
    ----------
    offsets, lifted_offsets : iterable of tuples of int
        One offset for each map of base costs and of lifted costs.
    estimator, anchor, generator, effort
        As in :class:`AsymmetricMultiwayCutLayer`.
    solver : str or callable
        As in :func:`diffcomb.lifted_multicut`.
    """

    def forward(self, affinities: Maps, lifted: Maps, *, mask: Any = None) -> tuple[CutOutput, Tensor]:
        """Solve for base costs (B, O, H, W) and lifted costs (B, O', H, W), as tensors or lists of maps.

        Returns the output of a :class:`MulticutLayer`, and maps (B, O', H, W) of the lifted edges that are cut. The
        gradient is that of both. `mask` is a region of interest (H, W), as for that layer.
        """
        given = self._gathered(affinities, lifted, mask)
        solve = perturbed_grad(lifted_multicut, estimator=self.estimator, generator=self.generator)
        *labels, clusters = solve(*given.costs, **given.data, **self.options)
        near, far = self._scattered(labels, given)
        return multicut_output(labels[0], clusters, given.cells, near), far


class LiftedAsymmetricMultiwayCutLayer(_LiftedLayer):
    """Lifted asymmetric multiway cut on a grid, differentiable through the lift of COPS Algorithm 1.

    Parameters
    ----------
    offsets, lifted_offsets, estimator, solver, anchor, generator, effort
        As in :class:`LiftedMulticutLayer`.
    partitionable, spare
        As in :class:`AsymmetricMultiwayCutLayer`.
    """

    def __init__(
        self,
        offsets: Iterable[Sequence[int]],
        lifted_offsets: Iterable[Sequence[int]],
        partitionable: Any,
        *,
        spare: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(offsets, lifted_offsets, **options)
        self.partitionable = partitionable
        self.lift = LiftedMWC(spare=spare)

    def forward(
        self, class_costs: Tensor, affinities: Maps, lifted: Maps, *, mask: Any = None
    ) -> tuple[CutOutput, Tensor]:
        """Solve for class costs (B, K, H, W), base costs (B, O, H, W) and lifted costs (B, O', H, W).

        Returns the output of an :class:`AsymmetricMultiwayCutLayer`, and maps (B, O', H, W) of the lifted edges that
        are cut. `mask` is a region of interest (H, W), as for that layer.
        """
        given = self._gathered(affinities, lifted, mask)
        nodes = checked_class_costs(class_costs, given.costs[0], given.cells)
        solve = perturbed_grad(lifted_amwc, estimator=self.estimator, lift=self.lift, generator=self.generator)
        data = {**given.data, "partitionable": self.partitionable, **self.options}
        parts, labels = labels_of_solver(solve, (nodes, *given.costs), data, given.cells)
        near, far = self._scattered(labels, given)
        return CutOutput(near, **parts), far
