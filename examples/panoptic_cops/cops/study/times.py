"""Where the time of a training step goes: network, both solves, and the loss between them (Table 3)."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from diffcomb import AsymmetricMultiwayCutLayer

from ..data.targets import Targets
from ..surrogate import PanopticQualitySurrogate, Truth

Costs = tuple[Tensor, ...]


class Stopwatch:
    """Adds up the seconds between its calls, under the name given at their end.

    Parameters
    ----------
    device : torch.device
        What runs there is waited for at every call.

    Attributes
    ----------
    spent : dict of str to float
        Seconds by name, in the order of the first calls.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Begin anew: what has passed since the last call counts nowhere."""
        self._wait()
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        """Count what has passed since the last call."""
        self._wait()
        now = time.perf_counter()
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        self._last = now

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def through_solver(
    watch: Stopwatch,
    costs_of: Callable[[Tensor], Costs],
    layer: AsymmetricMultiwayCutLayer,
    surrogate: PanopticQualitySurrogate,
    images: Tensor,
    targets: Targets,
    share: float = 1.0,
) -> float:
    """Backpropagate `share` times the surrogate of a batch and time the parts; returns the loss.

    The network computes costs (`costs_of`), the layer solves them (AMWC) and, in its backward pass, the perturbed
    problems (MWC); the surrogate's own backward pass counts to the surrogate.
    """
    costs = costs_of(images)
    watch("network")
    leaves = [c.detach().requires_grad_() for c in costs]
    out = layer(*leaves)
    watch("AMWC")
    truth = Truth(targets.segments)
    shared = truth.overlaps(out)
    loss = surrogate.of_overlaps(shared, out.label_classes, truth)
    (upstream,) = torch.autograd.grad(share * loss, shared)
    watch("surrogate")
    gradients = torch.autograd.grad(shared, leaves, upstream)
    watch("MWC")
    backward(costs, gradients)
    watch("network backward")
    return float(loss.detach())


def backward(costs: Costs, gradients: tuple[Tensor | None, ...]) -> None:
    """Backpropagate the gradients of costs through the network, where it learns."""
    pairs = [(c, g) for c, g in zip(costs, gradients, strict=True) if c.requires_grad and g is not None]
    if pairs:
        torch.autograd.backward(*zip(*pairs, strict=True))
