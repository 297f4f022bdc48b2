"""Block-wise runs that are interrupted, killed or fed bad blocks: resumed to the last bit, and never done twice."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr
from solvers_to_pickle import (
    cuts_more_when_asked_to,
    dies_on_odd_blocks,
    raises_on_odd_blocks,
    raises_on_odd_blocks_while_asked_to,
    raises_on_starts,
    sleeps_on_odd_blocks,
)

from diffcomb import grid_graph
from diffcomb._lock import locked
from diffcomb.blockwise import BlockwiseError, solve_blockwise
from diffcomb.blockwise import store as stores
from diffcomb.blockwise.runner import executor_of

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0))
SHAPE = (64, 56)  # with blocks of 16 x 16, those at the right are of odd size: 16 x 8
RUN = dict(offsets=OFFSETS, values="costs", block_shape=(16, 16), halo=(0, 0), progress=False)
HERE = Path(__file__).parent


def costs(seed=0):
    return np.random.default_rng(seed).normal(0.1, 1, (len(OFFSETS), *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def reference():
    return solve_blockwise(costs(), **RUN)


def same(found, reference):
    assert found.objective == reference.objective
    assert np.array_equal(found.clusters[...], reference.clusters)


def finished(folder):
    return len(list(Path(folder).rglob("*.npz")))


def test_finished_run_is_not_computed_again(tmp_path, reference):
    first = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    again = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    assert first.computed == finished(tmp_path) > 60
    assert again.computed == 0
    same(first, reference)
    same(again, reference)
    assert isinstance(first.clusters, zarr.Array)


def test_missing_and_damaged_results_alone_are_computed_again(tmp_path, reference):
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    files = sorted(tmp_path.rglob("*.npz"))
    for path in files[::7]:
        path.unlink()
    for path in files[1::7]:
        path.write_bytes(path.read_bytes()[:10])
    again = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    assert again.computed == len(files[::7]) + len(files[1::7])
    same(again, reference)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(halo=(2, 2)), r"halo: \[0, 0\] there, \[2, 2\] now"),
        (dict(seed=1), "seed: 0 there, 1 now"),
        (dict(solver=dict(effort=0)), "effort: null there, 0 now"),
        (dict(polish=False), "polish: true there"),
        (dict(offsets=((0, 1), (1, 0), (0, 3), (2, 0))), "offsets"),
        (dict(problem=costs(1)), "affinities"),
    ],
)
def test_other_options_or_inputs_refuse_to_resume(tmp_path, change, message):
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    before = finished(tmp_path)
    with pytest.raises(ValueError, match=message):
        solve_blockwise(**{"problem": costs(), "store": tmp_path / "run", **RUN, **change})
    assert finished(tmp_path) == before


def test_store_that_is_no_run_or_may_not_be_resumed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another folder"):
        solve_blockwise(costs(), store=tmp_path, **RUN)
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    with pytest.raises(FileExistsError, match="resume=True"):
        solve_blockwise(costs(), store=tmp_path / "run", resume=False, **RUN)


def test_store_is_for_one_run_at_a_time(tmp_path, reference):
    run = dict(RUN, store=tmp_path / "run")
    with locked(tmp_path / "run", "uses the store"), pytest.raises(ValueError, match="another process uses the store"):
        solve_blockwise(costs(), **run)
    same(solve_blockwise(costs(), **run), reference)


def test_executor_does_not_change_a_bit(tmp_path, reference):
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for name, client in (("threads", threads), ("processes", processes)):
            same(solve_blockwise(costs(), client=client, store=tmp_path / name, **RUN), reference)


def test_volumes_on_disk_give_the_solution_of_those_in_memory(tmp_path):
    import dask.array
    import h5py

    zarr.create_array(tmp_path / "costs.zarr", data=costs(), chunks=(4, 32, 32))
    with h5py.File(tmp_path / "costs.h5", "w") as file:
        file["costs"] = costs()
    np.save(tmp_path / "costs.npy", costs())
    first = dict(RUN, polish=False)
    reference = solve_blockwise(costs(), **first)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for name in ("costs.zarr", "costs.h5:costs", "costs.npy"):
            same(solve_blockwise(tmp_path / name, client=processes, **first), reference)
        same(solve_blockwise(dask.array.from_array(costs(), chunks=(2, 40, 40)), client=processes, **first), reference)


def test_changed_volume_on_disk_refuses_to_resume(tmp_path):
    array = zarr.create_array(tmp_path / "costs.zarr", data=costs(), chunks=(4, 32, 32))
    solve_blockwise(array, store=tmp_path / "run", **RUN)
    array[0, 5, 5] = 3
    with pytest.raises(ValueError, match="affinities"):
        solve_blockwise(array, store=tmp_path / "run", **RUN)


@pytest.mark.parametrize("name", ["clusters1", "clusters0", "pieces0"])
def test_lost_array_is_written_again(tmp_path, reference, name):
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    (folder,) = (tmp_path / "run").glob(f"{name}-*.zarr")
    chunk = next(p for p in folder.rglob("1") if p.is_file())
    chunk.unlink()
    same(solve_blockwise(costs(), store=tmp_path / "run", **RUN), reference)
    shutil.rmtree(folder)
    same(solve_blockwise(costs(), store=tmp_path / "run", **RUN), reference)


@pytest.mark.parametrize("name", ["classes1", "clusters1", "clusters0", "pieces0"])
@pytest.mark.parametrize("damage", ["empty chunk", "no metadata", "empty metadata"])
def test_damaged_array_is_written_again(tmp_path, reference, name, damage):
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    (folder,) = (tmp_path / "run").glob(f"{name}-*.zarr")
    if damage == "empty chunk":
        for chunk in folder.rglob("c/*/*"):
            chunk.write_bytes(b"")
    elif damage == "no metadata":
        (folder / "zarr.json").unlink()
    else:
        (folder / "zarr.json").write_bytes(b"")
    same(solve_blockwise(costs(), store=tmp_path / "run", **RUN), reference)


def test_bytes_that_changed_name_the_folder_to_delete(tmp_path, reference):
    """No size tells of them; whoever reads them says what to do."""
    run = tmp_path / "run"
    solve_blockwise(costs(), store=run, **RUN)
    (folder,) = run.glob("pieces0-*.zarr")
    for chunk in folder.rglob("c/*/*"):
        chunk.write_bytes(b"x" * chunk.stat().st_size)
    for results in (run / "border0").glob("*.npz"):
        results.unlink()
    with pytest.raises(BlockwiseError, match=r"pieces0-.* is damaged .* delete that folder"):
        solve_blockwise(costs(), store=run, retries=0, **RUN)
    shutil.rmtree(folder)
    same(solve_blockwise(costs(), store=run, **RUN), reference)


def test_inputs_that_nothing_tells_apart_need_a_key(tmp_path):
    import dask.array

    lazy = dask.array.from_array(costs(), chunks=(2, 40, 40))
    with pytest.raises(ValueError, match="pass key="):
        solve_blockwise(lazy, store=tmp_path / "run", **RUN)
    solve_blockwise(lazy, store=tmp_path / "run", key="first", **RUN)
    assert solve_blockwise(lazy, store=tmp_path / "run", key="first", **RUN).computed == 0
    with pytest.raises(ValueError, match="affinities"):
        solve_blockwise(lazy, store=tmp_path / "run", key="second", **RUN)


def test_another_dataset_of_a_file_is_another_input(tmp_path):
    import h5py

    with h5py.File(tmp_path / "costs.h5", "w") as file:
        file["a"], file["b"] = costs(), costs(1)
    solve_blockwise(f"{tmp_path}/costs.h5:a", store=tmp_path / "run", **RUN)
    with pytest.raises(ValueError, match="affinities"):
        solve_blockwise(f"{tmp_path}/costs.h5:b", store=tmp_path / "run", **RUN)


def test_zarr_array_of_a_relative_path_is_found_by_workers_in_another_folder(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    zarr.create_array("costs.zarr", data=costs(), chunks=(4, 32, 32))
    (tmp_path / "sub").mkdir()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=os.chdir, initargs=("sub",)) as pool:
        same(solve_blockwise(zarr.open_array("costs.zarr", mode="r"), client=pool, **RUN), reference)


def test_tries_that_hang_in_all_workers_are_an_error():
    with ThreadPoolExecutor(2) as pool, pytest.raises(BlockwiseError, match="all workers hang"):
        solve_blockwise(costs(), solver=sleeps_on_odd_blocks, timeout=0.5, on_failure="cut", client=pool, **RUN)


def test_try_that_ended_too_late_changes_nothing(tmp_path):
    run = stores.Store(tmp_path / "run", {}, resume=True)
    first = run.begin("solve0", "0_0")
    run.forget("solve0", "0_0")
    second = run.begin("solve0", "0_0")
    second.save("solve0", "0_0", count=2)
    assert not first.is_wanted("solve0", "0_0")
    first.save("solve0", "0_0", count=1)
    assert run.load("solve0", "0_0", ["count"])[0] == 2


def test_block_that_raises_is_tried_again_and_named():
    with pytest.raises(BlockwiseError, match=r"block 0_3 \(solve0\) failed after 3 tries: RuntimeError: odd"):
        solve_blockwise(costs()[:, :16], solver=raises_on_odd_blocks, retries=2, **RUN)


def test_failed_blocks_stay_unsolved_where_they_may():
    found = solve_blockwise(costs(), solver=raises_on_odd_blocks, retries=0, on_failure="cut", **RUN)
    assert [(f.stage, f.block, f.tries) for f in found.failed if f.stage == "solve0"] == [
        ("solve0", f"{i}_3", 1) for i in range(4)
    ]
    assert (found.clusters[:, 48:] == -1).all()
    assert (found.clusters[:, :48] >= 0).all()
    left = solve_blockwise(costs()[:, :, :48], solver=raises_on_odd_blocks, **RUN)
    assert found.objective == pytest.approx(left.objective, rel=0.01)


@pytest.mark.parametrize("polish", [False, True])
def test_value_between_blocks_that_cannot_be_used_fails_its_block_alone(tmp_path, polish):
    """Without a halo no block reads the edges that lead out of it, so that they are found out last."""
    bad = costs()
    bad[2, 10, 15] = np.nan  # leads three cells to the right, into the next block
    bad[3, 61, 20] = np.nan  # leads out of the volume, so that nobody reads it
    bad[0, 20, 31] = np.inf
    run = dict(RUN, retries=0, on_failure="cut", polish=polish)
    with pytest.raises(BlockwiseError, match=r"block 0_0 \(border0\) failed .*on_failure='cut'"):
        solve_blockwise(bad, **{**run, "on_failure": "raise"})
    found = solve_blockwise(bad, store=tmp_path / "run", **run)
    assert sorted((f.stage, f.block) for f in found.failed) == [("border0", "0_0"), ("border0", "1_1")]
    z = found.clusters[...]
    unsolved = np.zeros(SHAPE, bool)
    unsolved[:16, :16] = unsolved[16:32, 16:32] = True
    assert ((z == -1) == unsolved).all()
    graph = grid_graph(SHAPE, OFFSETS)
    u, v = graph.edges.T
    z = z.ravel()
    counts = (z[u] >= 0) & (z[v] >= 0)
    edge_costs = np.asarray(graph.edge_values(bad), np.float64)
    assert found.objective == pytest.approx(edge_costs[counts & (z[u] != z[v])].sum(), rel=1e-6)
    again = solve_blockwise(bad, store=tmp_path / "run", **run)
    assert sorted(f.block for f in again.failed) == ["0_0", "1_1"]
    assert again.objective == found.objective


def test_blocks_that_failed_are_solved_when_the_run_is_resumed(tmp_path, monkeypatch):
    run = dict(solver=raises_on_odd_blocks_while_asked_to, retries=0, on_failure="cut", store=tmp_path / "run", **RUN)
    monkeypatch.setenv("DIFFCOMB_TEST_RAISES", "1")
    cut = solve_blockwise(costs(), **run)
    monkeypatch.delenv("DIFFCOMB_TEST_RAISES")
    whole = solve_blockwise(costs(), **run)
    monkeypatch.setenv("DIFFCOMB_TEST_RAISES", "1")
    again = solve_blockwise(costs(), **run)
    assert cut.failed
    assert not whole.failed
    assert (whole.clusters[...] >= 0).all()
    fresh = solve_blockwise(costs(), solver=raises_on_odd_blocks_while_asked_to, retries=0, on_failure="cut", **RUN)
    assert fresh.objective == cut.objective
    assert again.computed == 0
    same(again, solve_blockwise(costs(), **{**run, "store": None, "solver": "multilevel"}))


@pytest.mark.parametrize("lost", ["solve0", "whole0", "move1"])
def test_later_stages_are_done_again_if_a_lost_one_finds_something_else(tmp_path, monkeypatch, lost):
    run = dict(solver=cuts_more_when_asked_to, store=tmp_path / "run", **RUN)
    solve_blockwise(costs(), **run)
    for path in (tmp_path / "run" / lost).glob("*.npz"):
        path.unlink()
    monkeypatch.setenv("DIFFCOMB_TEST_CUTS", "1")
    again = solve_blockwise(costs(), **run)
    z = again.clusters[...].ravel()
    graph = grid_graph(SHAPE, OFFSETS)
    u, v = graph.edges.T
    assert again.num_clusters == len(np.unique(z))
    assert again.objective == pytest.approx(graph.edge_values(costs())[z[u] != z[v]].sum(dtype=np.float64), rel=1e-6)


def test_polish_that_fails_everywhere_leaves_the_solution_of_blocks():
    found = solve_blockwise(costs(), solver=raises_on_starts, retries=0, on_failure="cut", **RUN)
    assert {f.stage for f in found.failed} == {"move1"}
    assert (found.clusters >= 0).all()
    assert found.objective <= solve_blockwise(costs(), polish=False, **RUN).objective + 1e-6


def test_block_that_hangs_is_named():
    with ThreadPoolExecutor(8) as pool:
        found = solve_blockwise(
            costs(), solver=sleeps_on_odd_blocks, retries=0, timeout=1, on_failure="cut", client=pool, **RUN
        )
    hung = {f.block for f in found.failed if "ran for more than 1 seconds" in f.error}
    assert hung == {f"{i}_3" for i in range(4)}


def test_worker_that_dies_breaks_a_pool_and_the_rest_is_kept(tmp_path):
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        pytest.raises(BlockwiseError, match="executor broke"),
    ):
        solve_blockwise(costs(), solver=dies_on_odd_blocks, client=pool, store=tmp_path / "run", **RUN)
    assert finished(tmp_path) > 0


def test_full_disk_is_named_and_leaves_no_halves(tmp_path, monkeypatch, reference):
    save, calls = np.savez, []

    def fills_up(file, *arguments, **arrays):
        calls.append(file)
        if len(calls) > 20:
            file.write(b"half a result")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, *arguments, **arrays)

    monkeypatch.setattr(stores.np, "savez", fills_up)
    with pytest.raises(BlockwiseError, match="No space left on device"):
        solve_blockwise(costs(), store=tmp_path / "run", retries=1, **RUN)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    done = finished(tmp_path)
    assert done == 20
    again = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    assert again.computed + done == finished(tmp_path)
    same(again, reference)


CLIENT = """
import sys
sys.path.insert(0, {here!r})
from test_blockwise_failures import RUN, costs
from diffcomb.blockwise import solve_blockwise
solve_blockwise(costs(), store={store!r}, **RUN)
"""


def test_client_killed_at_random_moments_resumes_to_the_last_bit(tmp_path, reference):
    rng = np.random.default_rng(0)
    script = CLIENT.format(here=str(HERE), store=str(tmp_path / "run"))
    kills = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script])
        begin = finished(tmp_path)
        while process.poll() is None and finished(tmp_path) < begin + 10:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    done = finished(tmp_path)
    found = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    assert found.computed + done == reference.computed
    same(found, reference)


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as local:
        yield local


def pids(client):
    return list(client.run(os.getpid).values())


@pytest.mark.filterwarnings("default")
def test_dask_workers_killed_at_random_moments_do_not_change_a_bit(tmp_path, cluster, reference):
    rng = np.random.default_rng(1)
    with cluster.get_client() as client:
        stop = threading.Event()
        kills = []

        def kill():
            while not stop.wait(rng.uniform(0.5, 1.0)) and len(kills) < 3:
                workers = pids(client)
                if workers:
                    os.kill(workers[int(rng.integers(len(workers)))], signal.SIGKILL)
                    kills.append(1)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            found = solve_blockwise(costs(), client=client, store=tmp_path / "run", retries=5, **RUN)
        finally:
            stop.set()
            thread.join()
    assert kills
    assert not found.failed
    same(found, reference)


def test_client_that_does_not_know_yet_that_its_scheduler_died_counts_as_one_worker():
    class Client:
        status = "running"

        def get_executor(self, pure):
            return None

        def nthreads(self):
            raise distributed.comm.CommClosedError("connection reset by peer")

    distributed = pytest.importorskip("distributed")
    with executor_of(Client(), None) as (_, width, _):
        assert width() == 1


@pytest.mark.filterwarnings("default")
def test_dask_scheduler_killed_raises_and_a_new_one_resumes(tmp_path, cluster, reference):
    distributed = pytest.importorskip("distributed")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen([*command, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1"]
    workers = subprocess.Popen([*worker, "--no-dashboard", "--death-timeout", "20"], stderr=subprocess.DEVNULL)
    try:
        with distributed.Client(scheduler_file=str(file), timeout=30) as client:
            client.wait_for_workers(1, timeout=60)

            def kill():
                while finished(tmp_path) < 10:
                    time.sleep(0.02)
                scheduler.kill()

            thread = threading.Thread(target=kill)
            thread.start()
            with pytest.raises(BlockwiseError, match=r"scheduler|executor broke"):
                solve_blockwise(costs(), client=client, store=tmp_path / "run", retries=0, **RUN)
            thread.join()
    finally:
        for process in (scheduler, workers):
            process.kill()
            process.wait()
    time.sleep(1)  # what the worker was writing
    done = finished(tmp_path)
    assert done >= 10
    with cluster.get_client() as client:
        found = solve_blockwise(costs(), client=client, store=tmp_path / "run", **RUN)
    assert found.computed + done == reference.computed
    same(found, reference)
