"""Solves run in several threads or processes only on request, with the same results and with errors that say where."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import solvers_to_pickle
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    IMLE,
    Adaptive,
    Blackbox,
    CentralDifference,
    Contrastive,
    FenchelYoung,
    PerturbedOptimizer,
    amwc,
    diagnose,
    gradcheck,
    set_num_threads,
    solver_loss,
)
from diffcomb import perturbed_grad as pg
from diffcomb._threads import thread_map


@pytest.fixture(autouse=True)
def two_threads():
    set_num_threads(2)
    yield
    set_num_threads(None)


class Model:
    """A solver with state (set costs, optimise, read the solution), correct only in one thread at a time."""

    def __init__(self):
        self.threads = set()
        self.x = np.zeros(0)

    def solve(self, costs):
        self.costs = costs
        self.threads.add(threading.get_ident())
        time.sleep(0.0005)
        if self.x.shape != self.costs.shape:
            self.x = np.zeros(self.costs.shape)
        self.x[:] = 0
        self.x[self.costs.argmin()] = 1
        return self.x  # memory that the next solve overwrites


ESTIMATORS = [Blackbox((0.1, 1.0, 10.0)), CentralDifference(2.0), IMLE(1.0, samples=3), PerturbedOptimizer(0.5, 4)]


@pytest.mark.nojit
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_solver_with_state_is_called_from_the_calling_thread_only(estimator):
    c, g = costs_and_gradient(0, (8, 5), (8, 5))
    model = Model()
    found, expected = (
        cost_gradient(pg(f, estimator=estimator, cost_ndims=1, generator=torch.Generator().manual_seed(0)), [c], [g])
        for f in (model.solve, argmin_one_hot)
    )
    assert torch.equal(found[0], expected[0])
    assert model.threads == {threading.get_ident()}


def test_losses_gradcheck_and_diagnose_call_a_solver_from_the_calling_thread_only():
    c, true = costs_and_gradient(0, (8, 5), (8, 5))
    model = Model()
    for loss in (FenchelYoung(), Contrastive()):
        solver_loss(model.solve, loss, cost_ndims=1)(c, true_costs=true)
    gradcheck(pg(model.solve, cost_ndims=1), c[:2], estimator=Blackbox((0.1, 1.0)))
    diagnose(pg(model.solve, cost_ndims=1), c, grads=true, scales=[0.1, 1.0], verbose=False)
    assert model.threads == {threading.get_ident()}


def test_two_threads_that_use_one_wrapper_take_turns():
    model = Model()
    f = pg(model.solve, cost_ndims=1)
    batches = costs_and_gradient(0, *[(20, 5)] * 4)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(f, batches))
    for c, w in zip(batches, found, strict=True):
        assert torch.equal(w, torch.eye(5, dtype=c.dtype)[c.argmin(1)])
    assert len(model.threads) > 1


@pytest.mark.nojit
def test_threads_are_used_on_request_and_by_own_solvers():
    barrier = threading.Barrier(2)

    def solver(c):
        barrier.wait(timeout=30)  # passes only if two threads wait here at once
        return argmin_one_hot(c)

    assert pg(solver, cost_ndims=1, parallel="threads")(torch.rand(2, 3)).shape == (2, 3)
    assert pg(amwc).options.solver.parallel == "threads"
    assert pg(amwc, parallel=None).options.solver.parallel is None


@pytest.mark.nojit
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_processes_and_executors_give_the_same_gradient(estimator):
    c, g = costs_and_gradient(0, (6, 5), (6, 5))
    shift = np.random.default_rng(0).normal(size=(6, 5))

    def gradient(parallel):
        f = pg(
            solvers_to_pickle.plain, estimator=estimator, cost_ndims=1, per_instance=["shift"], parallel=parallel,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        return cost_gradient(f, [c], [g], shift=shift)[0]

    expected = gradient(None)
    assert expected.any()
    with ThreadPoolExecutor(2) as threads:
        for parallel in ("threads", "processes", threads):
            assert torch.equal(gradient(parallel), expected)


@pytest.mark.nojit
def test_worker_processes_return_results_in_order():
    f = pg(solvers_to_pickle.plain, cost_ndims=1, parallel="processes")
    c = torch.rand(200, 4)
    w, pids, _ = f(c)
    assert torch.equal(w, torch.eye(4)[c.argmin(1)])
    assert os.getpid() not in pids
    assert len(set(pids)) <= 2


def test_executor_of_the_user_is_used():
    context = multiprocessing.get_context("forkserver")  # forking a process with threads is unsafe
    with ProcessPoolExecutor(1, context) as processes:
        _, pids, _ = pg(solvers_to_pickle.plain, cost_ndims=1, parallel=processes)(torch.rand(3, 4))
    assert len(set(pids)) == 1
    assert os.getpid() not in pids


def test_torch_solver_runs_in_processes():
    f = pg(solvers_to_pickle.written_in_torch, cost_ndims=1, parallel="processes")
    assert torch.equal(f(torch.eye(3)), torch.eye(3)[[1, 0, 0]])


def test_decorated_solver_runs_in_processes():
    c, g = costs_and_gradient(0, (4, 5), (4, 5))
    (found,) = cost_gradient(solvers_to_pickle.decorated_in_processes, [c], [g])
    (expected,) = cost_gradient(pg(argmin_one_hot, estimator=Blackbox((0.5, 3.0)), cost_ndims=1), [c], [g])
    assert torch.equal(found, expected)


@pytest.mark.nojit
@pytest.mark.parametrize("parallel", [None, "threads", "processes"])
def test_solver_error_names_its_instance(parallel):
    f = pg(solvers_to_pickle.fails, estimator=Blackbox(0.05), cost_ndims=1, parallel=parallel)
    c = torch.rand(5, 3)
    c[3, 0] = 11
    with pytest.raises(OSError, match="no licence") as caught:
        f(c)
    notes = "\n".join(caught.value.__notes__)
    assert "instance 3 of 5, at the costs given" in notes
    assert "shape (3,)" in notes
    leaf = torch.rand(5, 3).requires_grad_()
    with pytest.raises(OSError, match="no licence") as caught:
        f(leaf).backward(torch.tensor([[0.0, 0, 0]] * 2 + [[1e3, 0, 0]] + [[0.0, 0, 0]] * 2))
    assert "instance 2 of 5, at perturbed costs" in "\n".join(caught.value.__notes__)


@pytest.mark.nojit
def test_error_that_cannot_be_pickled_arrives_as_text():
    with pytest.raises(RuntimeError, match="Unpicklable: this and that"):
        pg(solvers_to_pickle.fails, cost_ndims=1, parallel="processes")(torch.full((2, 3), 101.0))


@pytest.mark.nojit
def test_solves_waiting_behind_an_error_are_cancelled():
    class Slow(ThreadPoolExecutor):
        def submit(self, *args):
            self.futures = [*getattr(self, "futures", []), super().submit(*args)]
            return self.futures[-1]

    def fails(c):
        time.sleep(0.02)
        raise OSError("no licence")

    with Slow(1) as pool:
        with pytest.raises(OSError, match="no licence"):
            pg(fails, cost_ndims=1, parallel=pool)(torch.rand(20, 3))
        assert sum(f.cancelled() for f in pool.futures) >= 17


@pytest.mark.nojit
def test_solver_that_cannot_be_pickled_is_refused_for_processes():
    with pytest.raises(TypeError, match=r"<lambda> cannot be sent to another process.*at the top level of a module"):
        pg(lambda c: c, cost_ndims=1, parallel="processes")(torch.rand(2, 3))
    with pytest.raises(TypeError, match="keyword data of plain cannot be sent"):
        pg(solvers_to_pickle.plain, cost_ndims=1, parallel="processes")(torch.rand(2, 3), shift=lambda: 0)


def test_dead_worker_process_is_an_error_and_the_next_call_works():
    with pytest.raises(RuntimeError) as caught:
        pg(solvers_to_pickle.dies, cost_ndims=1, parallel="processes")(torch.rand(2, 3))
    assert "a worker process ended" in "\n".join(caught.value.__notes__)
    assert pg(solvers_to_pickle.fails, cost_ndims=1, parallel="processes")(torch.rand(2, 3)).shape == (2, 3)


def test_script_without_a_main_guard_finishes(tmp_path):
    """Workers import the main module; solves at its top level must not start further workers."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, torch\nfrom diffcomb import perturbed_grad, set_num_threads\nset_num_threads(2)\n"
        "def solve(c):\n    return np.eye(len(c), dtype=c.dtype)[c.argmin()]\n"
        "f = perturbed_grad(solve, cost_ndims=1, parallel='processes')\n"
        "c = torch.rand(6, 4)\nassert torch.equal(f(c), torch.eye(4)[c.argmin(1)])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.nojit
