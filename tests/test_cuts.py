"""The public functions: kinds of arrays, batches, threads, and bad input."""

import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import diffcomb
from diffcomb import (
    Graph,
    Solution,
    amwc,
    get_num_threads,
    gradients,
    grid_graph,
    losses,
    multicut,
    mwc,
    set_num_threads,
)
from diffcomb._threads import thread_map, thread_ranges

GRAPH = grid_graph((4, 5))
RNG = np.random.default_rng(0)
NODES = RNG.normal(size=(3, 20, 3))
EDGES = RNG.normal(size=(3, GRAPH.num_edges))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensor_costs_give_tensor_solutions(dtype):
    s = amwc(GRAPH, torch.tensor(NODES, dtype=dtype), torch.tensor(EDGES, dtype=dtype, requires_grad=True), [2])
    assert all(isinstance(a, torch.Tensor) for a in (s.node_labels, s.edge_labels, s.clusters, s.objective))
    assert s.node_labels.dtype == torch.int64
    assert s.num_clusters.shape == (3,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_costs_give_cuda_solutions():
    s = amwc(GRAPH, torch.tensor(NODES).cuda(), torch.tensor(EDGES).cuda(), [2])
    assert s.node_labels.is_cuda
    assert s.objective.is_cuda


def test_float32_and_float64_costs_agree_and_stay_unchanged():
    nodes, edges = NODES[0].astype(np.float32), EDGES[0].astype(np.float32)
    before = nodes.copy(), edges.copy()
    a = amwc(GRAPH, nodes, edges, [0, 2])
    b = amwc(GRAPH, nodes.astype(np.float64), edges.astype(np.float64), [0, 2])
    assert a.objective == pytest.approx(b.objective)
    assert (nodes == before[0]).all()
    assert (edges == before[1]).all()


def test_batch_gives_the_solutions_of_its_instances():
    batch = amwc(GRAPH, NODES, EDGES, [2])
    for b in range(3):
        one = amwc(GRAPH, NODES[b], EDGES[b], [2])
        assert isinstance(one.objective, float)
        assert batch.objective[b] == one.objective
        assert batch.clusters[b].tolist() == one.clusters.tolist()
        assert batch.num_clusters[b] == one.num_clusters
    assert mwc(GRAPH, NODES, EDGES).edge_labels.shape == EDGES.shape
    assert multicut(GRAPH, EDGES).clusters.shape == (3, 20)


def test_costs_without_a_batch_axis_are_shared():
    a = amwc(GRAPH, NODES[0], EDGES, [2]).objective
    assert a.tolist() == [amwc(GRAPH, NODES[0], e, [2]).objective for e in EDGES]
    a = amwc(GRAPH, NODES, EDGES[0], [2]).objective
    assert a.tolist() == [amwc(GRAPH, n, EDGES[0], [2]).objective for n in NODES]


def test_empty_batch_gives_empty_solutions():
    s = amwc(GRAPH, NODES[:0], EDGES[:0], [2])
    assert s.node_labels.shape == (0, 20)
    assert s.edge_labels.shape == (0, GRAPH.num_edges)
    assert s.objective.shape == (0,)
    with pytest.raises(ValueError, match="partitionable"):
        amwc(GRAPH, NODES[:0], EDGES[:0], [7])


def test_number_of_threads_does_not_change_the_result():
    results = []
    for threads in (1, 2, 5):
        set_num_threads(threads)
        assert get_num_threads() == threads
        results.append(amwc(GRAPH, NODES, EDGES, [2]).clusters.tolist())
    set_num_threads(None)
    assert results[0] == results[1] == results[2]
    with pytest.raises(ValueError, match="positive integer"):
        set_num_threads(0)


def test_range_is_divided_among_threads_but_not_within_a_task():
    def parts(count):
        found = []
        thread_ranges(lambda first, last: found.append((first, last)), count, 10)
        return sorted(found)

    set_num_threads(2)
    try:
        assert parts(19) == [(0, 19)]
        assert parts(30) == [(0, 15), (15, 30)]
        inner = []
        thread_map(lambda _: (time.sleep(0.05), inner.append(parts(30))), range(8))
    finally:
        set_num_threads(None)
    assert [(0, 30)] in inner  # the calling thread runs some of the tasks, and may divide their ranges
    assert all(sorted(p) in ([(0, 30)], [(0, 15), (15, 30)]) for p in inner)


def test_number_of_threads_of_torch_is_respected():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_threads_are_divided_by_the_processes_that_torchrun_starts(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 64)
    for beside, expected in (("", 12), ("1", 12), ("4", 3), ("24", 1), ("many", 12)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", beside)
        assert get_num_threads() == expected


def test_non_contiguous_costs_are_accepted():
    nodes = np.asfortranarray(NODES[0])
    edges = np.repeat(EDGES[0], 2)[::2]
    assert amwc(GRAPH, nodes, edges, [2]).objective == amwc(GRAPH, NODES[0], EDGES[0], [2]).objective


def test_partitionable_may_be_a_mask_or_indices():
    for P, mask in (([0, 2], [True, False, True]), ([], [False] * 3), (torch.tensor([1]), [False, True, False])):
        a = amwc(GRAPH, NODES[0], EDGES[0], P)
        assert a.objective == amwc(GRAPH, NODES[0], EDGES[0], np.array(mask)).objective


def test_every_form_of_init_is_accepted():
    s = amwc(GRAPH, NODES, EDGES, [2])
    for init in (s, (s.node_labels, s.clusters), [(s.node_labels[b], s.clusters[b]) for b in range(3)]):
        assert (amwc(GRAPH, NODES, EDGES, [2], init=init, effort=0).objective <= s.objective + 1e-9).all()
    one = mwc(GRAPH, NODES[0], EDGES[0])
    assert mwc(GRAPH, NODES[0], EDGES[0], init=one.node_labels).objective <= one.objective + 1e-9
    cut = multicut(GRAPH, EDGES[0])
    parts = [multicut(GRAPH, e) for e in EDGES]
    assert (multicut(GRAPH, EDGES, init=parts).objective <= [p.objective + 1e-9 for p in parts]).all()
    assert multicut(GRAPH, EDGES[0], init=torch.tensor(cut.clusters)).objective <= cut.objective + 1e-9


@pytest.mark.parametrize("init", [np.zeros((5, 20), int), [(np.zeros(20, int), np.zeros(20, int))] * 5])
def test_init_of_another_batch_size_is_refused(init):
    with pytest.raises(ValueError, match="one labelling for each of 3 instances, got"):
        amwc(GRAPH, NODES, EDGES, [2], init=init)


def call(**changes):
    arguments = dict(graph=GRAPH, node_costs=NODES[0], edge_costs=EDGES[0], partitionable=[2])
    return amwc(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"node_costs": np.where(NODES[0] > 1, np.nan, NODES[0])}, ValueError, "node_costs must be finite, got .* NaN"),
        ({"edge_costs": np.full(31, np.nan)}, ValueError, r"edge_costs must not be NaN.*index \[0\]: nan"),
        ({"node_costs": NODES[0, :19]}, ValueError, r"node_costs must have shape \(n, K\) with n=20, got \(19, 3\)"),
        ({"node_costs": NODES[0, 0]}, ValueError, "node_costs must have shape"),
        ({"node_costs": np.zeros((20, 0))}, ValueError, "at least one class"),
        ({"edge_costs": EDGES[0, 1:]}, ValueError, r"edge_costs must have shape \(m,\) = \(31,\), got \(30,\)"),
        ({"edge_costs": EDGES[None]}, ValueError, "edge_costs must have shape"),
        ({"node_costs": NODES[:2], "edge_costs": EDGES}, ValueError, "same batch size"),
        ({"partitionable": [3]}, ValueError, r"class indices in 0\.\.2, got \[3\]"),
        ({"partitionable": [-1]}, ValueError, "class indices"),
        ({"partitionable": [True, False]}, ValueError, r"mask must have shape \(K,\) = \(3,\)"),
        ({"partitionable": [0.5]}, TypeError, "booleans or class indices"),
        (
            {"solver": "gurobi"},
            ValueError,
            "solver must be one of 'multilevel', 'kernighan_lin', 'greedy', 'mutex_watershed', 'exact', or a function .*, got 'gurobi'",
        ),
        ({"seed": -1}, ValueError, "seed"),
        ({"effort": 1.5}, ValueError, "effort"),
        ({"node_costs": "costs"}, TypeError, "node_costs must be a numeric array"),
        ({"node_costs": NODES[0] + 1j}, TypeError, "node_costs must be a numeric array"),
        ({"node_costs": torch.tensor(NODES[0])}, ValueError, "one kind and on one device, got node_costs: cpu, edge"),
        ({"graph": [(0, 25)] * 31}, ValueError, "hold the node id 25, but there are values for 20 nodes"),
        ({"graph": np.ones((31, 2))}, TypeError, "integers"),
        ({"init": (np.zeros(19, int), np.zeros(20, int))}, ValueError, r"init: node labels must have shape"),
        ({"init": (np.full(20, 3), np.zeros(20, int))}, ValueError, r"init: node labels must lie in 0\.\.2"),
        ({"init": (np.zeros(20), np.zeros(20, int))}, TypeError, "init: node labels must be integers"),
        ({"init": (np.zeros(20, int),)}, ValueError, "pair"),
        ({"init": ([0, 1], [0, [1]])}, ValueError, "init must hold arrays"),
        ({"partitionable": [[1], [1, 2]]}, ValueError, "partitionable must be a mask"),
        ({"partitionable": [0, 1, 1]}, ValueError, r"name each class once, got \[0, 1, 1\]: a mask .* must be boolean"),
        ({"edge_costs": np.float64(1.0)}, ValueError, "edge_costs must have shape"),
    ],
)
def test_error_names_the_bad_argument(changes, error, message):
    with pytest.raises(error, match=message):
        call(**changes)


