"""MALIS: a loss on the edges that decide which nodes a threshold of affinities joins (Turaga et al., NeurIPS 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_not_masked, float_array, to_numpy
from .._threads import thread_imap
from ..gradients.compiling import uncompiled
from ..graph import Graph, as_graph
from ..grid import GridGraph
from .maximin import VOID, decisive_pairs
from .solver_loss import check_reduction


@uncompiled
def malis_loss(
    graph: Any,
    affinities: torch.Tensor,
    labels: Any,
    *,
    logits: bool = False,
    background: int | None = None,
    positive: float = 1.0,
    negative: float = 1.0,
    anchor: str = "start",
    reduction: str = "mean",
) -> torch.Tensor:
    """Constrained MALIS of affinities and a true segmentation.

    Turaga et al., NeurIPS 2009; with two passes, Funke et al., TPAMI 2019 (arXiv 1709.02974).

    The *maximin edge* of two nodes is the weakest edge of the path between them whose weakest edge is strongest: a
    threshold of the affinities joins the two nodes if and only if it keeps this edge. With the affinity a_e, between
    0 and 1, of the maximin edge e, the loss is

        positive * mean of (1 - a_e)² over all pairs of one segment
        + negative * mean of a_e² over all pairs of different segments.

    The first mean is the positive pass, in which edges between segments have affinity 0, so that no path leaves the
    segment. The second is the negative pass, in which edges inside of segments have affinity 1. A pair without a path
    in its pass has no maximin edge and does not count, and a mean over no pair is 0: the loss of a single segment is
    that of its positive pass, and it is 0 where there are no edges or where all nodes are void.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
    affinities : tensor, shape (m,) or (B, m)
        How certain it is that an edge joins two nodes of one segment. For a grid graph also maps (B, O, *shape), one
        for each offset.
    labels : array_like of int, shape (n,) or (B, n)
        The true segment of each node; for a grid graph also (B, *shape), or (*shape) without a batch. A node with a
        negative label is void: it counts in no pair, and no path goes through it.
    logits : bool
        The affinities are logits of these probabilities.
    background : int, optional
        A label whose nodes belong to no segment, such as that of membranes: they count in no pair either, but paths go
        through them, so that the negative pass closes such paths between two segments.
    positive, negative : float
        Weights of the two passes.
    anchor : {"start", "center"}
        Where a map holds the affinity of an edge, as in :class:`diffcomb.AsymmetricMultiwayCutLayer`.
    reduction : {"mean", "sum", "none"}
        Of the losses of a batch; without a batch axis the loss is a scalar.

    Returns
    -------
    tensor
        The gradient of the loss with respect to the affinities takes the maximin edges as fixed, which they are where
        no two affinities are equal. Among equal ones, the edge of the smaller number counts as stronger.

    Raises
    ------
    TypeError
        If affinities are no floating-point tensor, or labels are no integers.
    ValueError
        If shapes do not fit, an affinity is NaN or infinite, or a probability lies outside of 0..1.

    Notes
    -----
    The time is that of sorting the edges once, in parts that fit a cache. Instances share the threads; of a single one,
    segments do.

    Examples
    --------
    >>> import torch
    >>> from diffcomb import malis_loss
    >>> affinities = torch.tensor([0.9, 0.4, 0.8], requires_grad=True)  # of a chain of four nodes
    >>> loss = malis_loss([(0, 1), (1, 2), (2, 3)], affinities, [0, 0, 1, 1])
    >>> loss.backward()
    >>> [round(g, 2) for g in affinities.grad.tolist()]  # the middle edge alone decides the four pairs across
    [-0.1, 0.8, -0.2]
    """
    check_reduction(reduction)
    for name, weight in (("positive", positive), ("negative", negative)):
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be a finite number that is not negative, got {weight!r}")
    graph, edges, segments = _checked(graph, affinities, labels, anchor)
    values = edges.float() if edges.dtype in (torch.float16, torch.bfloat16) else edges
    factors = (positive, negative)
    weights = _Weights.apply(values, graph, segments, _background(background), factors, logits)  # type: ignore[no-untyped-call]
    probabilities = torch.sigmoid(values) if logits else values
    losses: torch.Tensor = (weights.abs() * ((weights > 0).to(values.dtype) - probabilities) ** 2).sum(-1)
    if affinities.ndim == 1 or reduction == "none":
        return losses[0] if affinities.ndim == 1 else losses
    return losses.mean() if reduction == "mean" else losses.sum()


def malis_pairs(
    graph: Any, affinities: Any, labels: Any, *, background: int | None = None, anchor: str = "start"
) -> tuple[Array, Array]:
    """How many pairs of nodes each edge decides in the two passes of MALIS, for a loss of your own on maximin edges.

    Parameters
    ----------
    graph, affinities, labels, background, anchor
        As in :func:`malis_loss`; affinities may be logits, since only their order counts.

    Returns
    -------
    positive, negative : arrays of int64, shape (m,) or (B, m)
        Pairs of one segment, and of different segments, of which an edge is the maximin edge. No edge has both.

    Raises
    ------
    TypeError, ValueError
        As :func:`malis_loss` does.

    Examples
    --------
    >>> from diffcomb import malis_pairs
    >>> positive, negative = malis_pairs([(0, 1), (1, 2), (2, 3)], torch.tensor([0.9, 0.4, 0.8]), [0, 0, 1, 1])
    >>> positive.tolist(), negative.tolist()
    ([1, 0, 1], [0, 4, 0])
    """
    if not isinstance(affinities, torch.Tensor):
        affinities = torch.from_numpy(float_array(affinities, "affinities", "(m,)").copy())
    graph, edges, segments = _checked(graph, affinities, labels, anchor)
    counts = np.zeros((2, *edges.shape), np.int64)
    for number, b, decisive, pairs in _passes(graph, _values(edges), segments, _background(background)):
        counts[number, b, decisive] = pairs
    positive, negative = counts[:, 0] if affinities.ndim == 1 else counts
    return positive, negative


class _Weights(torch.autograd.Function):
    """Weights (B, m): each edge's share of the pairs of its pass, negative where it belongs to the negative pass."""

    @staticmethod
    def forward(
        values: torch.Tensor,
        graph: Graph,
        segments: Array,
        background: int,
        factors: tuple[float, float],
        logits: bool,
    ) -> torch.Tensor:
        array = _values(values)
        if not logits and array.size and (array.min() < 0 or array.max() > 1):
            raise ValueError(
                f"affinities must lie in 0..1, got values from {array.min():.3g} to {array.max():.3g}; "
                f"if they are logits, pass logits=True"
            )
        weights = np.zeros_like(array)
        for number, b, edges, pairs in _passes(graph, array, segments, background):
            weights[b, edges] = (factors[0], -factors[1])[number] / max(int(pairs.sum()), 1) * pairs
        return torch.from_numpy(weights).to(values.device)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, ...]:  # noqa: ARG004
        return (None,) * 6


