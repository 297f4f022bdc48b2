"""The benchmark at the size of the paper, in miniature: every case gives its row, and an interrupted one resumes."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cops.data.samples import unique
from cops.data.targets import Targets
from make_streets import draw

from benchmarks import paper_size
from diffcomb import get_num_threads, set_num_threads


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads(), get_num_threads()
    torch.set_num_threads(1)
    set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    set_num_threads(before[1])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    draw(folder, 3, 2, (64, 128), 0)
    return folder


@pytest.fixture
def options(root, tmp_path):
    return SimpleNamespace(
        size="64x128", images=3, steps=2, part=1, batch=2, backbone="small", threads=1, device="cpu", root=root,
        work=tmp_path / "work", out=tmp_path / "out",
    )  # fmt: skip


def test_every_case_times_its_parts(options):
    parts = {
        "pretrain": ("samples", "network", "loss", "network backward", "optimiser"),
        "control_mean": ("samples", "network", "loss", "network backward", "optimiser"),
        "full": ("samples", "network", "AMWC", "surrogate", "MWC", "network backward", "optimiser"),
        f"full{paper_size.NEAR}": ("samples", "network", "AMWC", "surrogate", "MWC", "network backward", "optimiser"),
        "full_svm": ("samples", "network", "AMWC", "network backward", "optimiser"),
        f"full_svm{paper_size.NEAR}": ("samples", "network", "AMWC", "network backward", "optimiser"),
        "predict 1/4": ("network", "interpolation", "AMWC", "reading segments"),
        "predict 1": ("network", "interpolation", "AMWC", "reading segments"),
    }
    assert set(parts) | {"control", f"full{paper_size.SHARED}"} == set(paper_size.all_cases())
    for case, names in parts.items():
        row = paper_size.measure(case, options)
        assert all(row[name] > 0 for name in names), case
        assert row["all"] == pytest.approx(sum(row[name] for name in names)), case
        assert row["started from"] == ("" if case == "pretrain" else "pretrain")
        assert row["peak, GiB"] > 0.1
        assert row["crops"] == (1 if case in paper_size.PREDICT else 2)


def test_two_processes_share_the_crops_of_a_step(options):
    command = paper_size._command(f"full{paper_size.SHARED}", options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["crops"] == 2
    assert row["averaging"] > 0
    assert len(done.stdout.splitlines()) == 1  # of the first process
    assert not list(options.work.glob("*.partial.pt"))


def test_interrupted_case_resumes_after_its_last_step(options, monkeypatch):
    expected = paper_size.training("pretrain", options)
    weights = torch.load(options.work / "checkpoints" / "pretrain.pt", weights_only=True)["model"]
    (options.work / "checkpoints" / "pretrain.pt").unlink()
    calls = []

    def interrupted(run, stage, stride, number):
        calls.append(number)
        if number == 1 and calls == [0, 1]:
            raise KeyboardInterrupt
        return parts_of_step(run, stage, stride, number)

    parts_of_step = paper_size.parts_of_step
    monkeypatch.setattr(paper_size, "parts_of_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        paper_size.training("pretrain", options)
    row = paper_size.training("pretrain", options)
    assert calls == [0, 1, 1]
    assert row["first loss"] == expected["first loss"]
    assert set(row) == set(expected)
    again = torch.load(options.work / "checkpoints" / "pretrain.pt", weights_only=True)["model"]
    assert not list(options.work.glob("*.partial.pt"))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert row["last loss"] == expected["last loss"]


def test_command_writes_its_table_skips_what_is_measured_and_refuses_other_settings(options, monkeypatch, capsys):
    arguments = [f"--{k}={v}" for k, v in vars(options).items()]
    measured = []

    def run(command, **_):
        measured.append(command[-1])
        row = {"case": command[-1], "crops": 2, "all": 1.5, "peak, GiB": 2.0}
        return SimpleNamespace(
            stdout=f"a line of something else\n{json.dumps(row)}\n", returncode=command[-1] == "control"
        )

    monkeypatch.setattr(paper_size, "subprocess", SimpleNamespace(run=run, PIPE=None))
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *arguments, "--cases", "full", "pretrain"])
    paper_size.main()
    assert measured == ["full", "pretrain"]
    assert [r["case"] for r in json.loads((options.out / "paper_size.json").read_text())["rows"]] == [
        "pretrain",
        "full",
    ]
    text = (options.out / "paper_size.md").read_text()
    assert "`python benchmarks/paper_size.py --size 64x128 --images 3 --steps 2" in text
    assert "| pretrain | 2 | 1.50 | 2.00 |" in text
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *arguments, "--cases", "full", "predict 1"])
    paper_size.main()
    assert measured == ["full", "pretrain", "predict 1"]
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *arguments, "--cases", "control"])
    with pytest.raises(SystemExit, match="'control' has failed; rerun the same command"):
        paper_size.main()
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *arguments, "--part=2"])
    with pytest.raises(SystemExit, match=r"other settings .*choose another --out"):
        paper_size.main()


def test_configuration_is_that_of_the_paper(options):
    full = SimpleNamespace(**{**vars(options), "size": "1024x2048", "batch": None, "backbone": "resnet50"})
    c = paper_size.configured(full)
    assert (c.dataset.size, c.pretrain.batch, c.finetune.batch, c.finetune.accumulate) == ([512, 1024], 12, 24, 24)
    assert c.dataset.shortest_edges[0::48] == [512, 2048]
    assert (c.model.backbone, c.model.distances, c.full.num_lambdas) == ("resnet50", [1, 4, 16, 32, 64, 128], 5)
    assert not c.amp  # on a CPU
    small = paper_size.configured(options)
    assert (small.dataset.size, small.dataset.shortest_edges[0::48]) == ([32, 64], [32, 128])


def test_costs_near_the_truth_pass_gradients_on():
    labels = torch.tensor([[[0, 1], [1, -1]]])
    cut = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]).repeat(1, 2, 1, 1)
    costs = torch.zeros(1, 2, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, 2, requires_grad=True)
    none = torch.zeros(0)
    classes, edges = paper_size.near_truth(costs, Targets(labels, none, none, cut, none))
    classes.sum().backward()
    edges.sum().backward()
    assert all((c.grad == 1).all() for c in costs)
    again = paper_size.near_truth(costs, Targets(torch.where(labels < 0, -1, 1 - labels), none, none, 1 - cut, none))
    torch.testing.assert_close(
        classes[0, 0, 0, 0], again[0][0, 0, 0, 0] - 2 * paper_size.MARGIN
    )  # its own class costs less
    torch.testing.assert_close(
        edges[0, 0, 0, 0], again[1][0, 0, 0, 0] + 2 * paper_size.MARGIN
    )  # an edge within a segment joins


@pytest.mark.parametrize("values", [
    np.array([[3, 0], [7, 3]]), np.array([[-1, 5]]), np.array([[2**40, 1, 2**40]]), np.zeros((0, 3), np.int64),
])  # fmt: skip
def test_different_values_are_those_that_numpy_finds(values):
    expected, inverse = np.unique(values, return_inverse=True)
    found, places = unique(values)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(places, inverse.reshape(values.shape))
