"""Worker threads of training: one prepares the samples of the next step, one solves while the network computes.

Solvers run on the CPU without the GIL, so they do not slow down a network on an accelerator. Gradients are the same
to the last bit as without threads: one thread solves, in the order of the parts.
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
    count: int,
) -> Iterator[Losses]:
    """Backpropagate the mean loss of `count` samples, solving one part of them while the network computes the next.

    Yields the losses of each part.

    Parameters
    ----------
    parts : images and targets, one part after the other
    network : from images to costs; it and its backward pass run in the calling thread
    loss : from costs and targets to mean losses, of which "loss" is minimised; runs in the worker thread; parameters of
        its own would get no gradient
    """

    def solve(costs: Costs, targets: Targets, share: float) -> tuple[Losses, Gradients]:
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
            now = costs, pool.submit(solve, costs, targets, len(images) / count)
            if before is not None:
                yield finish(*before)
            before = now
        if before is not None:
            yield finish(*before)


def ahead(prepare: Callable[[int], list[Part]], numbers: Sequence[int]) -> Iterator[tuple[int, list[Part]]]:
    """Yield each number with its prepared parts; a thread prepares the next one meanwhile."""
    with ThreadPoolExecutor(1, "samples") as pool:
        coming = [pool.submit(prepare, number) for number in numbers[:1]]
        for i, number in enumerate(numbers):
            parts = coming.pop().result()
            coming += [pool.submit(prepare, following) for following in numbers[i + 1 : i + 2]]
            yield number, parts
