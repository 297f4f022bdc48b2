"""Many instances on threads and executors: the solutions of single calls, in order, and as lazily as they are taken."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from diffcomb import amwc, multicut, solve_many


def problems(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(2, 40))
        edges = rng.integers(0, n, (3 * n, 2))
        yield edges, rng.normal(0, 1, 3 * n)


def test_every_executor_yields_the_solutions_of_single_calls_in_order():
    expected = [multicut(*p, effort=0).objective for p in problems(20)]
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for executor in (None, threads, processes):
            found = solve_many(multicut, problems(20), executor=executor, effort=0)
            assert [s.objective for s in found] == expected


@pytest.mark.filterwarnings("default")
def test_dask_client_as_executor():
    distributed = pytest.importorskip("distributed")
    expected = [multicut(*p).objective for p in problems(6)]
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        found = solve_many(multicut, problems(6), executor=client.get_executor())
        assert [s.objective for s in found] == expected


def test_mappings_are_keyword_arguments():
    instance = dict(graph=[(0, 1)], node_costs=np.zeros((2, 1)), edge_costs=np.array([-1.0]), partitionable=[0])
    assert next(solve_many(amwc, [instance])).num_clusters == 2


def test_instances_are_taken_as_they_are_needed():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield [(0, 1)], np.array([1.0])

    found = solve_many(multicut, endless(), ahead=4)
    for _ in range(3):
        next(found)
    assert len(taken) <= 4 + 3
    found.close()


def test_error_names_the_instance_and_ends():
    bad = [([(0, 1)], np.array([1.0])), ([(0, 1)], np.array([np.nan])), ([(0, 1)], np.array([1.0]))]
    found = solve_many(multicut, bad)
    assert next(found).num_clusters == 1
    with pytest.raises(ValueError, match="NaN") as raised:
        next(found)
    assert "in instance 1" in raised.value.__notes__
    assert list(found) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, []), "verb must be"),
        ((multicut, [], dict(executor=3)), "executor must have"),
        ((multicut, [], dict(ahead=0)), "ahead must be"),
        ((multicut, 5), "instances must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    verb, instances, *options = arguments
    with pytest.raises((TypeError, ValueError), match=message):
        solve_many(verb, instances, **(options[0] if options else {}))


def test_error_of_a_generator_comes_after_the_solutions_of_what_it_gave():
    def breaks():
        for _ in range(3):
            yield [(0, 1)], np.array([1.0])
        raise OSError("file 3 is broken")

    found = solve_many(multicut, breaks())
    assert [next(found).num_clusters for _ in range(3)] == [1, 1, 1]
    with pytest.raises(OSError, match="file 3") as raised:
        next(found)
    assert "while instance 3 was taken" in raised.value.__notes__


def test_instance_that_is_no_tuple_is_named():
    with pytest.raises(TypeError, match="tuple or a mapping"):
        list(solve_many(multicut, [np.zeros(3)]))
