"""Helpers of the gradient tests: a small graph, a solver with a closed form, and a function that takes the gradient."""

import numpy as np
import torch

from diffcomb import grid_graph

GRAPH = grid_graph((2, 3))
TRIALS = range(8)


def argmin_one_hot(costs):
    return np.eye(len(costs))[costs.argmin()]


def costs_and_gradient(seed, *shapes):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes]


def cost_gradient(f, costs, grads, **data):
    costs = [c.clone().requires_grad_() for c in costs]
    outputs = f(*costs, **data)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward(outputs[: len(grads)], grads)
    return [c.grad for c in costs]
