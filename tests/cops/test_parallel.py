"""Two gloo processes: synchronised statistics of the surrogate and of exact PQ, averaged gradients, a whole run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train
from cops import parallel
from cops.surrogate import PanopticQualitySurrogate
from torch import distributed, multiprocessing

EXAMPLE = Path(train.__file__).parent
SURROGATE = PanopticQualitySurrogate(torch.tensor([4.0, 4.0]), 1.0)


def batch():
    g = torch.Generator().manual_seed(0)
    masks = torch.softmax(torch.randn(4, 3, 6, 6, generator=g), 1)
    classes = torch.tensor([[0, 1, 1]]).expand(4, 3)
    return masks, classes, torch.randint(0, 4, (4, 6, 6), generator=g)


def loss_of(part, scale):
    masks, classes, truth = (t[part] for t in batch())
    return SURROGATE(masks * torch.sigmoid(scale), classes, truth)


def worker(rank, address, results):
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    scale = torch.tensor(0.3, requires_grad=True)
    loss = loss_of(slice(2 * rank, 2 * rank + 2), scale)
    loss.backward()
    other = torch.zeros(2, requires_grad=True)  # one process alone has a gradient for it
    if rank == 0:
        other.sum().backward()
    parallel.average_gradients([scale, other])
    results[rank] = (loss.item(), scale.grad.item(), other.grad.tolist(), parallel.rank(), parallel.world())
    distributed.destroy_process_group()


def test_two_processes_compute_the_loss_and_gradient_of_one(tmp_path):
    """Numerators and denominators are summed before they are divided, so halves of a batch are the batch."""
    scale = torch.tensor(0.3, requires_grad=True)
    loss = loss_of(slice(0, 4), scale)
    loss.backward()
    results = multiprocessing.get_context("spawn").Manager().dict()  # JAX of another test may run threads: no fork
    multiprocessing.spawn(worker, (str(tmp_path / "group"), results), nprocs=2)
    for rank in range(2):
        found, gradient, other, *who = results[rank]
        assert found == pytest.approx(loss.item(), rel=1e-6)
        assert gradient == pytest.approx(scale.grad.item(), rel=1e-5)
        assert other == [0.5, 0.5]
        assert who == [rank, 2]


def test_torchrun_trains_and_writes_one_run(tmp_path):
    """Two processes, every stage, and scores that one process finds again."""
    arguments = ["--dataset.train=8", "--dataset.validation=3", "--dataset.test=5", "--model.distances=[1,4]",
                 "--pretrain.steps=2", "--pretrain.batch=4", "--finetune.steps=2", "--finetune.batch=4",
                 "--finetune.evaluate_every=1", "--finetune.search=2", "--pictures=1", "--threads=1",
                 f"--out={tmp_path / 'run'}"]  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node=2",
               f"--rdzv-endpoint=localhost:{20000 + os.getpid() % 20000}", str(EXAMPLE / "train.py"), *arguments]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines if json.loads(x)["stage"] == "baseline"] == [1, 2]
    (tmp_path / "run" / "metrics.json").unlink()
    again = train.main(arguments)
    for name, scores in metrics.items():
        assert again[name] == pytest.approx(scores, abs=1e-9)
