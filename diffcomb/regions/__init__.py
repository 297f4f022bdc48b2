"""Region adjacency graphs of label images: superpixels or supervoxels become nodes, and what touches is an edge."""

from .adjacency import RegionGraph, region_graph
from .statistics import EdgeStatistics

__all__ = ["EdgeStatistics", "RegionGraph", "region_graph"]
