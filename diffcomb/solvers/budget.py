"""How long a solver may search: a number of rounds, or a time."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .._interrupt import Interrupt


@dataclass
class Budget:
    """What buys quality with time.

    Attributes
    ----------
    effort : int
        Number of rounds of improvement after a solver's first pass.
    time_limit : float, optional
        Seconds from now after which no new step begins; then there are as many rounds as it allows,
    at_most : int, optional
        or so many.
    interrupt : Interrupt
        Knows whether the user had enough.
    """

    effort: int
    time_limit: float | None = None
    interrupt: Interrupt = field(default_factory=lambda: Interrupt(False))
    at_most: int | None = None
    _began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Make a plain integer of the effort, which may be of any integer type."""
        self.effort = int(self.effort)

    @property
    def searches(self) -> bool:
        """Whether there is any search at all."""
        return self.effort > 0 or self.time_limit is not None

    def rounds(self) -> Iterator[int]:
        """Count rounds 0, 1, ... until the budget is spent."""
        most = self.effort if self.time_limit is None else self.at_most
        for r in itertools.count():
            if self.spent() or (most is not None and r >= most):
                return
            yield r

    def spent(self) -> bool:
        """Whether the time is over, or the user has had enough; raises KeyboardInterrupt where nothing can be kept."""
        return self.interrupt.check() or self.left() == 0

    def more(self, rounds: int) -> Budget:
        """That of another search: so many rounds, as far as the time that is left suffices for them."""
        limit = None if self.time_limit is None else self.left()
        return Budget(rounds, limit, self.interrupt, at_most=rounds)

    def half(self) -> Budget:
        """The same effort, or half of the time that is left: what follows is to have the other half."""
        limit = None if self.time_limit is None else self.left() / 2
        return Budget(self.effort, limit, self.interrupt)

    def left(self) -> float:
        """Seconds until the time is over; infinite without a limit."""
        if self.time_limit is None:
            return math.inf
        return max(0.0, self.time_limit - (time.perf_counter() - self._began))

    def run(self, search: Any, operators: tuple[str, ...], repeats: int = 1, patience: int = 1) -> int:
        """Apply the operators in turn, up to `repeats` times over, while there is time.

        It also ends when they found nothing `patience` times running. Returns how many of them found something.
        """
        total = 0
        fruitless = 0
        for _ in range(repeats):
            found = 0
            for operator in operators:
                if self.spent():
                    return total + found
                found += search.step(operator)
            total += found
            fruitless = 0 if found else fruitless + 1
            if fruitless == patience:
                break
        return total
