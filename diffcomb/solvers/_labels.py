"""Labellings in the ids of the local-moving kernel, and how they travel between levels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit


class Labels(NamedTuple):
    """A labelling in kernel ids: ``z`` (n,) holds k < K for the cluster of an unpartitionable class k, else K...

    ``cluster_class`` (n + K,) holds the class of every id.
    """

    z: Array
    cluster_class: Array

    def node_labels(self) -> Array:
        """The class of every node, as int64."""
        return self.cluster_class[self.z].astype(np.int64)


def from_labels(node_labels: Array, clusters: Array, partitionable: Array) -> Labels:
    """Kernel ids of a labelling given as classes and cluster ids; a cluster with two classes counts as two."""
    n, K = len(node_labels), len(partitionable)
    pairs = np.stack([clusters, node_labels], axis=1)
    pairs[~partitionable[node_labels], 0] = 0
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    k = unique[:, 1]
    ids = np.where(partitionable[k], K + np.arange(len(unique)), k)
    cluster_class = np.zeros(n + K, np.int32)
    cluster_class[:K] = np.arange(K)
    cluster_class[ids] = k
    return Labels(ids[inverse.reshape(n)].astype(np.int32), cluster_class)


def labels_of_groups(labels: Labels, group: Array, count: int, num_classes: int) -> Labels:
    """The labelling of the contracted graph; all members of a group must share a label."""
    return Labels(*_labels_of_groups(labels.z, labels.cluster_class, group, count, num_classes))


@njit
def _labels_of_groups(
    z: Array, cluster_class: Array, group: Array, count: int, num_classes: int
) -> tuple[Array, Array]:
    new_id = np.full(len(cluster_class), -1, np.int32)
    new_id[:num_classes] = np.arange(num_classes)
    used = num_classes
    new_z = np.empty(count, np.int32)
    new_class = np.zeros(count + num_classes, np.int32)
    new_class[:num_classes] = np.arange(num_classes)
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
    return Labels(labels.z[group], cluster_class)
