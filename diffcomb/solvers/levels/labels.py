"""Labellings in the ids of the kernels, and how they travel between levels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from .partition import gathered


class Labels(NamedTuple):
    """A labelling of n nodes and K classes in kernel ids.

    Id k < K is a cluster of class k: the only one if that class is not partitionable. Ids K..K+n-1 are further
    clusters of partitionable classes. ``cluster_class`` (n + K,) holds the class of every id, ``z`` (n,) the id of
    every node.
    """

    z: Array
    cluster_class: Array

    @property
    def num_ids(self) -> int:
        """Number of ids, used or not."""
        return len(self.cluster_class)

    def copy(self) -> Labels:
        """A labelling that can be changed on its own."""
        return Labels(self.z.copy(), self.cluster_class.copy())

    def node_labels(self) -> Array:
        """The class of every node, as int64."""
        return gathered(self.cluster_class, self.z).astype(np.int64)


def from_labels(node_labels: Array, clusters: Array, partitionable: Array) -> Labels:
    """Kernel ids of a labelling given as classes and cluster ids; a cluster with two classes counts as two."""
    n, K = len(node_labels), len(partitionable)
    low, high = (int(clusters.min()), int(clusters.max())) if n else (0, -1)
    if n and (high - low + 1) * K <= 4 * n:
        pair = (clusters - low) * K + node_labels  # cluster ids are few: number the pairs without sorting
        used = np.zeros((high - low + 1) * K, bool)
        used[pair] = True
        number = np.cumsum(used) - 1
        inverse, keys = number[pair], np.flatnonzero(used)
        k = keys % K
    else:
        pairs = np.stack([clusters, node_labels], axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        inverse, k = inverse.reshape(n), unique[:, 1]
    ids = np.where(partitionable[k], K + np.arange(len(k)), k)
    cluster_class = np.zeros(n + K, np.int32)
    cluster_class[:K] = np.arange(K)
    cluster_class[ids] = k
    return Labels(ids[inverse].astype(np.int32), cluster_class)


def labels_of_groups(labels: Labels, group: Array, count: int, num_classes: int) -> Labels:
    """The labelling of the contracted graph; all members of a group must share a label."""
    return Labels(*_labels_of_groups(labels.z, labels.cluster_class, group, count, num_classes))


@njit
def _labels_of_groups(
    z: Array, cluster_class: Array, group: Array, count: int, num_classes: int
) -> tuple[Array, Array]:
    new_id = np.full(len(cluster_class), -1, np.int32)
    used = num_classes
    new_z = np.empty(count, np.int32)
    new_class = np.zeros(count + num_classes, np.int32)
    for k in range(num_classes):
        new_id[k] = k
        new_class[k] = k
    for i in range(len(z)):
        c = z[i]
        if new_id[c] < 0:
            new_id[c] = used
            new_class[used] = cluster_class[c]
            used += 1
        new_z[group[i]] = new_id[c]
    return new_z, new_class


def project(labels: Labels, group: Array, num_classes: int) -> Labels:
    """The labelling of the finer graph in which every node has the label of its group."""
    cluster_class = np.zeros(len(group) + num_classes, np.int32)
    cluster_class[: len(labels.cluster_class)] = labels.cluster_class
    return Labels(gathered(labels.z, group), cluster_class)


@njit
def split(labels: Labels, component: Array, partitionable: Array) -> tuple[Array, Array, Array]:
    """Make every connected component of a partitionable cluster a cluster.

    `component` (n,) holds a node of its component for every node. Returns z, cluster_class, and which nodes have left:
    an int8 array with 1 for all components of a cluster but the first.
    """
    n, num_classes = len(component), len(partitionable)
    first = np.full(len(labels.cluster_class), -1, np.int32)
    z = labels.z.copy()
    cluster_class = labels.cluster_class.copy()
    left = np.zeros(n, np.int8)
    for i in range(n):
        c = labels.z[i]
        k = labels.cluster_class[c]
        if partitionable[k]:
            if first[c] < 0:
                first[c] = component[i]
            left[i] = component[i] != first[c]
            z[i] = num_classes + component[i]
            cluster_class[z[i]] = k
    return z, cluster_class, left


@njit
def changed_nodes(before: Labels, after: Labels, order: Array, num_classes: int) -> Array:
    """Which nodes two labellings label differently, up to the numbering of partitionable clusters: an int8 array.

    1 where the cluster is another one, 2 where the cluster is the same and its class is another one, else 0.

    A cluster of the second labelling is identified with the cluster of the first that its first node in `order`
    has, unless another cluster already is; put the nodes that weigh most first.
    """
    image = np.full(len(after.cluster_class), -1, np.int32)
    taken = np.zeros(len(before.cluster_class), np.bool_)
    for k in range(num_classes):
        image[k] = k
        taken[k] = True
    for i in order:
        old, new = before.z[i], after.z[i]
        if image[new] < 0 and not taken[old]:
            image[new] = old
            taken[old] = True
    changed = np.zeros(len(order), np.int8)
    for i in order:
        old, new = before.z[i], after.z[i]
        if image[new] != old:
            changed[i] = 1
        elif after.cluster_class[new] != before.cluster_class[old]:
            changed[i] = 2
    return changed