def _passes(graph: Graph, values: Array, segments: Array, background: int) -> Iterator[tuple[int, int, Array, Array]]:
    """Both passes of every instance, which are tasks for threads: pass, instance, edges that decide pairs, how many."""

    def run(b: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        return decisive_pairs(graph.edges, values[b], segments[b], background)

    for b, passes in enumerate(thread_imap(run, range(len(values)))):
        for number, (decisive, pairs) in enumerate(passes):
            yield number, b, decisive, pairs


def _checked(graph: Any, affinities: Any, labels: Any, anchor: str) -> tuple[Graph, torch.Tensor, Array]:
    """The graph, affinities (B, m) and labels (B, n), or an error that says which of them does not fit."""
    if not isinstance(affinities, torch.Tensor) or not affinities.is_floating_point():
        raise TypeError(
            f"affinities must be a floating-point tensor, got {type(affinities).__name__} {affinities!r:.80}"
        )
    segments = _integers(labels)
    graph = as_graph(graph, segments.shape[-1] if segments.ndim and not isinstance(graph, Graph) else None)
    grid = (graph.shape,) if isinstance(graph, GridGraph) else ()
    if isinstance(graph, GridGraph) and affinities.ndim == len(graph.shape) + 2:
        edges = _gathered(graph, affinities, anchor)
    elif affinities.ndim in (1, 2) and affinities.shape[-1] == graph.num_edges:
        edges = affinities if affinities.ndim == 2 else affinities[None]
    else:
        maps = "".join(f" or maps (B, {len(graph.offsets)}, {shape})" for shape in grid)
        raise ValueError(
            f"affinities must have shape (m,) or (B, m) with m = {graph.num_edges}{maps}, got {tuple(affinities.shape)}"
        )
    batch = () if affinities.ndim == 1 else (len(edges),)
    shapes = [(*batch, *shape) for shape in ((graph.num_nodes,), *grid)]
    if segments.shape not in shapes:
        raise ValueError(f"labels must have shape {' or '.join(map(str, shapes))}, got {segments.shape}")
    return graph, edges, segments.reshape(len(edges), graph.num_nodes)


def _integers(labels: Any) -> Array:
    """Labels as int64."""
    check_not_masked(labels, "labels")
    array = to_numpy(labels)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"labels must be integers, negative where a node is void, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"labels must be less than 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64) if array.ndim else array


def _gathered(graph: GridGraph, maps: torch.Tensor, anchor: str) -> torch.Tensor:
    """Affinities (B, m) of maps (B, O, *shape)."""
    if maps.shape[1:] != (len(graph.offsets), *graph.shape):
        raise ValueError(
            f"maps of affinities must have shape (B, O, *shape) with O = {len(graph.offsets)} offsets and shape = "
            f"{graph.shape}, got {tuple(maps.shape)}"
        )
    values: torch.Tensor = graph.edge_values(maps, anchor)
    return values


def _values(edges: torch.Tensor) -> Array:
    return float_array(edges, "affinities", str(tuple(edges.shape)))


def _background(label: int | None) -> int:
    if label is None:
        return VOID
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or label < 0:
        raise ValueError(f"background must be a label that is not negative, or None, got {label!r}")
    return int(label)