def test_huge_finite_costs_are_not_called_infinite():
    s = multicut([(0, 1), (1, 2)], np.array([1e308, 1e308]))
    assert s.clusters.tolist() == [0, 0, 0]


def test_violations_name_the_broken_constraint():
    from diffcomb import make_problem

    problem = make_problem(Graph(3, [(0, 1), (1, 2), (0, 2)]), np.zeros((3, 2)), np.zeros(3), [1])
    assert problem.violations([0, 0, 0], [0, 0, 0], [0, 0, 0]) == []
    assert "between two classes" in problem.violations([0, 1, 1], [0, 0, 1])[0]
    assert "not partitionable" in problem.violations([0, 0, 0], [1, 0, 1])[0]
    assert "path of uncut edges" in problem.violations([1, 1, 1], [1, 0, 0])[0]
    assert "disagree" in problem.violations([1, 1, 1], [0, 0, 0], [0, 0, 1])[0]
    assert "0..M-1" in problem.violations([1, 1, 1], [0, 0, 0], [1, 1, 1])[0]
    assert "two classes" in " ".join(problem.violations([0, 1, 1], [1, 0, 1], [0, 0, 0]))
    assert "lie in" in problem.violations([0, 2, 0], [0, 0, 0])[0]
    assert "0 or 1" in problem.violations([0, 0, 0], [0, 2, 0])[0]
    assert "shape" in problem.violations([0, 0], [0, 0, 0])[0]


