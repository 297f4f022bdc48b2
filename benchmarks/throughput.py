"""Seconds for each step of training through the solver, with threads, processes, and solves during the network's work.

python benchmarks/throughput.py
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from report import save
from tqdm import tqdm

from diffcomb import get_num_threads

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "panoptic_cops"
sys.path.insert(0, str(EXAMPLE))

from cops import parallel  # noqa: E402
from cops.config import Config, Dataset  # noqa: E402
from cops.data.splits import load_splits  # noqa: E402
from cops.model.checkpoints import load_checkpoint  # noqa: E402
from cops.study.run import Run, RunLog  # noqa: E402
from cops.study.stages import finetune  # noqa: E402

SHORT, LONG = 2, 10  # steps of two runs; their difference leaves out the work before and after the steps


def modes(cores: int) -> dict[str, tuple[int, int, int, bool]]:
    """Processes, threads of each, parts of a step, and whether a part is solved while the network computes the next."""
    return {
        "one process, one thread": (1, 1, 1, False),
        f"one process, {cores} threads": (1, cores, 1, False),
        "the same, two parts a step": (1, cores, 2, False),
        "the same, solved beside the network": (1, cores, 2, True),
        f"{cores} processes (torchrun), one thread each": (cores, 1, 1, False),
    }


def seconds_of(mode: tuple[int, int, int, bool], model: str, steps: int) -> float:
    """Seconds that `steps` steps of the second stage take, from the baseline in the repository."""
    processes, *settings = mode
    with tempfile.TemporaryDirectory() as out:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), __file__, "--work", out, model, str(steps)]
        command += [str(int(s)) for s in settings]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        return float(load_checkpoint(Path(out) / "checkpoints" / f"{model}.pt")["seconds"])


def work(out: str, model: str, *numbers: str) -> None:
    """Train in one process."""
    steps, threads, parts, beside = (int(n) for n in numbers)
    torch.set_num_threads(threads)
    parallel.start("cpu")
    config = Config(out=out, dataset=Dataset(test=2, validation=2)).resolved()
    finetuning = replace(config.finetune, steps=steps, accumulate=parts, overlap=bool(beside), evaluate_every=steps)
    config = replace(config, finetune=finetuning)
    with RunLog(Path(out)) as log:
        run = Run(config, load_splits(config), Path(out), torch.device("cpu"), log)
        if parallel.rank() == 0:
            run.checkpoint("baseline").parent.mkdir()
            shutil.copy(EXAMPLE / "checkpoints" / "scenes_baseline.pt", run.checkpoint("baseline"))
        parallel.wait()
        finetune(run, model, getattr(config, model))
    parallel.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["full", "full_svm"])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(*options.work)
    cores = get_num_threads()
    cases = [(model, name) for model in options.models for name in modes(cores)]
    rows: list[dict[str, object]] = []
    for model, name in tqdm(cases, desc="training"):
        short, long = (seconds_of(modes(cores)[name], model, steps) for steps in (SHORT, LONG))
        each = (long - short) / (LONG - SHORT)
        first = next((row["seconds a step"] for row in rows if row["model"] == model), each)
        rows.append({"model": model, "how": name, "seconds a step": each, "times as fast": float(first) / each})  # type: ignore[arg-type]
    config = Config().resolved()
    size, batch = config.dataset.size, config.finetune.batch
    note = f"Scenes, batches of {batch} images of {size}x{size} pixels, from the checkpoint in the repository; "
    note += f"{cores} cores."
    save("throughput", "## Seconds a step of training through the solver", rows, options.out, note)


if __name__ == "__main__":
    main()
