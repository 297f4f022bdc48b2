"""Numbers out of their range are refused before anything is read or written, by the name that the user gave."""

import pytest
import train
from cops.config import Config, flat
from cops.ranges import _ranges, check_ranges

REFUSED = {
    "threads": (-1, "at least 1"),
    "seed": (-1, "between 0 and 2**63 - 1"),
    "save_every": (0, "at least 1"),
    "pictures": (-1, "at least 0, and finite"),
    "dataset.test": (0, "at least 1"),
    "dataset.shortest_edges": ([64, 0], "at least 1"),
    "dataset.brightness": (-1.0, "between 0 and 1"),
    "dataset.reject_things": (-5, "at least 0, and finite"),
    "model.distances": ([1, -2], "at least 1"),
    "pretrain.lr": (float("nan"), "above 0, and finite"),
    "pretrain.warmup": (-1, "at least 0, and finite"),
    "pretrain.ramp": (1.1, "between 0 and 1"),
    "pretrain.semantic_share": (0.0, "above 0 and at most 1"),
    "pretrain.affinity_share": (2.0, "above 0 and at most 1"),
    "finetune.evaluate_every": (0, "at least 1"),
    "full.lambda_low": (0.0, "above 0, and finite"),
    "full.lambda_high": (float("nan"), "above 0, and finite"),
    "full.num_lambdas": (0, "at least 1"),
    "full.dropout": (2.0, "at least 0 and below 1"),
    "full_svm.margin": (-1.0, "above 0, and finite"),
    "full_svm.head_lr": (float("inf"), "at least 0, and finite"),
    "control.body_lr": (-0.1, "at least 0, and finite"),
    "fenchel_young.sigma": (-1.0, "above 0, and finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_number_out_of_range_is_refused_before_anything_is_written(name, tmp_path, capsys):
    value, expected = REFUSED[name]
    with pytest.raises(SystemExit) as stopped:
        train.main(
            [f"--{name}={str(value).replace('nan', '.nan').replace('inf', '.inf')}", f"--out={tmp_path / 'run'}"]
        )
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"train.py: error: {name} must be {expected}, got {value}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model.distances=[]", "model.distances must hold at least one distance, got []"),
        ("--model.distances=[1,4,1]", "model.distances must differ from each other, got [1, 4, 1]"),
        (
            "--full_svm.means_until=0.5",
            "full_svm.means_until is for models that are trained from scratch, got 0.5: set it to 0",
        ),
        ("--full.lambda_high=10", "full.lambda_high must be at least full.lambda_low=1000.0, got 10.0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(argument, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main([argument, f"--out={tmp_path / 'run'}"])
    assert capsys.readouterr().err == f"train.py: error: {message}\n"


def test_every_number_of_the_settings_has_a_range_or_a_check_of_its_own():
    numbers = {k for k, v in flat(Config()).items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    ranges = {name for name, _ in _ranges()}
    assert numbers - ranges == {"dataset.gap"}  # the splits check it
    assert ranges <= flat(Config()).keys()
    check_ranges(Config().resolved())
