"""Files of problems: what is written is read again, and what a format loses is known."""

import warnings

import numpy as np
import pytest
from array_files import npy_bytes, npz_bytes
from hypothesis import given
from hypothesis import strategies as st

from diffcomb import Graph
from diffcomb.io import FORMATS, Instance, read, write

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


@pytest.mark.parametrize("suffix", [".cpp", ".graph"])
def test_pairs_that_are_must_link_and_cannot_link_are_not_written(suffix, tmp_path):
    both = Graph(2, [(0, 1), (1, 0)]), np.array([np.inf, -np.inf])
    with pytest.raises(ValueError, match="both a must-link"):
        write(tmp_path / f"pair{suffix}", *both)
    assert not list(tmp_path.iterdir())


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
        ("a.txt", "0 1.5 2\n", "must hold lines 'u v cost' with integers .* got '0 1.5 2' in line 1"),
        ("a.txt", "0 1 2\n\n# comment\n1 2 nan\n", "got '1 2 nan' in line 4"),
        ("a.txt", "MULTICUT\n0 1 2\n1 2 x\n", "got '1 2 x' in line 3"),
        ("a.txt", "0 9223372036854775808 1\n", "integers u and v of 64 bits and a number, got .* in line 1"),
        ("a.mc", "MULTICUT\n0 2000000000 1\n", "edges hold the node id 2000000000 but only 1 edges"),
        ("a.cpp", "inf\n", "got n = inf and 0 numbers"),
        ("a.cpp", "1e400 1\n", "got n = inf and 1 numbers"),
        ("a.cpp", "3\n1 2\nnan\n", "must hold numbers, got 'nan' in line 3"),
        ("a.cpp", "2\nx\n", "must hold numbers, got 'x' in line 2"),
        ("a.cpp", "2\n1_0\n", "must hold numbers, got '1_0' in line 2"),
        ("a.graph", "2 1 1\n2 1_0\n1 1_0\n", "line 2 must hold numbers: an underscore"),
        ("a.csv", "u,v,cost\n1,2,1_0\n", "line 2: the column of costs must hold numbers, got '1_0'"),
        ("a.cpp", "3\n1 2\n", r"n \(n - 1\) / 2 gains, got n = 3 and 2 numbers"),
        ("a.cpp", "", "got nothing"),
        ("a.graph", "x y\n", "must begin with the numbers of nodes and edges"),
        ("a.graph", "2 1 11\n1 2 1\n1 1 1\n", "node weights .* are not supported"),
        ("a.graph", "2 2 1\n2 1\n1 1\n", "must hold 2 edges, each at both of its ends, got 1"),
        ("a.graph", "2 1 1\n2\n1 1\n", "line 2 must hold pairs of a neighbour and a weight"),
        ("a.graph", "", "must begin with the numbers of nodes and edges of METIS, got ''"),
        ("a.graph", "% x\n2 1 1\n2 1\n1 2\n", "nodes 1 and 2 has the weight 1 in line 3, but 2 in line 4"),
        (
            "a.graph",
            "3 2 1\n2 1 3 1\n1 1\n\n",
            "line 2 lists node 3 as a neighbour of node 1, but the line of node 3 does",
        ),
        (
            "a.graph",
            "3 1 1\n2 1\n1 1\n2 5\n",
            "line 4 lists node 2 as a neighbour of node 3, but the line of node 2 does",
        ),
        ("a.graph", "2 1 1\n2 1\n1 1\n1 1\n", "line 4 is one too many: the first line says that there are 2 nodes"),
        ("a.graph", "2 1 1\n2 nan\n1 nan\n", "line 2 must hold neighbours, integers in 1..2, and numbers"),
        ("a.graph", "2 1 1\n3 1\n1 1\n", "line 2 must hold neighbours, integers in 1..2, and numbers, got '3 1'"),
        ("a.graph", "2 1 1\n1 1\n\n", "line 2 lists its own node 1 as a neighbour"),
        ("a.graph", "2000000000 1 1\n2 1\n1 1\n", "edges hold the node id 1999999999 but only 2 edges"),
        ("a.csv", "u,v,cost\n1,2,x\n", "line 2: the column of costs must hold numbers, got 'x'"),
        ("a.csv", "u,v,cost\n1,2,1\n2,3,nan\n", "line 3: the column of costs must hold numbers, got 'nan'"),
        ("a.csv", "1,2,1\n2,3,\n", "line 2: the column of costs must hold numbers, got ''"),
        ("a.csv", "u,v,cost\n1,2,1,9\n2,3,-1,9\n", "line 2 must have 3 cells, as the first line, got 4"),
        ("a.csv", "u,v,cost\n1,2,1\n\n2,3,-1,\n", "line 4 must have 3 cells, as the first line, got 4"),
        ("a.csv", "u,v,cost\n1,2,1\n2,3\n", "line 3 must have 3 cells, as the first line, got 2"),
        ("a.csv", "u,v,cost\n1,2,1\n,3,1\n", "line 3: the ids of both ends must be given, got \\['', '3'\\]"),
        ("a.csv", "1,2,0.5,2001\n", "line 1 is no header, since its third cell is the number 0.5, but has 4 cells"),
        ("a.csv", "u,v,cost,cost\n1,2,3,4\n", "line 1: the columns of u, v and cost must have names of their own"),
        (
            "a.csv",
            "weight,source,target,sign\n3,1,2,-1\n",
            "without the names u, v and cost the first three columns are",
        ),
        ("a.csv", "source,target,sign,weight\n1,2,-1,3\n", "which these do not seem to be: .*name them, or put them"),
        ("a.csv", '1,2,0.5\n"2"x,3,1\n', "line 2: ',' expected after '\"'"),
        ("a.csv", "", "the table must have columns u, v and cost, got"),
        ("a.csv", "u,v\n1,2\n", "the table must have columns u, v and cost, got"),
        ("a.dat", "", "has no suffix of a known format; give format="),
    ],
)
def test_wrong_texts_are_named_with_the_line(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        read(path)


EDGE = dict(edges=[(0, 1)], costs=[1.0])


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(edges=[(0, 1)]), r"must hold arrays 'edges' \(m, 2\) and 'costs' \(m,\), got \['edges'\]"),
        (dict(EDGE, n=[3, 4]), r"'n' must be a whole number, the number of nodes, got \[3, 4\]"),
        (dict(EDGE, n=b"x"), "'n' must be a whole number"),
        (dict(EDGE, n=np.nan), "'n' must be a whole number, the number of nodes, got nan"),
        (dict(EDGE, n=np.inf), "'n' must be a whole number, the number of nodes, got inf"),
        (dict(EDGE, n=3.7), "'n' must be a whole number, the number of nodes, got 3.7"),
        (dict(EDGE, n=1), r"edges must have end points in 0\.\.0"),
        (dict(EDGE, edges=[(0, 2 * 10**9)]), "edges hold the node id 2000000000 but only 1 edges"),
        (dict(EDGE, edges=[(b"a", b"b")]), "edges must"),
        (dict(EDGE, costs=[np.nan]), "edge_costs must not be NaN"),
        (dict(EDGE, costs=[1.0, 2.0]), r"edge_costs must have shape \(m,\) = \(1,\), got \(2,\)"),
        (dict(EDGE, ids=[7]), r"ids must have shape \(n,\) = \(2,\), got \(1,\)"),
        (dict(EDGE, ids=[7, 7]), "ids must differ, got .*7.* for 2 nodes"),
        (dict(EDGE, ids=[b"a", b"a"]), "ids must differ, got .*'a'.* for 2 nodes"),
        (dict(EDGE, ids=[0.5, 1.5]), "ids must hold integers or strings, got dtype float64"),
        (dict(EDGE, node_costs=[1.0, 2.0]), r"node_costs must have shape \(n, K\) with n = 2 and K > 0, got \(2,\)"),
        (dict(EDGE, node_costs=np.ones((3, 2))), r"node_costs must have shape .* got \(3, 2\)"),
        (
            dict(EDGE, node_costs=np.ones((2, 2)), partitionable=[True]),
            r"partitionable as a mask must have shape \(K,\) = \(2,\)",
        ),
        (dict(EDGE, lifted_edges=[(0, 1)]), "lifted_edges need lifted_costs, which are missing"),
        (dict(EDGE, lifted_costs=[1.0]), "lifted_costs need lifted_edges, which are missing"),
        (dict(EDGE, lifted_edges=[(0, 9)], lifted_costs=[1.0]), "lifted_edges are wrong: .* end points in 0..1"),
        (dict(EDGE, lifted_edges=[(0, 1)], lifted_costs=[1.0, 2.0]), r"lifted_costs must have shape \(m',\) = \(1,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message, suffix, tmp_path):
    path = tmp_path / f"wrong{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.update({name: np.asarray(value) for name, value in arrays.items()})
    with pytest.raises(ValueError, match=rf"wrong\{suffix}: .*{message}"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "damaged, incomplete or of another format"),
        ("a.npz", npz_bytes(**EDGE)[:300], "damaged, incomplete or of another format"),
        ("a.npz", npy_bytes(np.ones(3)), "this is a single array .* not an npz file of named arrays"),
        ("a.npz", npz_bytes(edges=np.array([{}]), costs=[1.0]), "holds Python objects, which are not loaded"),
        ("a.npz", b"garbage", "this is no such file of numpy"),
        ("a.h5", b"garbage", "file signature not found"),
        ("a.csv", "u,v,cost\nJosé,b,1\n".encode("latin-1"), "text that is not UTF-8 .* save it as UTF-8"),
        ("a.csv", "u,v,cost\n1,2,1\n".encode("utf-16"), "text that is not UTF-8"),
        ("a.txt", npz_bytes(**EDGE), "text that is not UTF-8"),
        ("a.graph", b"\xff", "text that is not UTF-8"),
    ],
)
def test_damaged_files_and_other_kinds_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        read(tmp_path / name)