def test_wrong_values_of_parallel_are_refused():
    for bad in ("process", 3, True):
        with pytest.raises(ValueError, match="parallel must be 'auto', None"):
            pg(argmin_one_hot, parallel=bad)
    with pytest.raises(ValueError, match="a vectorized solver gets all instances in one call"):
        pg(argmin_one_hot, cost_ndims=1, vectorized=True, parallel="threads")


class TestPickles:
    def check(self, f):
        c, g = costs_and_gradient(0, (4, 5), (4, 5))
        for again in (pickle.loads(pickle.dumps(f)), copy.copy(f), copy.deepcopy(f)):
            assert repr(again) == repr(f)
            if not hasattr(f, "loss"):
                assert torch.equal(cost_gradient(again, [c], [g])[0], cost_gradient(f, [c], [g])[0])
            else:
                assert again(c, true_costs=g) == f(c, true_costs=g)

    def test_decorated_solvers_can_be_copied_and_pickled(self):
        self.check(solvers_to_pickle.decorated)
        self.check(solvers_to_pickle.Group.nested)

    def test_method_calls_the_solver_of_its_object_behind_a_pickle(self):
        model = solvers_to_pickle.Model(np.array([9.0, 0.0, 0.0]))
        call = model.solve.options.solver.call
        again = pickle.loads(pickle.dumps(call))
        costs = np.array([0.0, 0.1, 0.2])
        for solver in (call, again):  # the solver itself, and not its wrapper, which would give a mean of noisy solves
            assert solver((costs.copy(),), {}).tolist() == [0.0, 1.0, 0.0]

    def test_loss_with_the_name_of_its_solver_can_be_pickled(self):
        self.check(solvers_to_pickle.margin_solver)

    def test_changed_settings_survive_pickling(self):
        f = copy.copy(solvers_to_pickle.decorated)
        f.estimator = Blackbox(Adaptive(initial=0.25))
        assert "alpha=0.25" in repr(pickle.loads(pickle.dumps(f)))

    def test_network_with_a_solver_can_be_saved_and_loaded(self, tmp_path):
        class Net(torch.nn.Module):
            pass

        net = torch.nn.Sequential(torch.nn.Linear(3, 3))
        net.solve = solvers_to_pickle.decorated
        torch.save(net, tmp_path / "net.pt")
        again = torch.load(tmp_path / "net.pt", weights_only=False)
        x = torch.randn(4, 3)
        assert torch.equal(again.solve(again(x)), net.solve(net(x)))

    def test_other_function_of_the_same_name_cannot_be_pickled(self):
        def decorated(costs):
            return costs

        decorated.__module__, decorated.__qualname__ = "solvers_to_pickle", "decorated"
        with pytest.raises(pickle.PicklingError, match="not the same object"):
            pickle.dumps(pg(decorated))

    def test_executor_is_not_pickled(self):
        with ThreadPoolExecutor(1) as pool:
            f = pg(solvers_to_pickle.plain, parallel=pool)
            assert pickle.loads(pickle.dumps(f)).options.solver.parallel is None
            assert copy.deepcopy(f).options.solver.parallel is None

    def test_unpickling_fails_if_the_decorated_solver_is_gone(self, monkeypatch):
        data = pickle.dumps(solvers_to_pickle.decorated)
        monkeypatch.setattr(solvers_to_pickle, "decorated", None)
        with pytest.raises(pickle.UnpicklingError, match="no longer a decorated solver"):
            pickle.loads(data)


