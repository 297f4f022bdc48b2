"""Solves beside the network's work: while one part of a batch is solved, the network is at the next one.

Solvers run on the CPU without the GIL, so that they take nothing from a network on an accelerator. Gradients are
those of one part after the other, to the last bit: one thread solves, in the order of the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ..data.targets import Targets

Costs = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]
Losses = dict[str, Tensor]
Part = tuple[Tensor, Targets]  # images and targets


def backward_pipelined(
    parts: Iterable[tuple[Tensor, Targets]],
    network: Callable[[Tensor], Costs],
    loss: Callable[..., Losses],
    share: float,
) -> Iterator[Losses]:
    """Propagate `share` times the loss of every part back; yields the losses of each.

    Parameters
    ----------
    parts : images and targets, one part after the other
    network : from images to costs; called here, and so is the backward pass of what it does
    loss : from costs and targets to losses, of which "loss" counts; called in another thread; parameters of its own
        would get no gradient
    """

    def solve(costs: Costs, targets: Targets) -> tuple[Losses, Gradients]:
        leaves = [c.detach().requires_grad_() for c in costs]
        losses = loss(*leaves, targets)
        return losses, torch.autograd.grad(losses["loss"] * share, leaves, allow_unused=True)

    def finish(costs: Costs, solved: Future[tuple[Losses, Gradients]]) -> Losses:
        losses, gradients = solved.result()
        used = [(c, g) for c, g in zip(costs, gradients, strict=True) if g is not None and c.requires_grad]
        if used:
            torch.autograd.backward(*zip(*used, strict=True))
        return losses

    before: tuple[Costs, Future[tuple[Losses, Gradients]]] | None = None
    with ThreadPoolExecutor(1, "solver") as pool:
        for images, targets in parts:
            costs = network(images)
            now = costs, pool.submit(solve, costs, targets)
            if before is not None:
                yield finish(*before)
            before = now
        if before is not None:
            yield finish(*before)


def ahead(prepare: Callable[[int], list[Part]], numbers: Sequence[int]) -> Iterator[tuple[int, list[Part]]]:
    """Each number and what is prepared for it, the next one in a thread of its own while this one is in use."""
    with ThreadPoolExecutor(1, "samples") as pool:
        coming = [pool.submit(prepare, number) for number in numbers[:1]]
        for i, number in enumerate(numbers):
            parts = coming.pop().result()
            coming += [pool.submit(prepare, following) for following in numbers[i + 1 : i + 2]]
            yield number, parts
