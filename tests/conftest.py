"""Shared set-up: hypothesis draws the same examples in every run, and tests whose optional data are absent say so."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from diffcomb.solvers.limits import changed

settings.register_profile(
    "suite", derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("first failure", settings.get_profile("suite"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("suite")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs, and in all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root():
    """Folder of public sample data, from the environment variable DIFFCOMB_DATA."""
    value = os.environ.get("DIFFCOMB_DATA")
    if not value:
        pytest.skip("DIFFCOMB_DATA is not set: tests on public sample data do not run (the suite is complete without)")
    if not Path(value).is_dir():
        pytest.fail(f"DIFFCOMB_DATA={value} is not a folder")
    return Path(value)


@pytest.fixture
def limits():
    """A function that changes limits of the solvers until the test ends: small instances then take the ways of large ones."""
    with ExitStack() as stack:
        yield lambda **values: stack.enter_context(changed(**values))


@pytest.fixture(scope="session", autouse=True)
def short_searches_in_plain_python():
    """Without compilation a proposal takes a thousand times as long: a few show as much."""
    with ExitStack() as stack:
        if os.environ.get("NUMBA_DISABLE_JIT"):
            stack.enter_context(changed(max_proposals=4, population=2, generations=4, max_descents=2))
        yield
