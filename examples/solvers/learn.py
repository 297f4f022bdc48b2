"""Shared by the examples of this folder: train a linear model to predict costs from features, through a solver.

The true costs are a fixed nonlinear function of the features, with noise. The model is judged by its regret: how much
more its decisions cost than the best decisions, in percent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def make_data(size: int, shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (size, 5) and positive true costs (size, *shape)."""
    g = torch.Generator().manual_seed(0)
    weights = torch.randint(0, 2, (5, int(torch.Size(shape).numel())), generator=g).float()
    g = torch.Generator().manual_seed(1 + seed)
    x = torch.randn(size, 5, generator=g)
    costs = ((x @ weights / 5**0.5 + 3) ** 2 / 9 + 0.1) * (0.5 + torch.rand(size, weights.shape[1], generator=g))
    return x, costs.view(size, *shape)


def regret(solver: Callable[..., Any], predicted: torch.Tensor, true: torch.Tensor, **data: Any) -> float:
    """How much more decisions for predicted costs truly cost than the best decisions, in percent of the best."""
    with torch.no_grad():
        decisions, best = (first(solver(c, **data)) for c in (predicted, true))
    value = (true * best).sum()
    return 100 * float(((true * decisions).sum() - value) / value.abs())


def first(outputs: Any) -> torch.Tensor:
    """The solution, without auxiliary outputs."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def learn(
    solver: Callable[..., Any],
    shape: tuple[int, ...],
    loss: Callable[..., torch.Tensor] | None = None,
    sign: float = 1.0,
    epochs: int = 15,
    size: int = 256,
    **data: Any,
) -> tuple[float, float]:
    """Train on ``loss(costs, true_costs=...)``, or else on the true cost of decisions; return regret before and after.

    With a sign of -1 all costs are negative: they are rewards, and the solver collects as much as it can.
    """
    (x, c), (x_test, c_test) = make_data(size, shape, 0), make_data(256, shape, 1)
    c, c_test = sign * c, sign * c_test
    torch.manual_seed(0)
    model = torch.nn.Linear(5, int(torch.Size(shape).numel()))
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    before = regret(solver, model(x_test).view(-1, *shape) + 3 * sign, c_test, **data)
    for _ in range(epochs):
        for rows in torch.randperm(size).split(32):
            predicted = model(x[rows]).view(-1, *shape) + 3 * sign
            if loss is None:
                value = (c[rows] * first(solver(predicted, **data))).sum() / len(rows)
            else:
                value = loss(predicted, true_costs=c[rows], **data)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    after = regret(solver, model(x_test).view(-1, *shape) + 3 * sign, c_test, **data)
    print(f"regret on unseen instances: {before:.1f} % before, {after:.1f} % after training through the solver")
    return before, after
