"""Lifting between class space and panoptic-label space: a linear map M and its adjoint (COPS Algorithm 1).

A loss on panoptic labels z lives in a finer space than the class costs. With the map m from panoptic labels
to classes, M copies the column m(l) of the class costs to column l, for every label l, and its adjoint adds
the columns of one class: <M c, z> = <c, M^T z>. Edge costs pass through both unchanged. Algorithm 1 is then
the black-box gradient in the lifted space followed by M^T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array, float_array, is_tensor, like, to_numpy
from ._implicit import Columns, LabelDifferences, OneHot, explicit
from ._labels import class_mask
from ._sums import add_columns, norm
from .linear_solver import BoundLift, Lift


class LiftedMWC(Lift):
    """The lifted multiway cut of COPS Algorithm 1: one class for every panoptic label.

    As ``perturbed_grad(amwc, lift=LiftedMWC())`` the labels are made from every forward solution: one for
    each class that is not partitionable, present or not, and one for each cluster of the partitionable ones.
    With the map `label_classes` the labels are fixed, and the clusters of a forward solution take the labels
    of their class in order.

    Parameters
    ----------
    label_classes : array_like of int, shape (J,), optional
        The map m: class of every panoptic label; -1 is padding, a column of zeros, as batches have it. A map
        that is used as the lift of a solver has none.
    num_classes : int, optional
        Number of classes K; by default the largest class of the map plus one.
    spare : int
        Without a map: labels to add for every partitionable class, beyond the clusters found, so that the
        perturbed problem can open a new cluster.

    Raises
    ------
    ValueError
        If a class is out of range or `spare` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> M = LiftedMWC([0, 1, 1])
    >>> M.lift(np.array([[5.0, 7.0]])).tolist()
    [[5.0, 7.0, 7.0]]
    >>> M.project(np.array([[0.0, 1.0, 2.0]])).tolist()
    [[0.0, 3.0]]
    """

    takes_labels = True

    def __init__(self, label_classes: Any = None, num_classes: int | None = None, *, spare: int = 0) -> None:
        for name, value in (("spare", spare), ("num_classes", 0 if num_classes is None else num_classes)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"{name} must be a non-negative integer, got {value!r}")
        self.spare = int(spare)
        self.num_classes = num_classes
        self.label_classes: Array | None = None
        if label_classes is not None:
            try:
                classes = to_numpy(label_classes)
            except ValueError as error:
                raise ValueError(f"label_classes must be integers of shape (J,), got {label_classes!r:.80}") from error
            if classes.ndim != 1 or (classes.size and classes.dtype.kind not in "iu"):
                raise ValueError(f"label_classes must be integers of shape (J,), got {classes!r:.80}")
            if classes.dtype.kind == "u" and classes.max(initial=0) > np.iinfo(np.int64).max:
                raise ValueError(f"label_classes must be less than 2^63, got {classes.max()}")
            classes = classes.astype(np.int64)
            if num_classes is None:
                self.num_classes = num_classes = int(classes.max(initial=-1)) + 1
            if classes.size and (classes.min() < -1 or classes.max() >= num_classes):
                raise ValueError(f"label_classes must lie in -1..{num_classes - 1}, got {classes.tolist()}")
            self.label_classes = classes

    def _map(self) -> tuple[Array, int]:
        if self.label_classes is None or self.num_classes is None:
            raise ValueError("this LiftedMWC has no map yet: give label_classes, or use it as the lift of a solver")
        return self.label_classes, self.num_classes

    def lift(self, node_costs: Any) -> Any:
        """Apply M: class costs (..., K) to label costs (..., J); numpy or torch, differentiable in torch."""
        classes, K = self._map()
        if not is_tensor(node_costs):
            node_costs = np.asarray(node_costs)
        if node_costs.ndim == 0 or node_costs.shape[-1] != K:
            raise ValueError(f"node_costs must have {K} classes on the last axis, got shape {tuple(node_costs.shape)}")
        if K == 0:  # all labels are padding
            shape = (*node_costs.shape[:-1], len(classes))
            return node_costs.new_zeros(shape) if is_tensor(node_costs) else np.zeros(shape, node_costs.dtype)
        columns = np.maximum(classes, 0)
        if is_tensor(node_costs):
            lifted = node_costs.index_select(-1, like(columns, node_costs))
        else:
            lifted = np.take(node_costs, columns, axis=-1)  # indexing would give columns that are not contiguous
        if (classes >= 0).all():
            return lifted
        if is_tensor(lifted):
            return lifted.masked_fill(like(classes < 0, lifted), 0)
        lifted[..., classes < 0] = 0
        return lifted

    def project(self, label_values: Any) -> Any:
        """Apply the adjoint: values of labels (..., J) to values of classes (..., K), adding over each class.

        Integers and Booleans become float64, and half precision float32 in numpy.
        """
        classes, K = self._map()
        if is_tensor(label_values):
            label_values = label_values if label_values.is_floating_point() else label_values.double()
        else:
            label_values = float_array(label_values, "label_values", "(..., J)", infinite=True)
        if label_values.ndim == 0 or label_values.shape[-1] != len(classes):
            raise ValueError(
                f"label values must have {len(classes)} labels on the last axis, got shape {tuple(label_values.shape)}"
            )
        if not is_tensor(label_values):
            return add_columns(label_values, classes, K)
        wide = label_values.float() if label_values.itemsize < 4 else label_values
        places = like(np.where(classes < 0, K, classes), wide)
        sums = wide.new_zeros((*wide.shape[:-1], K + 1)).index_add(-1, places, wide)
        return sums[..., :K].to(label_values.dtype)  # a product with zeros and ones would make NaN of infinities

    def bind(self, outputs: tuple[Array, ...], data: dict[str, Any]) -> BoundLiftedMWC:
        """Fix the labels for one forward solution, x one-hot first and clusters last; called by `perturbed_grad`.

        Raises
        ------
        ValueError
            If a fixed map has fewer labels of a class than the solution has clusters.
        """
        x, clusters = outputs[0], outputs[-1]
        ids = len(outputs) >= 3 and np.asarray(clusters).dtype.kind in "iu" and clusters.shape == x.shape[:1]
        if not ids or len(x.shape) != 2:
            raise ValueError(
                "a lift takes solutions and targets as those of amwc: one-hot class labels (n, K), cut labels of every "
                f"list of edges, integer cluster ids (n,) last; got {len(outputs)} output(s)"
            )
        clusters = _numbered(np.asarray(clusters))
        K = x.shape[1]
        mask = class_mask(data.get("partitionable", ()), K)
        cluster_class = _classes_of_clusters(x, clusters)
        if self.label_classes is None:
            stuff = np.flatnonzero(~mask)
            things = cluster_class[(cluster_class >= 0) & mask[cluster_class]]
            classes = np.concatenate([stuff, things, np.repeat(np.flatnonzero(mask), self.spare)])
        else:
            classes = self.label_classes
            if (classes < 0).any():
                raise ValueError(f"label_classes of a lift must not hold padding (-1), got {classes.tolist()}")
        return BoundLiftedMWC(LiftedMWC(classes, K), _assign(cluster_class, classes)[clusters])


def _classes_of_clusters(x: Array | OneHot, clusters: Array) -> Array:
    """The class of every cluster id; -1 where no node has it, or only nodes whose rows are zeros: void."""
    found = np.full(int(clusters.max(initial=-1)) + 1, -1, np.int64)
    labels = labels_of(x)
    known = slice(None) if isinstance(x, OneHot) else x.any(axis=1)
    clusters, labels = clusters[known], labels[known]
    found[clusters] = labels
    wrong = np.flatnonzero(found[clusters] != labels)
    if len(wrong):
        a, b = sorted((int(labels[wrong[0]]), int(found[clusters[wrong[0]]])))
        raise ValueError(
            f"the nodes of a cluster must have one class, but some of cluster {clusters[wrong[0]]} have class {a} and "
            f"others {b}: give them other ids, or rows of zeros if they are void"
        )
    return found


def _numbered(clusters: Array) -> Array:
    """Ids of n nodes as int64 less than n, in their order: those of targets may be any that are not negative."""
    if clusters.size and clusters.min() < 0:
        raise ValueError(
            f"cluster ids must not be negative, got {clusters.min()}: give nodes of no cluster an id as well"
        )
    if clusters.size and clusters.max() >= len(clusters):
        clusters = np.unique(clusters, return_inverse=True)[1]
    return clusters.astype(np.int64, copy=False)


def labels_of(one_hot: Array | OneHot) -> Array:
    """The labels of one-hot rows (n, K); K may be 0 where n is."""
    if isinstance(one_hot, OneHot):
        return one_hot.labels
    labels: Array = one_hot.argmax(axis=1) if one_hot.size else np.zeros(len(one_hot), np.int64)
    return labels


def _assign(cluster_class: Array, label_classes: Array) -> Array:
    """Give the clusters of every class the labels of that class, in order."""
    label = np.zeros(len(cluster_class), np.int64)  # any label for void
    for k in np.unique(cluster_class[cluster_class >= 0]):
        clusters = np.flatnonzero(cluster_class == k)
        labels = np.flatnonzero(label_classes == k)
        if len(clusters) > len(labels):
            raise ValueError(
                f"label_classes has {len(labels)} label(s) of class {k}, but the solution has {len(clusters)} "
                f"clusters of it; give more labels, or no map to have labels made from every solution"
            )
        label[clusters] = labels[: len(clusters)]
    return label


@dataclass(frozen=True)
class BoundLiftedMWC(BoundLift):
    """The lift of one forward solution.

    Attributes
    ----------
    map : LiftedMWC
        M and its adjoint, with its labels fixed.
    labels : numpy.ndarray of int64, shape (n,)
        The panoptic label of every node in the forward solution.
    """

    map: LiftedMWC
    labels: Array

    @property
    def classes(self) -> Array:
        """The class of every label, shape (J,)."""
        return self.map._map()[0]

    def costs(self, costs: tuple[Array, ...]) -> tuple[Array, ...]:
        """M: (c_V, c_E) to (M c_V, c_E)."""
        return self.map.lift(costs[0]), *costs[1:]

    def described_costs(self, costs: tuple[Array, ...]) -> tuple[Any, ...]:
        """M, the lifted class costs only described."""
        return Columns(costs[0], self.classes), *costs[1:]

    def cost_norm(self, costs: tuple[Array, ...]) -> float:
        """The Euclidean norm of the lifted costs, from the class costs: column k counts once for each label of k."""
        labels = np.bincount(self.classes, minlength=costs[0].shape[1])
        return norm(costs, labels)

    def outputs(self, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The forward solution in the lifted space: (z one-hot, y, clusters, class of every label)."""
        classes = self.classes
        z = OneHot(self.labels, len(classes), outputs[0].dtype)
        return z if isinstance(outputs[0], OneHot) else np.asarray(z), *outputs[1:], classes

    def data(self, data: dict[str, Any]) -> dict[str, Any]:
        """The instance data of the lifted problem: a multiway cut, hence nothing is partitionable."""
        return {**data, "partitionable": ()} if "partitionable" in data else data

    def pull_back(self, gradients: tuple[Array, ...]) -> tuple[Array, ...]:
        """M^T: gradients with respect to lifted costs to gradients with respect to costs."""
        return self.map.project(gradients[0]), *gradients[1:]

    def pull_back_described(self, gradients: tuple[Any, ...]) -> tuple[Array, ...]:
        """M^T, of differences of labels as they are."""
        first = gradients[0]
        if not isinstance(first, LabelDifferences):
            return self.pull_back(explicit(gradients))
        classes, num_classes = self.map._map()
        return first.added_columns(classes, num_classes), *gradients[1:]