def test_solution_without_a_bound_has_no_gap():
    assert Solution(NODES, EDGES, EDGES, 1.0).gap is None


def test_importing_diffcomb_does_not_import_torch():
    code = (
        "import sys, diffcomb; dir(diffcomb); assert not hasattr(diffcomb, 'nonsense'); assert 'torch' not in sys.modules; "
        "diffcomb.Blackbox; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_star_import_brings_all_public_names_which_can_be_pickled():
    namespace = {}
    exec("from diffcomb import *", namespace)
    names = set(diffcomb.__all__)
    assert names <= set(namespace)
    assert {estimator.__name__ for estimator in gradients.ESTIMATORS} <= names
    assert {loss.__name__ for loss in losses.LOSSES} <= names
    assert all(pickle.loads(pickle.dumps(namespace[name])) is namespace[name] for name in names - {"__version__"})


def test_unknown_attribute_of_the_package_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diffcomb.nonsense  # noqa: B018
    assert set(diffcomb.__all__) <= set(dir(diffcomb))
    assert all(getattr(diffcomb, name) is not None for name in diffcomb.__all__)


def test_forked_child_can_solve():
    code = (
        "import os, numpy as np; from diffcomb import multicut, grid_graph\n"
        "g = grid_graph((4, 4)); c = np.ones((4, g.num_edges)); multicut(g, c)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    multicut(g, c); os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
