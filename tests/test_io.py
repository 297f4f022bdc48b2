"""Files of problems and volumes: what is written is read again, and what a format loses is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcomb import Graph, affinities, multicut, region_graph
from diffcomb.io import FORMATS, Instance, open_array, read, save_array, write

KEEP_IDS = ("edges", "csv", "npz", "hdf5")
SIMPLE = ("triangle", "metis")  # one edge a pair, no loops


@st.composite
def written(draw):
    """An instance without isolated nodes, parallel edges and loops, which every format keeps."""
    n = draw(st.integers(2, 8))
    path = [(i, i + 1) for i in range(n - 1)]
    more = draw(st.lists(st.tuples(st.integers(0, n - 3), st.integers(2, n - 1)), max_size=6)) if n > 3 else []
    edges = sorted({tuple(sorted(e)) for e in [*path, *more] if e[0] != e[1]})
    costs = draw(st.lists(st.floats(-1e6, 1e6).filter(lambda c: c != 0), min_size=len(edges), max_size=len(edges)))
    ids = draw(st.none() | st.lists(st.integers(-(2**62), 2**62), min_size=n, max_size=n, unique=True).map(sorted))
    return Instance(Graph(n, edges), np.array(costs), None if ids is None else np.array(ids))


def as_dict(instance, with_ids):
    """Costs by pairs of ids."""
    ids = instance.node_ids if with_ids else np.arange(instance.graph.num_nodes)
    pairs = np.sort(ids[instance.graph.edges], axis=1).tolist()
    found = {tuple(pair): cost for pair, cost in zip(pairs, instance.edge_costs.tolist(), strict=True) if cost != 0}
    assert len(found) == np.count_nonzero(instance.edge_costs)
    return found


@pytest.mark.parametrize("name", list(FORMATS))
@given(instance=written())
def test_what_is_written_is_read_again(instance, name, tmp_path_factory):
    path = tmp_path_factory.mktemp("io") / f"problem{FORMATS[name].suffixes[0]}"
    write(path, instance)
    again = read(path)
    assert as_dict(again, name in KEEP_IDS) == as_dict(instance, name in KEEP_IDS)
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("name", ["npz", "hdf5"])
def test_binary_formats_keep_everything(name, tmp_path):
    instance = Instance(
        Graph(4, [(0, 1), (1, 1), (0, 1)]), np.array([1.0, -np.inf, 2.0], np.float32), np.array(["a", "b", "c", "ä"]),
        np.arange(8.0).reshape(4, 2), np.array([True, False]), np.array([(0, 3)]), np.array([-1.0]),
    )  # fmt: skip
    path = tmp_path / f"all{FORMATS[name].suffixes[0]}"
    write(path, instance)
    again = read(path)
    assert again.graph.num_nodes == 4
    for field in ("edge_costs", "ids", "node_costs", "partitionable", "lifted_edges", "lifted_costs"):
        a, b = getattr(instance, field), getattr(again, field)
        assert a.dtype.kind == b.dtype.kind
        assert np.array_equal(a, b), field


@pytest.mark.parametrize("name", SIMPLE)
def test_formats_of_simple_graphs_add_up_parallel_edges(name, tmp_path):
    path = tmp_path / "graph.any"
    write(path, Graph(3, [(0, 1), (1, 0), (2, 2)]), [1.0, 2.0, 5.0], format=name)
    again = read(path, format=name)
    assert again.graph.num_nodes == 3
    assert as_dict(again, False) == {(0, 1): 3.0}


def test_names_are_kept_in_tables(tmp_path):
    path = tmp_path / "trust.csv"
    path.write_text("source,target,weight,since\nana,ben,1.5,2001\nben,cem,-2,2002\n")
    instance = read(path)
    assert instance.ids.tolist() == ["ana", "ben", "cem"]
    assert instance.edge_costs.tolist() == [1.5, -2.0]
    write(path, instance)
    assert path.read_text().splitlines() == ["u,v,cost", "ana,ben,1.5", "ben,cem,-2.0"]


def test_header_of_multicut_files_numbers_nodes_from_zero(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("MULTICUT\n0 5 1.5\n")
    assert read(path).graph.num_nodes == 6
    path.write_text("0 5 1.5\n")
    assert read(path).ids.tolist() == [0, 5]


def test_published_instances_of_shared_data_are_read(data_root):
    path = sorted((data_root / "region_graphs").glob("*.npz"))[0]
    assert read(path).graph.num_edges > 100_000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "0 1\n", "must hold lines 'u v cost'"),
        ("a.txt", "0 1.5 2\n", "must hold lines 'u v cost' with integers"),
        ("a.cpp", "3\n1 2\n", r"n \(n - 1\) / 2 gains, got n = 3 and 2 numbers"),
        ("a.cpp", "", "got nothing"),
        ("a.graph", "x y\n", "must begin with the numbers of nodes and edges"),
        ("a.graph", "2 1 11\n1 2 1\n1 1 1\n", "node weights .* are not supported"),
        ("a.graph", "2 2 1\n2 1\n1 1\n", "must hold 2 edges, each at both of its ends, got 1"),
        ("a.graph", "2 1 1\n2\n1 1\n", "pairs of a neighbour and a weight"),
        ("a.csv", "u,v,cost\n1,2,x\n", "must hold numbers"),
        ("a.csv", "u,v\n1,2\n", "the table must have columns u, v and cost, got"),
        ("a.dat", "", "has no suffix of a known format; give format="),
    ],
)
def test_wrong_files_are_named(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match=message):
        read(path)


def test_missing_files_packages_and_arrays_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.txt"):
        read(tmp_path / "none.txt")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="must hold arrays 'edges'"):
        read(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="format must be one of edges, multicut"):
        read(tmp_path / "other.npz", format="gml")
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"the format csv needs pandas: pip install 'diffcomb\[io\]'"):
        read(tmp_path / "a.csv")


def test_failed_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    write(path, Graph(2, [(0, 1)]), [1.0])
    with pytest.raises(ValueError, match=r"edge_costs must have shape"):
        write(path, Graph(2, [(0, 1)]), [1.0, 2.0])
    assert read(path).edge_costs.tolist() == [1.0]


# Volumes


@pytest.mark.parametrize("name", ["a.npy", "a.npz:labels", "a.h5:labels", "a.zarr", "b.zarr:labels"])
def test_arrays_are_saved_opened_and_taken_for_volumes(name, tmp_path):
    labels = np.arange(4 * 6 * 6).reshape(4, 6, 6) // 18
    save_array(tmp_path / name, labels)
    opened = open_array(tmp_path / name)
    assert np.array_equal(np.asarray(opened), labels)
    assert region_graph(opened).graph.num_edges == region_graph(labels).graph.num_edges
    found, known = affinities(opened, [(0, 0, 1)])
    assert np.array_equal(found, affinities(labels, [(0, 0, 1)])[0])
    assert known.any()


def test_arrays_that_are_not_there_are_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=1, b=2)
    with pytest.raises(ValueError, match=r"two\.npz: no name says which array is meant; .* the arrays are: a, b"):
        open_array(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="no name has an array 'c'"):
        open_array(f"{tmp_path}/two.npz:c")
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"an array must be FILE\.npy"):
        open_array(tmp_path / "a.tif")


# Graphs of other libraries


def test_correlations_of_a_table_keep_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]], columns=["x", "y", "z"])
    graph, costs, names = Graph.from_correlation(frame, threshold=0.5)
    assert names.tolist() == ["x", "y", "z"]
    assert costs == pytest.approx([0.4, -0.4, -0.3])
    assert multicut(graph, costs).clusters.tolist() == [0, 0, 1]


def test_igraph_and_edge_index_become_graphs():
    igraph = pytest.importorskip("igraph", reason="igraph is not installed: from_igraph is not tried")
    graph, costs = Graph.from_igraph(igraph.Graph([(0, 1), (1, 2)], edge_attrs={"w": [1, -2]}), weight="w")
    assert (graph.edges.tolist(), costs.tolist()) == ([[0, 1], [1, 2]], [1.0, -2.0])
    with pytest.raises(ValueError, match="needs an undirected graph"):
        Graph.from_igraph(igraph.Graph([(0, 1)], directed=True))
    with pytest.raises(ValueError, match="weight='x' is no edge attribute"):
        Graph.from_igraph(igraph.Graph([(0, 1)]), weight="x")


def test_edge_index_lists_each_edge_once():
    graph, first = Graph.from_edge_index(np.array([[0, 1, 1, 2, 3], [1, 0, 2, 1, 3]]), num_nodes=5)
    assert graph.num_nodes == 5
    assert graph.edges.tolist() == [[0, 1], [1, 2], [3, 3]]
    assert first.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Graph.from_correlation([[1.0, 2.0]]), ValueError, "needs a square matrix"),
        (lambda: Graph.from_correlation([[1.0, 2.0], [3.0, 1.0]]), ValueError, "needs a symmetric matrix"),
        (
            lambda: Graph.from_correlation([[1.0, np.nan], [np.nan, 1.0]]),
            ValueError,
            r"got 1 NaN, the first at \[0, 1\]",
        ),
        (lambda: Graph.from_edge_index([[0, 1]]), ValueError, r"edge_index must have shape \(2, E\)"),
        (lambda: Graph.from_edge_index([[0.0], [1.0]]), TypeError, "edge_index must hold integers"),
        (lambda: Graph.from_igraph([(0, 1)]), TypeError, "needs an igraph graph, got list"),
    ],
)
def test_wrong_graphs_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