class TestGradientsThatAreNotFinite:
    """A gradient scaler looks for infinity and NaN in the gradients behind the solver, and skips such steps."""

    @pytest.mark.parametrize("estimator", [Blackbox(0.5), Blackbox(), *ESTIMATORS])
    def test_they_reach_the_costs_of_their_instance_only(self, estimator):
        c, g = costs_and_gradient(0, (4, 5), (4, 5))
        bad = g.clone()
        bad[1, 2], bad[3, 0], bad[3, 1] = -np.inf, np.inf, np.nan
        f = pg(argmin_one_hot, estimator=estimator, cost_ndims=1)
        (expected,) = cost_gradient(f.seeded(torch.Generator().manual_seed(0)), [c], [g])
        (found,) = cost_gradient(f.seeded(torch.Generator().manual_seed(0)), [c], [bad])
        assert torch.equal(found[[0, 2]], expected[[0, 2]])
        assert found[1].isinf().all()
        assert found[3].isnan().all()

    def test_no_solve_is_made_for_them(self):
        calls = []
        f = pg(lambda c: calls.append(1) or argmin_one_hot(c))
        c = torch.tensor([1.0, 2.0], requires_grad=True)
        (f(c) * np.nan).sum().backward()
        assert c.grad.isnan().all()
        assert len(calls) == 1

    def test_gradcheck_and_diagnose_refuse_them(self):
        c = torch.rand(4)
        with pytest.raises(ValueError, match="grads must be finite"):
            gradcheck(argmin_one_hot, c, grads=c * np.nan)
        with pytest.raises(ValueError, match="grads must be finite"):
            diagnose(argmin_one_hot, c, grads=c * np.inf)

    def test_gradient_scaler_skips_the_step_and_training_continues(self):
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 3)
        before = layer.weight.detach().clone()
        f = pg(argmin_one_hot, cost_ndims=1)
        optimizer, scaler = torch.optim.SGD(layer.parameters(), 0.01), torch.amp.GradScaler("cpu")
        scales = []
        for _ in range(12):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = (f(layer(torch.randn(8, 4))) * torch.tensor([0.0, 3.0, 0.0]).half()).sum()
            scaler.scale(loss.float()).backward()
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
            if len(scales) == 1:
                assert torch.equal(layer.weight, before)
        assert scales[0] == 2**15
        assert layer.weight.isfinite().all()
        assert not torch.equal(layer.weight, before)


