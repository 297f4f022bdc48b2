"""The EM volume example: what it draws, gathers and scores against loops, and a short run that is resumed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcomb.io import save_array

FOLDER = Path(__file__).parent.parent / "examples" / "em_volume"


@pytest.fixture(scope="module")
def example():
    """The example's modules, whose names (train, network) belong to it alone."""
    names = ("network", "segmentation", "train", "volumes")
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(FOLDER))
    try:
        import network
        import segmentation
        import train
        import volumes

        yield {"network": network, "segmentation": segmentation, "train": train, "volumes": volumes}
    finally:
        sys.path.remove(str(FOLDER))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


@pytest.fixture(scope="module")
def small(example):
    return example["volumes"].draw((56, 48, 48), seed=1)


def test_drawn_volume_has_touching_cells_with_dark_membranes(small):
    assert small.raw.dtype == np.float32
    assert 0 <= small.raw.min() < small.raw.max() <= 1
    assert len(np.unique(small.truth)) > 10
    boundary = small.truth[:, :, 1:] != small.truth[:, :, :-1]
    assert small.raw[:, :, 1:][boundary].mean() < small.raw[:, :, 1:][~boundary].mean() - 0.1


def test_far_pairs_are_those_of_a_loop(example):
    seg, rng = example["segmentation"], np.random.default_rng(0)
    labels = rng.integers(0, 9, (5, 9, 9))
    p = rng.random((len(seg.OFFSETS), *labels.shape)).astype(np.float32)
    found = seg.regions_of(labels, p)
    graph = found.graph
    touching = {tuple(e) for e in graph.graph.edges.tolist()}
    expected = {}
    for c in range(seg.NEAR, len(seg.OFFSETS)):
        for place in np.ndindex(labels.shape):
            other = tuple(np.add(place, seg.OFFSETS[c]))
            if all(o < n for o, n in zip(other, labels.shape, strict=True)):
                pair = tuple(sorted((int(graph.numbers[place]), int(graph.numbers[other]))))
                if pair[0] != pair[1] and pair not in touching:
                    expected.setdefault(pair, []).append(p[(c, *place)])
    assert {tuple(e) for e in found.far.tolist()} == set(expected)
    for pair, mean, count in zip(found.far.tolist(), found.far_mean, found.far_count, strict=True):
        assert count == len(expected[tuple(pair)])
        assert mean == pytest.approx(np.mean(expected[tuple(pair)]), rel=1e-5)


def test_true_affinities_give_the_true_cells(example, small):
    from diffcomb import affinities

    seg = example["segmentation"]
    p = affinities(small.truth, seg.OFFSETS)[0].clip(0.02, 0.98)
    finer = small.truth * 16 + np.arange(48) // 12 * 4 + (np.arange(56) // 14)[:, None, None]
    regions = seg.regions_of(finer, p)
    for method in seg.METHODS.values():
        scores = seg.scores(small.truth, regions.graph.project(method(regions, 0.5)))
        assert scores["VI"] < 0.05


def test_supervoxels_lie_within_cells(example, small):
    seg = example["segmentation"]
    from diffcomb import affinities

    p = 0.1 + 0.8 * affinities(small.truth, seg.OFFSETS)[0]
    scores = seg.scores(small.truth, seg.supervoxels(p))
    assert scores["VI merge"] < 2
    assert len(np.unique(seg.supervoxels(np.ones_like(p)))) == 1