def test_datasets_beside_others_and_names_of_h5py_are_read(tmp_path):
    with pytest.importorskip("h5py").File(tmp_path / "a.h5", "w") as file:
        file.update({"edges": [(0, 1)], "costs": [1.0], "ids": ["ana", "bän"], "results/run": 1, "note": "x"})
    assert read(tmp_path / "a.h5").ids.tolist() == ["ana", "bän"]


@pytest.mark.parametrize(
    ("text", "ids", "edges"),
    [
        ("u,v,cost\n1.0,2,1\n2.0,3,1\n", [1, 2, 3], [[0, 1], [1, 2]]),
        ("1,2,0.5\n2,3,-1\n", [1, 2, 3], [[0, 1], [1, 2]]),
        ("source, target, weight\n1, 2, 0.5\n", [1, 2], [[0, 1]]),
        ("001,002,1\n002,a,3\n", ["001", "002", "a"], [[0, 1], [1, 2]]),
        ("001,002,1\n002,003,3\n", ["001", "002", "003"], [[0, 1], [1, 2]]),
        ("1.0,a,1\na,1,3\n", ["1", "1.0", "a"], [[1, 2], [2, 0]]),
        ("NA,null,1\nnull,nan,1\n", ["NA", "nan", "null"], [[0, 2], [2, 1]]),
        ("18446744073709551615,0,1\n", [0, 2**64 - 1], [[1, 0]]),
        ("18446744073709551616,0,1\n", ["0", "18446744073709551616"], [[1, 0]]),
        ("cost,x,v,u\n7,,2,1\n", [1, 2], [[0, 1]]),
        ("u,tag,v,cost\r\n2,#a,5,7\r\n", [2, 5], [[0, 1]]),
        ("\ufeffu,v,cost\n", [], []),
    ],
)
def test_ids_of_a_table_are_integers_only_if_all_are(text, ids, edges, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    instance = read(tmp_path / "a.csv")
    assert (instance.node_ids.tolist(), instance.graph.edges.tolist()) == (ids, edges)


def test_names_that_look_like_something_else_are_kept(tmp_path):
    names = np.array(["001", "002", "NA", "a,b", 'say "x"', "two\nlines", "re\rturn", "\r\n"])
    write(tmp_path / "a.csv", Instance(Graph(8, [(i, (i + 1) % 8) for i in range(8)]), np.arange(8.0), names))
    assert sorted(read(tmp_path / "a.csv").ids.tolist()) == sorted(names.tolist())
    assert sorted(read(tmp_path / "a.csv").edge_costs) == list(range(8))


def test_empty_name_is_refused_in_tables(tmp_path):
    with pytest.raises(ValueError, match="a node has the empty name, which a csv file cannot hold"):
        write(tmp_path / "a.csv", Instance(Graph(2, [(0, 1)]), np.ones(1), np.array(["", "b"])))
    assert not list(tmp_path.iterdir())


def test_text_of_comments_alone_holds_no_edges(tmp_path):
    (tmp_path / "a.txt").write_text("# nothing yet\n  # really\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "a.txt").graph.num_edges == 0


@pytest.mark.parametrize("ids", [np.array(["a", "b"]), np.array([0, 2**63], np.uint64)])
def test_ids_that_a_text_cannot_keep_are_refused_before_writing(ids, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 1 1\n")
    with pytest.raises(ValueError, match=r"must be integers of 64 bits .* csv, npz and hdf5 keep them"):
        write(path, Instance(Graph(2, [(0, 1)]), [1.0], ids))
    assert path.read_text() == "0 1 1\n"


@pytest.mark.parametrize("names", [["7", "7.0", "8"], [" 7", "7", "8"]])
def test_names_that_a_table_would_take_for_one_number_are_refused(names, tmp_path):
    instance = Instance(Graph(3, [(0, 1), (1, 2)]), [-1.0, -2.0], np.array(names))
    with pytest.raises(ValueError, match=r"one number, written in two ways, .* npz and hdf5 keep them"):
        write(tmp_path / "a.csv", instance)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a.npz", instance)
    assert read(tmp_path / "a.npz").ids.tolist() == names


def test_writing_goes_through_links_and_keeps_what_lies_beside(tmp_path):
    (tmp_path / "a.txt.part").write_text("mine")
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target.txt"
    target.write_text("")
    target.chmod(0o640)
    (tmp_path / "a.txt").symlink_to(target)
    write(tmp_path / "a.txt", Graph(2, [(0, 1)]), [1.5])
    assert (tmp_path / "a.txt").is_symlink()
    assert target.read_text() == "0 1 1.5\n"
    assert target.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.txt.part").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.txt", "a.txt.part", "folder", "target.txt"]


def test_missing_files_packages_and_arrays_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.txt"):
        read(tmp_path / "none.txt")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="must hold arrays 'edges'"):
        read(tmp_path / "other.npz")
    for format in ("gml", ["npz"]):
        with pytest.raises(ValueError, match="format must be one of edges, multicut"):
            read(tmp_path / "other.npz", format=format)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"the format hdf5 needs h5py: pip install 'diffcomb\[io\]'"):
        read(tmp_path / "a.h5")


def test_costs_beside_an_instance_are_refused(tmp_path):
    instance = Instance(Graph(2, [(0, 1)]), [1.0])
    with pytest.raises(ValueError, match="edge_costs must be left out with an Instance, which has its own"):
        write(tmp_path / "a.npz", instance, [2.0])
    assert not (tmp_path / "a.npz").exists()


def test_failed_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    write(path, Graph(2, [(0, 1)]), [1.0])
    with pytest.raises(ValueError, match=r"edge_costs must have shape"):
        write(path, Graph(2, [(0, 1)]), [1.0, 2.0])
    assert read(path).edge_costs.tolist() == [1.0]
