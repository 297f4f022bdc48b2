"""The command line: solve, segment and info, their output files and exit codes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from diffcomb import Graph, affinities, multicut
from diffcomb.cli import main
from diffcomb.io import Instance, open_array, save_array, write


@pytest.fixture
def signed(tmp_path):
    path = tmp_path / "signed.txt"
    path.write_text("10 20 2.0\n20 40 -1.5\n10 40 -0.5\n")
    return path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_solve_prints_the_objective_and_writes_clusters_by_id(signed, tmp_path, capsys):
    code, out, _ = run(capsys, "solve", signed, "-o", tmp_path / "clusters.csv", "--bound", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["problem"] == "multicut"
    assert result["objective"] == -2.0
    assert result["clusters"] == 2
    assert result["gap"] == pytest.approx(0, abs=1e-9)
    rows = list(csv.DictReader((tmp_path / "clusters.csv").read_text().splitlines()))
    assert [(row["node"], row["cluster"]) for row in rows] == [("10", "0"), ("20", "0"), ("40", "1")]


def test_names_in_clusters_are_quoted_and_written_as_they_are(tmp_path, capsys):
    names = ["Smith, Ann", 'the "old" one', "NA"]
    with pytest.importorskip("h5py").File(tmp_path / "names.h5", "w") as file:
        file.update({"edges": [(0, 1), (1, 2)], "costs": [1.0, -1.0], "ids": names})
    assert run(capsys, "solve", tmp_path / "names.h5", "-o", tmp_path / "c.csv")[0] == 0
    with (tmp_path / "c.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [[names[0], "0"], [names[1], "0"], ["NA", "1"]]


def test_output_that_cannot_be_written_is_refused_before_solving(signed, tmp_path, capsys, monkeypatch):
    def fails(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("diffcomb.cli.solve.solution_of", lambda *_: pytest.fail("was solved"))
    monkeypatch.setattr("diffcomb.io.files.tempfile.TemporaryDirectory", fails)
    code, _, err = run(capsys, "solve", signed, "-o", tmp_path / "c.csv")
    assert code == 2
    assert "c.csv (Permission denied): choose another output" in err


def test_clusters_that_fail_to_be_written_leave_the_old_file(signed, tmp_path, capsys, monkeypatch):
    (tmp_path / "c.csv").write_text("old")

    def fails(path, *_):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffcomb.cli.solve.write_table", fails)
    code, _, err = run(capsys, "solve", signed, "-o", tmp_path / "c.csv")
    assert code == 2
    assert "No space left" in err
    assert (tmp_path / "c.csv").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"signed.txt", "c.csv"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes: not tried there")
def test_clusters_go_into_a_pipe_which_stays(signed, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    code, _, _ = run(capsys, "solve", signed, "-o", tmp_path / "pipe")
    assert code == 0
    assert os.read(reader, 1000).startswith(b"node,cluster\n10,0\n")
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_too_little_memory_is_said_in_a_line(signed, capsys, monkeypatch):
    def fails(*_):
        raise MemoryError("Unable to allocate 16 GiB")

    monkeypatch.setattr("diffcomb.cli.info.read", fails)
    code, _, err = run(capsys, "info", signed)
    assert code == 2
    assert err == f"diffcomb: there is not enough memory for {signed}: Unable to allocate 16 GiB\n"


def test_result_without_json_is_lines_of_text(signed, capsys):
    code, out, _ = run(capsys, "solve", signed, "--solver", "greedy")
    assert code == 0
    assert "objective: -2.0" in out.splitlines()


@pytest.mark.parametrize("problem", ["multicut", "mwc", "amwc", "lifted_multicut", "lifted_amwc"])
def test_every_problem_is_solved_from_one_file(problem, tmp_path, capsys):
    path = tmp_path / "all.npz"
    graph = Graph(3, [(0, 1), (1, 2)])
    write(path, Instance(graph, np.array([1.0, -1.0]), None, np.eye(3)[:, :2], np.array([True, False]),
                         np.array([(0, 2)]), np.array([-0.5])))  # fmt: skip
    code, out, _ = run(capsys, "solve", path, "--problem", problem, "--bound", "--json", "-o", tmp_path / "c.csv")
    assert code == 0
    result = json.loads(out)
    assert result["problem"] == problem
    assert result["lower_bound"] <= result["objective"]
    assert (tmp_path / "c.csv").read_text().startswith("node,cluster,class\n")


def test_segment_labels_an_image_by_affinities(tmp_path, capsys):
    truth = np.add.outer(np.arange(20) // 10, 2 * (np.arange(30) // 10))
    offsets = [[0, 1], [1, 0], [0, 4], [4, 0]]
    found, _ = affinities(truth, offsets)
    save_array(tmp_path / "affinities.h5", found.astype(np.float32))
    code, out, _ = run(
        capsys, "segment", tmp_path / "affinities.h5", "--offsets", json.dumps(offsets), "-o", tmp_path / "labels.npy"
    )
    labels = open_array(tmp_path / "labels.npy")
    assert code == 0
    assert "clusters: 6" in out
    assert labels.min() == 1
    assert len(np.unique(np.stack([labels.ravel(), truth.ravel()]), axis=1).T) == 6


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".zarr", ".zarr:cells/labels"])
def test_segment_in_blocks_labels_a_volume_and_resumes(suffix, tmp_path, capsys, monkeypatch):
    truth = np.add.outer(np.arange(6) // 6, np.add.outer(np.arange(20) // 10, 2 * (np.arange(30) // 10)))
    offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 4]]
    found, _ = affinities(truth, offsets)
    save_array(tmp_path / "affinities.zarr", (found * 255).astype(np.uint8))
    output = f"{tmp_path}/labels{suffix}"
    command = ["segment", tmp_path / "affinities.zarr", "--offsets", json.dumps(offsets), "-o", output]
    command += ["--block-shape", 6, 8, 16, "--halo", 0, 4, 4, "--json"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diffcomb.cli.segment.new_array", interrupted)
        code, _, err = run(capsys, *command)
    assert code == 130
    assert (
        f"interrupted; finished blocks lie in {tmp_path}/labels.{suffix[1:].split(':')[0]}.run: rerun the same command to resume"
        in err
    )
    code, out, _ = run(capsys, *command)
    assert code == 0
    result = json.loads(out)
    assert (result["clusters"], result["blocks"], result["tasks_computed"]) == (6, 6, 0)
    labels = open_array(output)[...]
    assert labels.dtype == np.uint32
    assert labels.min() == 1
    assert len(np.unique(np.stack([labels.ravel(), truth.ravel()]), axis=1).T) == 6
    assert not list(tmp_path.glob("*.run*")), "the store goes when all is done"


def test_blocks_that_cannot_be_solved_stay_unlabelled_where_the_user_asks_for_that(tmp_path, capsys):
    values = np.ones((2, 8, 16), np.float32)
    values[0, 3, 12] = 7.0
    save_array(tmp_path / "affinities.npy", values)
    output = tmp_path / "labels.npy"
    command = ["segment", tmp_path / "affinities.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", output, "--json"]
    command += ["--block-shape", 8, 8, "--halo", 0, 0]
    code, _, err = run(capsys, *command)
    assert (code, output.exists()) == (2, False)
    assert "probabilities must lie in [0, 1]" in err
    assert "or leave it unsolved (on_failure='cut', --on-failure cut)" in err
    code, out, err = run(capsys, *command, "--on-failure", "cut")
    assert (code, json.loads(out)["failed_blocks"]) == (0, "0_1"), err
    labels = open_array(output)
    assert labels[:, :8].min() == labels[:, :8].max() == 1
    assert not labels[:, 8:].any()


@pytest.mark.parametrize("blocks", [[], ["--block-shape", 8, 8]])
def test_labels_stand_beside_the_affinities_of_a_group_and_bytes_are_probabilities(blocks, tmp_path, capsys):
    offsets = [[0, 1], [1, 0]]
    found, _ = affinities(np.add.outer(np.arange(16) // 8, 2 * (np.arange(16) // 8)), offsets)
    save_array(tmp_path / "volume.zarr:affinities", (found * 255).astype(np.uint8))
    source, output = f"{tmp_path}/volume.zarr:affinities", f"{tmp_path}/volume.zarr:labels"
    code, out, _ = run(capsys, "segment", source, "--offsets", json.dumps(offsets), "-o", output, *blocks, "--json")
    assert code == 0
    assert json.loads(out)["clusters"] == 4
    assert len(np.unique(open_array(output)[...])) == 4
    assert open_array(source).shape == (2, 16, 16)


@pytest.mark.parametrize("blocks", [[], ["--block-shape", 8, 8]])
def test_truth_values_are_affinities(blocks, tmp_path, capsys):
    found, _ = affinities(np.add.outer(np.arange(16) // 8, 2 * (np.arange(16) // 8)), [[0, 1], [1, 0]])
    save_array(tmp_path / "truth.npy", found > 0)
    code, out, err = run(
        capsys, "segment", tmp_path / "truth.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", tmp_path / "labels.npy",
        *blocks, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["clusters"] == 4


def test_json_has_null_where_numbers_are_infinite(tmp_path, capsys):
    (tmp_path / "large.txt").write_text("0 1 -1e308\n1 2 -1e308\n")
    code, out, err = run(capsys, "solve", tmp_path / "large.txt", "--json", "--bound")
    assert code == 0, err
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["objective"] is None


def test_pipes_are_refused_with_the_reason(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.csv")
    for command in ("solve", "info"):
        code, _, err = run(capsys, command, tmp_path / "pipe.csv")
        assert code == 2
        assert "pipe.csv is a pipe or a device, and files are read more than once: write it to a file first" in err


def test_labels_stand_beside_the_affinities_of_one_npz_file(tmp_path, capsys):
    source = f"{tmp_path}/two.npz"
    save_array(f"{source}:affinities", np.ones((2, 8, 8), np.float32))
    save_array(f"{source}:seg", np.zeros(3))
    offsets = ["--offsets", "[[0, 1], [1, 0]]"]
    code, _, err = run(capsys, "segment", f"{source}:affinities", *offsets, "-o", f"{source}:seg")
    assert code == 0, err
    assert open_array(f"{source}:seg").shape == (8, 8)
    assert open_array(f"{source}:affinities").shape == (2, 8, 8)


def test_info_describes_a_file(signed, capsys):
    code, out, _ = run(capsys, "info", signed, "--json")
    assert code == 0
    assert json.loads(out) == {
        "problem": "multicut", "nodes": 3, "edges": 3, "costs": "-1.5 to 2", "repulsive_edges": "66.7 %", "largest_degree": 2,
    }  # fmt: skip


def test_nodes_that_contradict_each_other_are_named_as_the_file_names_them(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("ana,ben,inf\nben,cem,inf\ndan,ana,1\ncem,ana,-inf\n")
    code, _, err = run(capsys, "solve", tmp_path / "a.csv")
    assert code == 2
    assert "nodes cem and ana must be apart" in err


def make_wrong_files(folder, signed):
    """Damaged files, files that make no sense, and links to a good one."""
    (folder / "link.txt").symlink_to(signed)
    (folder / "hard.txt").hardlink_to(signed)
    edge = dict(edges=[(0, 1)], costs=np.ones(1))
    np.savez_compressed(folder / "good.npz", **edge)
    good = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(good[:200])
    (folder / "flipped.npz").write_bytes(good[:60] + bytes([good[60] ^ 255]) + good[61:])
    for name in ("empty.npz", "empty.npy"):
        (folder / name).write_bytes(b"")
    np.savez(folder / "infinite.npz", n=np.inf, **edge)
    np.savez(folder / "flat.npz", node_costs=np.ones(2), **edge)
    np.savez(folder / "classes.npz", node_costs=np.ones((2, 2)), partitionable=[2], **edge)
    (folder / "infinite.cpp").write_text("1e400\n")
    (folder / "gaps.mc").write_text("MULTICUT\n0 2000000000 1\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "none.txt"], "there is no file none.txt"),
        (["solve", "{signed}", "--problem", "amwc"], "has no node_costs, which --problem amwc needs"),
        (["solve", "{signed}", "--problem", "lifted_multicut"], "has no lifted_edges and lifted_costs"),
        (["solve", "{signed}", "--time-limit", "-1"], "time_limit must be a positive number of seconds"),
        (["info", "{signed}", "--format", "metis"], "must begin with the numbers of nodes and edges"),
        (["segment", "none.npy", "--offsets", "[[0, 1]]", "-o", "x.npy"], "there is no file none.npy"),
        (["segment", "{image}", "--offsets", "[[0, 1]]", "-o", "x.npy"], "must have one channel for each of 1 offsets"),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy", "--halo", "4"],
            "without --block-shape",
        ),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npz", "--block-shape", "4", "4"],
            "must be .npy, .h5 or .zarr, got 'x.npz'",
        ),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy", "--block-shape", "4"],
            "block_shape must be 2 integers",
        ),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "image.npy"], "would replace 'image.npy'"),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "none/x.npy"], "there is no folder none"),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.tif"], "an array must be FILE.npy"),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "two.h5"],
            "two.h5 holds one, two: name the array",
        ),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "two.zarr"], "two.zarr holds one, two: name"),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "array.zarr:x"],
            "array.zarr is an array and cannot",
        ),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "deep.zarr:group"],
            "group is a group of arrays",
        ),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "deep.h5:group"], "group is a group of arrays"),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "two.npz"], "two.npz holds one, two: name"),
        (["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "{signed}/x.npy"], "there is no folder"),
        (["segment", "cut.npz", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy"], "cut.npz: the file is damaged"),
        (["segment", "empty.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy"], "empty.npy: this is no such file"),
        (["solve", "{signed}", "-o", "{signed}"], "signed.txt', which is read: choose another file"),
        (["solve", "{signed}", "-o", "link.txt"], "the output 'link.txt' would replace"),
        (["solve", "{signed}", "-o", "hard.txt"], "the output 'hard.txt' would replace"),
        (["solve", "link.txt", "-o", "{signed}"], "would replace 'link.txt', which is read"),
        (["solve", "{signed}", "-o", "none/c.csv"], "there is no folder none: make it, or choose another output"),
        (["solve", "{signed}", "-o", "array.zarr"], "array.zarr is a folder: choose another output"),
        (["info", "cut.npz"], "cut.npz: the file is damaged, incomplete or of another format"),
        (["solve", "cut.npz"], "cut.npz: the file is damaged, incomplete or of another format"),
        (["info", "flipped.npz"], "flipped.npz: the file is damaged, incomplete or of another format"),
        (["info", "empty.npz"], "empty.npz: the file is damaged, incomplete or of another format"),
        (["info", "infinite.cpp"], "infinite.cpp: the file must hold a number of nodes n"),
        (["info", "infinite.npz"], "infinite.npz: the array 'n' must be a whole number"),
        (["info", "flat.npz"], "flat.npz: node_costs must have shape (n, K)"),
        (["info", "gaps.mc"], "gaps.mc: edges hold the node id 2000000000 but only 1 edges"),
        (
            ["segment", "{image}", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy", "--costs", "--bias", "0.9"],
            "--bias is of no use with --costs, which are taken as they are, got 0.9",
        ),
        (["segment", "two.h5:one", "--offsets", "[[0, 1], [1, 0]]", "-o", "two.h5:one"], "would replace 'two.h5:one'"),
        (
            ["segment", "percent.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy"],
            "percent.npy: probabilities must lie in [0, 1], got 97.0 to 97.0: divide them by what stands for 1",
        ),
        (
            ["segment", "whole.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy", "--block-shape", "4", "4"],
            "got int64; divide them, or say that they are costs (values='costs', --costs)",
        ),
        (
            ["segment", "image.npy:one", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy"],
            "image.npy is a single array, and has none of the name 'one'",
        ),
        (
            ["segment", "image.npy", "--offsets", "[[0, 1], [1, 0]]", "-o", "x.npy", "--on-failure", "cut"],
            "--on-failure is of no use without --block-shape, got cut",
        ),
        (["info", "classes.npz"], "classes.npz: partitionable must hold class indices in 0..1, got [2]"),
        (["info", ""], "has no suffix of a known format"),
        (["solve", "{signed}", "-o", ""], "-o must name a file such as clusters.csv, got ''"),
        (["solve", "{signed}", "-o", "two.npz"], "-o must name a file such as clusters.csv, got 'two.npz'"),
    ],
)
def test_wrong_input_is_said_in_a_line_with_exit_code_2(arguments, message, signed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (
        "image.npy",
        "two.h5:one",
        "two.h5:two",
        "two.npz:one",
        "two.npz:two",
        "two.zarr:one",
        "two.zarr:two",
        "array.zarr",
        "deep.zarr:group/a",
        "deep.h5:group/a",
    ):
        save_array(path, np.ones((2, 8, 8), np.float32))
    save_array("percent.npy", np.full((2, 8, 8), 97.0))
    save_array("whole.npy", np.full((2, 8, 8), 97))
    make_wrong_files(tmp_path, signed)
    code, out, err = run(capsys, *(a.format(signed=signed, image="image.npy") for a in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "offsets", ["[[0, 1], 3]", "nonsense", "[]", "[[0, 1], [1]]", "[[0, 1.5]]", "[[0, true]]", "5"]
)
def test_wrong_arguments_end_with_exit_code_2(offsets, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["segment", "a.npy", "--offsets", offsets, "-o", "b.npy"])
    assert "offsets must be lists of integers" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes: not tried there")
def test_output_that_nobody_reads_is_said_in_a_line(signed):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-m", "diffcomb", "info", signed], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"diffcomb: the result of {signed} was not printed: the program that reads the output has ended\n"
    )


def test_module_runs_as_a_program(signed):
    done = subprocess.run([sys.executable, "-m", "diffcomb", "info", str(signed)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "edges: 3" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way on Windows: not tried there")
@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("mode", ["w", "a"])
def test_output_to_stdout_is_the_table_alone_and_keeps_what_the_file_held(mode, signed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("precious\n")
    with log.open(mode) as stdout:
        command = [sys.executable, "-m", "diffcomb", "solve", str(signed), "-o", "/dev/stdout"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=True)
    lines = log.read_text().splitlines()
    assert lines[0] == ("node,cluster" if mode == "w" else "precious")
    assert all(line.count(",") == 1 for line in lines[mode == "a" :])
    assert "objective" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_result_that_cannot_be_printed_is_an_error_of_one_line(signed):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "diffcomb", "info", str(signed)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "was not printed: No space left" in done.stderr
    assert done.stderr.count("\n") == 1


def test_interrupt_keeps_the_best_solution(tmp_path):
    rng = np.random.default_rng(0)
    edges = np.stack(np.triu_indices(200, 1), axis=1)
    write(tmp_path / "dense.npz", Graph(200, edges), rng.normal(size=len(edges)))
    multicut(edges[:50], np.ones(50))  # compiled, so that the time limit is none of compilation
    program = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
         "from diffcomb.cli import main; print('ready', flush=True); sys.exit(main())",
         "solve", str(tmp_path / "dense.npz"), "--time-limit", "120", "-o", str(tmp_path / "c.csv")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout.readline() == "ready\n"
    time.sleep(8)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert "objective" in out
    assert "interrupted" in err.lower()
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 201
