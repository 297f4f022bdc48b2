"""Solvers at the top level of a module, where other processes can import them."""

import os
import threading
import time

import numpy as np
import torch

from diffcomb import Blackbox, PerturbedOptimizer, StructuredSVM, perturbed_grad, solver_loss
from diffcomb.problem import make_solution
from diffcomb.solvers import SOLVERS


@perturbed_grad(estimator=Blackbox(1.0), cost_ndims=1)
def decorated(costs):
    return np.eye(len(costs), dtype=costs.dtype)[costs.argmin()]


@perturbed_grad(estimator=Blackbox((0.5, 3.0)), cost_ndims=1, parallel="processes")
def decorated_in_processes(costs, **data):
    return plain(costs, **data)


class Group:
    @perturbed_grad(cost_ndims=1)
    def nested(costs):
        return plain(costs)[0]


class Model:
    """A solver with a state, which only one thread may use at a time."""

    def __init__(self, shift):
        self.shift = shift

    @perturbed_grad(estimator=PerturbedOptimizer(1.0, 10), cost_ndims=1)
    def solve(self, costs):
        return plain(costs, shift=self.shift)[0]

    @perturbed_grad(cost_ndims=1)
    def solve_in_torch(self, costs: torch.Tensor):
        assert isinstance(costs, torch.Tensor)
        return written_in_torch(costs)


def plain(costs, *, shift=0.0):
    """Return the arg-min, the id of the process that found it, and the keyword data."""
    return np.eye(len(costs), dtype=costs.dtype)[(costs + shift).argmin()], os.getpid(), shift


def written_in_torch(costs: torch.Tensor):
    return torch.eye(len(costs))[costs.argmin()]


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fails(costs):
    if costs[0] > 10:
        raise Unpicklable("this", "that") if costs[0] > 100 else OSError("no licence")
    return np.eye(len(costs), dtype=costs.dtype)[costs.argmin()]


def dies(costs):
    os._exit(3)


def margin_solver(costs):
    return np.eye(len(costs), dtype=costs.dtype)[costs.argmin()]


margin_solver = solver_loss(margin_solver, StructuredSVM(), cost_ndims=1)


def raises_on_odd_blocks(problem, *, init, rng, budget):
    if problem.graph.num_nodes == 128:  # 16 x 8 cells
        raise RuntimeError("odd")
    return _default(problem, init=init, rng=rng, budget=budget)


def raises_on_odd_blocks_while_asked_to(problem, *, init, rng, budget):
    if problem.graph.num_nodes == 128 and "DIFFCOMB_TEST_RAISES" in os.environ:
        raise RuntimeError("odd")
    return _default(problem, init=init, rng=rng, budget=budget)


def sleeps_on_odd_blocks(problem, *, init, rng, budget):
    if problem.graph.num_nodes == 128:
        time.sleep(4)
    return _default(problem, init=init, rng=rng, budget=budget)


def dies_on_odd_blocks(problem, *, init, rng, budget):
    if problem.graph.num_nodes == 128:
        os._exit(9)
    return _default(problem, init=init, rng=rng, budget=budget)


def raises_on_starts(problem, *, init, rng, budget):
    """In workers alone: what is solved in one piece has a start as well."""
    if init is not None and threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start")
    return _default(problem, init=init, rng=rng, budget=budget)


def cuts_more_when_asked_to(problem, *, init, rng, budget):
    if "DIFFCOMB_TEST_CUTS" in os.environ:
        n = problem.graph.num_nodes
        return make_solution(problem, np.zeros(n, np.int64), np.arange(n))
    return _default(problem, init=init, rng=rng, budget=budget)


def _default(problem, **rest):
    return SOLVERS["multilevel"](problem, **rest)
