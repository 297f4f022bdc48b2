"""After Ctrl-C a search returns its best solution or raises; the end of the main thread does no harm."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from strategies import noisy_grid

from diffcomb import amwc, make_problem, multicut
from diffcomb._interrupt import Interrupt
from diffcomb.solvers.level import Level
from diffcomb.solvers.search import Search

multilevel_module = sys.modules["diffcomb.solvers.multilevel"]  # the package has a function of that name

PROBLEM = noisy_grid((10, 10))


@pytest.fixture
def ctrl_c_in_step(monkeypatch):
    """A function that presses Ctrl-C in the given steps of a search, and returns the list of all steps."""

    def press(*numbers):
        steps = []

        def step(self, operator):
            steps.append(operator)
            if len(steps) in numbers:
                signal.raise_signal(signal.SIGINT)
            return original(self, operator)

        original = Search.step
        monkeypatch.setattr(Search, "step", step)
        return steps

    return press


def test_ctrl_c_with_a_time_limit_returns_the_best_solution(ctrl_c_in_step):
    graph, *costs = PROBLEM
    steps = ctrl_c_in_step(2)
    with pytest.warns(RuntimeWarning, match="search interrupted"):
        s = amwc(graph, *costs, time_limit=60)
    assert make_problem(graph, *costs).violations(s.node_labels, s.edge_labels, s.clusters) == []
    assert s.objective <= amwc(graph, *costs, effort=0).objective
    assert len(steps) == 2


def test_ctrl_c_without_a_time_limit_raises_and_restores_the_handler(ctrl_c_in_step):
    ctrl_c_in_step(2)
    with pytest.raises(KeyboardInterrupt):
        amwc(*PROBLEM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_raises(monkeypatch):
    def chains(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Level, "chains", chains)
    with pytest.raises(KeyboardInterrupt):
        amwc(*PROBLEM, time_limit=60)


def test_ctrl_c_before_the_first_labelling_raises_unless_there_is_an_init(monkeypatch):
    graph, *costs = PROBLEM
    start = amwc(graph, *costs)
    original = multilevel_module.finest_level

    def finest_level(problem):
        signal.raise_signal(signal.SIGINT)
        return original(problem)

    monkeypatch.setattr(multilevel_module, "finest_level", finest_level)
    with pytest.raises(KeyboardInterrupt):
        amwc(graph, *costs, time_limit=60)
    with pytest.warns(RuntimeWarning, match="search interrupted"):
        assert amwc(graph, *costs, init=start, time_limit=60).objective <= start.objective


def test_ctrl_c_in_a_batch_returns_the_best_solution_of_every_instance(ctrl_c_in_step):
    graph, nodes, edges, P = PROBLEM
    ctrl_c_in_step(3)
    with pytest.warns(RuntimeWarning, match="search interrupted"):
        s = amwc(graph, np.stack([nodes] * 5), np.stack([edges] * 5), P, time_limit=20)
    assert s.objective.shape == (5,)
    assert s.objective.max() <= amwc(graph, nodes, edges, P, effort=0).objective


def test_signal_handler_of_the_user_is_kept():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with Interrupt(True) as interrupt:
            signal.raise_signal(signal.SIGINT)
        assert seen == [1]
        assert not interrupt.check()
    finally:
        signal.signal(signal.SIGINT, before)


CTRL_C = """
import collections, os, signal, sys, threading, time, warnings
import numpy as np
from diffcomb import grid_graph, multicut
warnings.simplefilter("ignore")
rng = np.random.default_rng(int(sys.argv[1]))
graph = grid_graph((40, 40), [(0, 1), (1, 0), (0, 3), (3, 0)])
costs = rng.normal(size=graph.num_edges)
multicut(graph, costs, effort=1)
seen = collections.Counter()
for options in (dict(time_limit=20.0), dict(effort=1000)):
    for several in (False, True):
        for _ in range(8):
            timer = threading.Timer(0.1 * rng.random(), os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                multicut(graph, np.stack([costs] * 3) if several else costs, **options)
                seen[next(iter(options)), "returned"] += 1
            except BaseException as error:
                seen[next(iter(options)), type(error).__name__] += 1
            timer.join()
assert seen["effort", "KeyboardInterrupt"] == 16, seen
assert seen["time_limit", "returned"] + seen["time_limit", "KeyboardInterrupt"] == 16, seen
assert seen["time_limit", "returned"] >= 12, seen
"""


def test_ctrl_c_at_any_moment_returns_or_raises_keyboard_interrupt():
    subprocess.run([sys.executable, "-c", CTRL_C, "0"], check=True, timeout=300)


@pytest.mark.parametrize("how", ["threading.Thread(target=work).start()", "atexit.register(work)"])
def test_batch_is_solved_after_the_main_thread_has_ended(how):
    code = f"""
import atexit, threading, time, numpy as np
from diffcomb import multicut, set_num_threads
set_num_threads(2)
def work():
    threading.main_thread().join() if "Thread(" in {how!r} else None
    print(multicut([(0, 1), (1, 2)], np.array([[1.0, -1.0], [2.0, 3.0]])).objective)
{how}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[-1.  0.]", done.stderr


def test_no_signal_handler_is_touched_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(multicut([(0, 1)], np.ones(1), time_limit=0.1).objective))
    thread.start()
    thread.join()
    assert found == [0.0]


def test_ctrl_c_is_not_lost_if_the_call_also_fails(monkeypatch):
    def fails(problem):
        signal.raise_signal(signal.SIGINT)
        raise ValueError("something else")

    monkeypatch.setattr(multilevel_module, "finest_level", fails)
    with pytest.raises(KeyboardInterrupt):
        amwc(*PROBLEM)
