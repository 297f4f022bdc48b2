"""``diffcomb info``: what a file of a problem holds."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..io import read
from .solve import problem_of


def run_info(options: argparse.Namespace) -> dict[str, Any]:
    """Say what a file holds."""
    instance = read(options.file, options.format)
    graph, costs = instance.graph, instance.edge_costs
    degree = np.bincount(graph.edges.ravel(), minlength=graph.num_nodes)
    result: dict[str, Any] = {"problem": problem_of(instance), "nodes": graph.num_nodes, "edges": graph.num_edges}
    if len(costs):
        result |= {
            "costs": f"{costs.min():g} to {costs.max():g}",
            "repulsive_edges": f"{100 * np.mean(costs < 0):.1f} %",
            "largest_degree": int(degree.max()),
        }
    if instance.node_costs is not None:
        result["classes"] = int(instance.node_costs.shape[1])
    if instance.lifted_edges is not None:
        result["lifted_edges"] = len(instance.lifted_edges)
    return result
