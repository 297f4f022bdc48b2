"""Block-wise runs on odd input and damaged stores: what changed is seen, what is no longer whole is computed again."""

import numpy as np
import pytest
import torch
from test_blockwise_failures import RUN, costs, same

from diffcomb import grid_graph, multicut, solve_many
from diffcomb.blockwise import parts, solve_blockwise
from diffcomb.blockwise.parts import Fixed, SolverOptions, moved
from diffcomb.blockwise.store import RUN as RUN_FILE
from diffcomb.blockwise.store import remove
from diffcomb.problem import make_problem


def test_what_hdf5_has_not_yet_written_counts_as_changed(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["costs"] = costs()
        file.flush()
        solve_blockwise(file["costs"], store=tmp_path / "run", **RUN)
        file["costs"][0] = 0.5
        with pytest.raises(ValueError, match="holds a run that differs"):
            solve_blockwise(file["costs"], store=tmp_path / "run", **RUN)


def test_changed_bytes_of_the_result_are_found_when_it_is_read(tmp_path):
    first = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    path = next(path for path in (tmp_path / "run").glob("clusters1-*/c/*/*") if path.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises((ValueError, RuntimeError)):
        _ = solve_blockwise(costs(), store=tmp_path / "run", **RUN).clusters[...]
    assert first.computed > 0


@pytest.mark.parametrize(("at", "bit"), [(10, 32), (8, 1)], ids=["compression", "encryption"])
def test_damaged_heads_of_task_files_are_computed_again(at, bit, tmp_path):
    reference = solve_blockwise(costs(), **RUN)
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    path = next((tmp_path / "run" / "solve0").glob("*.npz"))
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + at] ^= bit
    path.write_bytes(content)
    again = solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    same(again, reference)
    assert again.computed >= 1


def test_numbers_of_numpy_are_the_same_options(tmp_path):
    solve_blockwise(costs(), store=tmp_path / "run", levels=1, polish=True, solver={"effort": 1}, **RUN)
    numpy_options = dict(levels=np.int64(1), polish=np.bool_(True), solver={"effort": np.int64(1)})
    assert solve_blockwise(costs(), store=tmp_path / "run", **numpy_options, **RUN).computed == 0
    assert len(list(solve_many(multicut, [([(0, 1)], [1.0])], ahead=np.int64(3)))) == 1


def test_run_can_be_resumed_until_its_folder_is_gone(tmp_path, monkeypatch):
    solve_blockwise(costs(), store=tmp_path / "run", **RUN)
    removed = []

    def stops(path, *_):
        removed.append(path)
        if len(removed) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stops)
        with pytest.raises(KeyboardInterrupt):
            remove(tmp_path / "run")
    assert (tmp_path / "run" / RUN_FILE).exists()
    remove(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{RUN_FILE}.7.tmp").write_text("{")  # of a process that was killed
    assert solve_blockwise(costs(), store=tmp_path / "run", **RUN).computed > 0


def test_costs_whose_sum_is_infinite_are_refused():
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="must have a finite sum"):
        solve_blockwise(np.clip(costs(), -1, 1) * np.float64(2e305), **RUN)


def test_values_that_are_not_finite_are_named_with_the_cells_of_their_block():
    wrong = costs()
    wrong[0, 40, 40] = np.nan
    with pytest.raises(Exception, match=r"affinities \(of the cells from \(32, 32\) on\) must be finite"):
        solve_blockwise(wrong, retries=0, **RUN)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_empty_batches_of_maps_have_values(make):
    graph = grid_graph((3, 4))
    assert tuple(graph.edge_values(make((0, 2, 3, 4))).shape) == (0, graph.num_edges)
    masked = grid_graph((3, 4), mask=np.arange(12).reshape(3, 4) % 3 > 0)
    assert tuple(masked.edge_values(make((0, 2, 3, 4))).shape) == (0, masked.num_edges)
    assert tuple(masked.node_values(make((0, 5, 3, 4))).shape) == (0, 5, masked.num_nodes)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_free_nodes_move_as_if_all_fixed_ones_were_kept(classes, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    graph = grid_graph((4, 12))
    node_costs = np.zeros((48, 1)) if classes == 1 else rng.integers(-3, 4, (48, classes)).astype(float)
    partitionable = [0] if classes == 1 else [1]
    problem = make_problem(graph, node_costs, rng.integers(-3, 4, graph.num_edges).astype(float), partitionable)
    x = rng.integers(0, classes, 48)
    z = np.where(problem.partitionable[x], 3 + np.arange(48) // 2, x)  # pairs of cells, or whole classes
    free = np.zeros(48, bool)
    free[rng.choice(48, 5, replace=False)] = True
    fixed, exact = Fixed(problem, free, x, z), SolverOptions("exact")
    some = moved(fixed, exact, 0)
    monkeypatch.setattr(parts, "_within_reach", lambda fixed: fixed)
    every = moved(fixed, exact, 0)
    assert (some is None) == (every is None)
    if some is not None:
        assert some[2] == pytest.approx(every[2])


def test_clusters_that_no_free_node_reaches_cost_nothing():
    graph = grid_graph((1, 6000))
    problem = make_problem(graph, None, np.full(graph.num_edges, -1.0), ())
    free = np.zeros(6000, bool)
    free[[2, 3]] = True
    problem.edge_costs[[1, 2]] = 5.0
    found = moved(Fixed(problem, free, np.zeros(6000, np.int64), np.arange(6000)), SolverOptions(), 0)
    assert found is not None
    assert found[1].tolist() == [1, 1]
    assert found[2] == 10.0