def test_scores_are_zero_for_the_truth_and_count_splits_and_mergers_apart(example, small):
    scores = example["segmentation"].scores
    truth = small.truth
    assert scores(truth, truth) == pytest.approx({"VI split": 0, "VI merge": 0, "VI": 0, "ARE": 0}, abs=1e-9)
    split = truth * 2 + (np.arange(48) < 24)
    assert scores(truth, split)["VI merge"] == pytest.approx(0, abs=1e-9)
    assert scores(truth, split)["VI split"] > 0.1
    assert scores(truth, truth // 2)["VI split"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["cross-entropy", "MALIS", "structured SVM"])
def test_every_loss_falls_on_one_crop(example, small, name):
    network = example["network"]
    torch.manual_seed(0)
    net = network.Network()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    raw, truth = small.raw[:8, :24, :24], small.truth[:8, :24, :24]
    losses = []
    for _ in range(8):
        loss = network.LOSSES[name](net(torch.from_numpy(raw.copy())[None, None])[0], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.98 * losses[0]


def test_prediction_in_tiles_covers_any_size(example):
    network = example["network"]
    torch.manual_seed(0)
    raw = np.random.default_rng(0).random((35, 30, 41)).astype(np.float32)
    out = network.predict(network.Network(), raw)
    assert out.shape == (len(network.OFFSETS), *raw.shape)
    assert np.isfinite(out).all()


def test_short_run_writes_table_and_picture_and_is_resumed(example, small, tmp_path, capsys):
    path = tmp_path / "small.npz"
    np.savez(path, raw=(small.raw * 255).astype(np.uint8), groundtruth=small.truth.astype(np.uint16),
             supervoxels=(small.truth * 4 + np.arange(48) // 12).astype(np.uint16))  # fmt: skip
    arguments = ["--volume", str(path), "--steps", "[2, 1, 1]", "--out", str(tmp_path / "out")]
    example["train"].main(arguments)
    said = capsys.readouterr().out
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("lifted multicut") == 3
    assert (tmp_path / "out" / "picture.png").stat().st_size > 1000
    assert str(tmp_path / "out" / "table.md") in said
    example["train"].main(arguments)
    assert (tmp_path / "out" / "table.md").read_text() == table
    checkpoints = sorted((tmp_path / "out").glob("*.pt"))
    assert len(checkpoints) == 3
    checkpoints[-1].write_bytes(b"")
    capsys.readouterr()
    example["train"].main(arguments)
    assert f"{checkpoints[-1]} is damaged (EOFError): this stage is trained again" in capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text() == table
    corrected = np.where(small.truth == small.truth.max(), 1, small.truth)  # what others are trained on
    np.savez(path, raw=(small.raw * 255).astype(np.uint8), groundtruth=corrected)
    example["train"].main(["--volume", str(path), "--steps", "[0, 0, 0]", "--out", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").glob("*.pt"))) == 6


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_volumes_of_other_formats_are_those_of_npz(example, small, tmp_path, suffix):
    arrays = dict(raw=small.raw, groundtruth=small.truth, supervoxels=small.truth * 2)
    np.savez(tmp_path / "a.npz", **arrays)
    for name, array in arrays.items():
        save_array(f"{tmp_path}/a{suffix}:{name}", array)
    expected, found = (example["volumes"].read(tmp_path / f"a{kind}") for kind in (".npz", suffix))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def bad_volume(raw=None, truth=None):
    """A volume of the smallest size in which one array is wrong."""
    grey = np.random.default_rng(0).random((48, 24, 24))
    return dict(
        raw=grey if raw is None else raw(grey), groundtruth=np.ones(grey.shape, int) if truth is None else truth
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"PK\x03\x04 and then nothing", "bad.npz: the file is damaged"),
        (dict(raw=np.zeros((30, 30, 30))), "must hold arrays raw and groundtruth"),
        (dict(raw=np.zeros((30, 30, 30)), groundtruth=np.zeros((30, 30, 29), int)), "need one shape"),
        (dict(raw=np.zeros((40, 30, 30)), groundtruth=np.zeros((40, 30, 30), int)), "at least"),
        (dict(raw=np.zeros((48, 30, 30)), groundtruth=np.zeros((48, 30, 30))), "labels integers"),
        (bad_volume(lambda grey: grey.astype(str)), "raw must hold finite numbers"),
        (bad_volume(lambda grey: grey * 1j), "raw must hold finite numbers"),
        (bad_volume(lambda grey: grey * np.inf), "raw must hold finite numbers"),
        (bad_volume(lambda grey: -grey), "raw must hold finite numbers"),
        (bad_volume(lambda grey: grey * 0 + 1), "raw must hold finite numbers"),
        (bad_volume(truth=np.zeros((48, 24, 24), int)), "and groundtruth segments"),
        (bad_volume(truth=np.full((48, 24, 24), 2**63, np.uint64)), "labels integers from 0 on and below 2^63"),
        (bad_volume(truth=np.full((48, 24, 24), -1)), "labels integers from 0 on and below 2^63"),
    ],
)
def test_bad_volumes_are_named(example, tmp_path, capsys, content, message):
    path = tmp_path / "bad.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(SystemExit, match="2"):
        example["train"].main(["--volume", str(path), "--out", str(tmp_path / "out")])
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "bad.npz" in error


@pytest.mark.parametrize(
    ("option", "value"), [("--seed", "-1"), ("--seed", str(2**63)), ("--steps", "[1, 2]"), ("--out", "FILE")]
)
def test_bad_options_are_named(example, tmp_path, capsys, option, value):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        example["train"].main([option, value.replace("FILE", str(tmp_path / "file"))])
    assert (option if option != "--out" else str(tmp_path)) in capsys.readouterr().err


def test_sparse_ids_are_numbered_and_arrays_may_lie_the_other_way_round(example, tmp_path):
    rng = np.random.default_rng(0)
    raw, truth = rng.random((48, 24, 24)), rng.integers(0, 4, (48, 24, 24))
    sparse = np.array([0, 7, 5_813_027_016, 2**62])[truth]
    np.savez(tmp_path / "v.npz", raw=raw.T.copy().T, groundtruth=sparse.T.copy().T)
    found = example["volumes"].read(tmp_path / "v.npz")
    np.testing.assert_array_equal(found.truth, truth)
    assert all(array.flags.c_contiguous for array in (found.raw, found.truth))
    np.savez(tmp_path / "v.npz", raw=raw, groundtruth=sparse + 1)  # no background
    np.testing.assert_array_equal(example["volumes"].read(tmp_path / "v.npz").truth, truth + 1)
