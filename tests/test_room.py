"""Memory that is used again is never used by two at once, and never kept without end."""

import threading

import numpy as np
import pytest
from strategies import noisy_grid

from diffcomb import _room, amwc
from diffcomb._numba import njit
from diffcomb._room import LEAST, copied, kept_bytes, room, zeros

COUNT = LEAST // 4  # numbers of eight bytes


@pytest.fixture(autouse=True)
def nothing_kept():
    _room._kept.clear()
    yield
    _room._kept.clear()


def address(array):
    return array.__array_interface__["data"][0]


@njit
def every_second(array):
    return array[::2]


def test_memory_comes_back_when_no_view_of_it_is_left():
    whole = room(COUNT, np.float64)
    at = address(whole)
    views = [whole[5:9].reshape(2, 2), every_second(whole)]
    del whole
    while views:
        assert kept_bytes() == 0
        assert address(room(COUNT, np.float64)) != at
        _room._kept.clear()
        views.pop()
    assert address(room(COUNT, np.int64)) == at


def test_two_arrays_never_share_memory_whoever_asks():
    held, lock = {}, threading.Lock()

    def ask():
        rng = np.random.default_rng(threading.get_ident())
        for _ in range(200):
            array = room(COUNT + int(rng.integers(100)), np.float64)
            with lock:
                assert address(array) not in held
                held[address(array)] = True
            array[:] = mine = rng.random()
            assert (array == mine).all()
            with lock:
                del held[address(array)]
            del array

    failures = []

    def guarded():
        try:
            ask()
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert 0 < kept_bytes() < 5 * 9 * COUNT


def test_nearly_equal_sizes_share_memory_and_others_do_not():
    large = room(16 * COUNT, np.float64)
    at = address(large)
    del large
    much_less = room(COUNT, np.float64)
    assert address(much_less) != at
    assert address(room(16 * COUNT - COUNT // 100, np.float64)) == at


def test_larger_memory_is_taken_and_what_is_too_small_goes():
    """Sizes that change from call to call must not leave one array of each behind."""
    small, large = room(COUNT, np.float64), room(3 * COUNT, np.float64)
    at = address(large)
    del small, large
    first = room(2 * COUNT, np.float64)
    assert address(first) == at
    second = room(2 * COUNT, np.float64)
    assert kept_bytes() == 0
    del first, second
    for count in range(COUNT, 2 * COUNT, COUNT // 50):
        array = room(count, np.float64)
        assert len(array) == count
        del array
    assert kept_bytes() < 2 * 9 * 3 * COUNT


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(_room, "MOST_KEPT", 3 * 8 * COUNT)
    arrays = [room(COUNT + COUNT // 4 * k, np.float64) for k in range(4)]
    while arrays:
        arrays.pop()
        assert kept_bytes() <= _room.MOST_KEPT
    assert kept_bytes() > 0
    del arrays
    too_large = room(4 * COUNT, np.float64)
    _room._kept.clear()
    del too_large
    assert kept_bytes() == 0


def test_copies_and_zeros_are_complete_and_their_own():
    values = np.arange(COUNT, dtype=np.int32)
    copy = copied(values)
    values[:] = 7
    assert copy.tolist() == list(range(COUNT))
    at = address(copy)
    del copy
    clean = zeros(COUNT, np.int32)
    assert address(clean) == at
    assert not clean.any()


def test_small_and_empty_arrays_are_ordinary_ones():
    assert room(0, np.int32).shape == (0,)
    small = room(10, np.float64)
    assert small.base is None
    assert small.dtype == np.float64


def test_what_is_kept_goes_before_memory_is_said_to_be_short(monkeypatch):
    kept = room(COUNT, np.float64)
    del kept
    refusals = iter([MemoryError])
    empty = np.empty

    def short(size, dtype):
        for refusal in refusals:
            raise refusal
        return empty(size, dtype)

    monkeypatch.setattr(_room.np, "empty", short)
    large = room(2 * COUNT, np.float64)
    assert large.shape == (2 * COUNT,)
    assert kept_bytes() == 0


def test_solutions_do_not_depend_on_what_memory_held_before():
    graph, nodes, costs, partitionable = noisy_grid((160, 160))
    first = amwc(graph, nodes, costs, partitionable)
    for kept in _room._kept.values():
        for memory in kept:
            memory[:] = 0xFF  # numbers that are none
    assert kept_bytes() > 0
    again = amwc(graph, nodes, costs, partitionable)
    assert (again.clusters == first.clusters).all()
    assert again.objective == first.objective
