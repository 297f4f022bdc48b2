"""The running mean of the weights: its formula, what it leaves alone, and that a resumed run keeps it."""

import json
import shutil

import pytest
import torch
import train
from cops.model.checkpoints import load_checkpoint
from cops.study.training import running_mean
from torch import nn

ARGUMENTS = [
    "--finetune.models=[single_mean,full_svm]",
    "--dataset.size=64",
    "--dataset.train=8",
    "--dataset.validation=2",
    "--dataset.test=2",
    "--model.distances=[1,4]",
    "--pretrain.steps=4",
    "--pretrain.batch=2",
    "--pretrain.warmup=1",
    "--finetune.steps=3",
    "--finetune.batch=2",
    "--finetune.evaluate_every=2",
    "--pictures=0",
    "--save_every=2",
    "--threads=1",
]
DECAYS = ["--single_mean.average=0.9", "--full_svm.average=0.9"]


def weights(out, name):
    return load_checkpoint(out / "checkpoints" / f"{name}.pt")["model"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run without running means, and one with them."""
    plain, averaged = (tmp_path_factory.mktemp(name) / "run" for name in ("plain", "averaged"))
    train.main([*ARGUMENTS, "--single_mean.average=0", f"--out={plain}"])
    scores = train.main([*ARGUMENTS, *DECAYS, f"--out={averaged}"])
    return plain, averaged, scores


@pytest.mark.parametrize("decay", [0.3, 0.98])
def test_running_mean_is_the_sum_with_these_decays(decay):
    """Against the sum written out: each step's weights, times what all later steps keep of them."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    mean, seen = running_mean(model, decay), []
    for _ in range(20):
        with torch.no_grad():
            for value in (*model.parameters(), model[1].running_mean, model[1].running_var):
                value.copy_(torch.rand(value.shape, generator=generator))
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        mean.update_parameters(model)
    kept = [min(decay, (1 + n) / (10 + n)) for n in range(20)]
    for name, found in mean.module.state_dict().items():
        if found.is_floating_point():
            share = [1.0 if n == 0 else 1 - kept[n] for n in range(20)]
            rest = [torch.tensor(kept[n + 1 :]).prod() for n in range(20)]
            expected = sum(s * r * values[name] for s, r, values in zip(share, rest, seen, strict=True))
            torch.testing.assert_close(found, expected)


def test_training_is_the_same_and_its_result_another(runs):
    plain, averaged, _ = runs
    losses = [
        [(e["stage"], e["step"], e["loss"]) for e in map(json.loads, (out / "log.jsonl").read_text().splitlines())
         if "loss" in e] for out in (plain, averaged)
    ]  # fmt: skip
    assert losses[0] == losses[1]
    assert {stage for stage, *_ in losses[0]} == {"baseline", "single_mean", "full_svm"}
    for name, same in (("baseline", True), ("single_mean", False), ("full_svm", False)):
        a, b = weights(plain, name), weights(averaged, name)
        assert all(torch.equal(a[k], b[k]) for k in a) == same


def test_interrupted_run_goes_on_with_its_mean(runs, tmp_path, monkeypatch):
    import cops.study.training as training

    _, averaged, scores = runs
    real, calls = training.save_atomically, []

    def failing(content, path):
        calls.append(path.name)
        if calls.count("single_mean.last.pt") == 3:
            raise OSError(28, "No space left on device")
        real(content, path)

    monkeypatch.setattr(training, "save_atomically", failing)
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, *DECAYS, f"--out={tmp_path / 'run'}"])
    monkeypatch.undo()
    content = load_checkpoint(tmp_path / "run" / "checkpoints" / "single_mean.last.pt")
    assert content["state"]["step"] == int(content["mean"]["n_averaged"]) == 4
    assert train.main([*ARGUMENTS, *DECAYS, f"--out={tmp_path / 'run'}"]) == scores
    a, b = weights(averaged, "single_mean"), weights(tmp_path / "run", "single_mean")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_settings_of_models_that_are_not_trained_yet_may_change(runs, tmp_path, capsys):
    plain, _, _ = runs
    shutil.copytree(plain, tmp_path / "run")
    again = [*ARGUMENTS, "--single_mean.average=0", f"--out={tmp_path / 'run'}"]
    train.main([*again, "--single_svm.average=0.5", "--full.weight=3"])
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["single_svm"]["average"], written["full"]["weight"]) == (0.5, 3.0)
    with pytest.raises(SystemExit):
        train.main([*again, "--full_svm.margin=2"])
    assert "other settings (full_svm.margin: 1.0 -> 2.0)" in capsys.readouterr().err


def test_decay_of_one_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, "--single_mean.average=1", f"--out={tmp_path / 'run'}"])
    assert "single_mean.average must be at least 0 and below 1, got 1.0" in capsys.readouterr().err