class TestMethods:
    def test_all_accesses_share_the_lock_and_the_executor_of_the_wrapper(self):
        model, wrapper = solvers_to_pickle.Model(0.0), solvers_to_pickle.Model.solve
        assert model.solve.options.solver.lock is model.solve.options.solver.lock is wrapper.options.solver.lock
        with ThreadPoolExecutor(1) as pool:

            class Other:
                @pg(parallel=pool)
                def solve(self, costs):
                    return argmin_one_hot(costs)

            assert Other().solve.options.solver.parallel is pool

    def test_method_that_takes_tensors_gets_them(self):
        assert solvers_to_pickle.Model(0.0).solve_in_torch(torch.tensor([1.0, 0.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("start", ["warm", "best"])
def test_solver_may_improve_its_warm_start_in_place(start):
    def local_search(costs, *, init=None):
        w = np.eye(len(costs))[0] if init is None else init[0]
        w[:] = 0
        w[costs.argmin()] = 1
        return w

    c, g = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    (found,) = cost_gradient(pg(local_search, estimator=Blackbox(4.0, start=start)), [c], [g])
    assert found.tolist() == [-0.25, 0.25, 0.0]


def test_threads_are_kept_when_their_number_changes_and_comes_back():
    names = set()

    def work(_):
        names.add(threading.current_thread())
        barrier.wait(10)

    for number in (2, 1, 2):
        set_num_threads(number)
        barrier = threading.Barrier(number)
        thread_map(work, range(number))
    assert len(names) == 2  # the caller and one other
