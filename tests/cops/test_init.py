"""Training from a checkpoint with other classes and distances: what is kept, what is fresh, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import train
from cops.config import Config, Model
from cops.data.samples import Category
from cops.files import save_atomically
from cops.model.checkpoints import CheckpointError, load_checkpoint, make_segmenter
from cops.model.initial import take_weights
from cops.study import training
from PIL import Image

NAMES = ("floor", "cell", "wall")


def categories(*names):
    return tuple(Category(i, name, name == "cell", (0, 0, 0)) for i, name in enumerate(names, start=1))


def made(names, distances, backbone="small", seed=0):
    """A model with weights, statistics, scales and offsets of its own."""
    torch.manual_seed(seed)
    model = make_segmenter(Config(model=Model(backbone=backbone, distances=distances)).resolved(), categories(*names))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and ("running" in name or "scaling" in name):
                value.uniform_(0.5, 1.5)
    return model.eval()


def saved(model, path, backbone="small", **more):
    config = Config(model=Model(backbone=backbone, distances=model.distances))
    rows = [vars(c) for c in model.categories]
    save_atomically({"model": model.state_dict(), "config": config.to_dict(), "categories": rows, **more}, path)
    return path


@pytest.mark.parametrize("backbone", ["small", "efficientnet_lite0"])
def test_same_classes_and_distances_give_equal_weights(tmp_path, backbone):
    old, new = (made(NAMES, [1, 4], backbone, seed) for seed in (0, 1))
    taken = take_weights(new, backbone, saved(old, tmp_path / "a.pt", backbone))
    for (name, a), b in zip(old.state_dict().items(), new.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert taken.classes == (list(NAMES), [], [])
    assert taken.distances == ([1, 4], [], [])


@pytest.mark.parametrize("backbone", ["small", "efficientnet_lite0"])
def test_network_computes_the_same_costs_when_classes_and_distances_change_places(tmp_path, backbone):
    """The affinity head sees the class costs, so its input channels have to change places too."""
    old, new = made(NAMES, [1, 2, 4], backbone), made(("wall", "floor", "cell"), [4, 1, 2], backbone, 1)
    take_weights(new, backbone, saved(old, tmp_path / "a.pt", backbone))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = (model.scaling(model.network(images)) for model in (old, new))
    torch.testing.assert_close(b[0], a[0][:, [2, 0, 1]])
    torch.testing.assert_close(b[1], a[1].unflatten(1, (3, 2))[:, [2, 0, 1]].flatten(1, 2))


@pytest.mark.parametrize("backbone", ["small", "efficientnet_lite0"])
def test_other_classes_and_distances_keep_what_fits_and_the_rest_is_fresh(tmp_path, backbone):
    old, new = made(NAMES, [1, 2, 4], backbone), made(("new", "cell"), [8, 2], backbone, 1)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    taken = take_weights(new, backbone, saved(old, tmp_path / "a.pt", backbone))
    assert taken.classes == (["cell"], ["new"], ["floor", "wall"])
    assert taken.distances == ([2], [8], [1, 4])
    assert "kept: 'cell'; fresh: 'new'; only in the checkpoint: 'floor', 'wall'" in str(taken)
    before, after = old.state_dict(), new.state_dict()
    last = max(
        k for k in after if k.startswith("network.semantic_head") and k.endswith("weight") and after[k].ndim == 4
    )
    for name in (last, last.replace("weight", "bias"), "scaling.class_offset"):
        assert torch.equal(after[name][1], before[name][1])  # cell
        assert torch.equal(after[name][0], fresh[name][0])  # new
    depthwise = "network.affinity_head.0.0.0.weight"
    for name in [depthwise, "network.affinity_head.0.0.1.running_mean"] if backbone != "small" else []:
        width = len(after[name]) - 2
        assert torch.equal(after[name][:width], before[name][:width])
        assert torch.equal(after[name][-1], before[name][-2])
        assert torch.equal(after[name][-2], fresh[name][-2])
    joined = "network.affinity_head.0.0.weight" if backbone == "small" else "network.affinity_head.0.1.0.weight"
    width = after[joined].shape[1] - 2
    assert torch.equal(after[joined][:, :width], before[joined][:, :width])
    assert torch.equal(after[joined][:, -1], before[joined][:, -2])
    assert torch.equal(after[joined][:, -2], fresh[joined][:, -2])
    for name in after:
        if name.startswith("network.classifiers.0."):
            assert torch.equal(after[name], fresh[name])  # distance 8
        elif name.startswith("network.classifiers.1."):
            assert torch.equal(after[name], before[name])  # distance 2
        elif name.startswith(("network.backbone", "network.semantic_decoder", "network.affinity_decoder")):
            assert torch.equal(after[name], before[name])
    assert torch.equal(
        after["scaling.edge_scale"], torch.stack([fresh["scaling.edge_scale"][0], before["scaling.edge_scale"][1]])
    )
    assert torch.equal(after["scaling.class_scale"], before["scaling.class_scale"])


def test_statistics_of_batch_norm_are_taken(tmp_path):
    old, new = made(NAMES, [1]), made(("new",), [1], seed=1)
    take_weights(new, "small", saved(old, tmp_path / "a.pt"))
    names = [name for name in new.state_dict() if "running" in name]
    assert names
    assert all(torch.equal(new.state_dict()[name], old.state_dict()[name]) for name in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["model"].update(backbone="resnet50"),
         "a.pt has the backbone 'resnet50', and this run 'small': pass --model.backbone resnet50"),
        (lambda c: c.update(optimizer={}), "belongs to an unfinished stage"),
        (lambda c: c.pop("categories"), "the key 'categories' is missing"),
        (lambda c: c["model"].pop("scaling.class_scale"), "the key 'scaling.class_scale' is missing"),
        (lambda c: c["model"].update({"network.more": torch.zeros(1)}), "network.more is unknown"),
        (lambda c: c["model"].update({"scaling.class_offset": torch.zeros(1)}), "has the shape .1., and .3. was expected"),
        (lambda c: c["model"].update({"scaling.class_scale": torch.zeros(1)}), "has the shape .1., and .. was expected"),
    ],
)  # fmt: skip
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, change, message):
    path = saved(made(NAMES, [1]), tmp_path / "a.pt")
    content = load_checkpoint(path)
    change(content)
    save_atomically(content, path)
    with pytest.raises(CheckpointError, match=message):
        take_weights(made(NAMES, [1]), "small", path)


ARGUMENTS = [
    "--data=folder", "--dataset.size=16", "--dataset.validation=1", "--model.distances=[1,2]", "--pretrain.steps=4",
    "--pretrain.batch=2", "--finetune.steps=2", "--finetune.batch=2", "--finetune.evaluate_every=1", "--pictures=0",
    "--save_every=1", "--threads=1",
]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """Six images of floor, cells and a class that the checkpoint lacks."""
    folder = tmp_path / "data"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    classes = [{"id": i, "name": n, "isthing": n == "cell"} for i, n in ((1, "floor"), (2, "cell"), (3, "dust"))]
    (folder / "classes.json").write_text(json.dumps({"classes": classes}))
    for i in range(6):
        labels = np.full((16, 16), 1, np.uint16)
        labels[4:10, 2 + i : 8 + i], labels[12:] = 2001, 3
        Image.fromarray(labels).save(folder / "labels" / f"{i}.png")
        Image.fromarray((labels % 250).astype(np.uint8)).save(folder / "images" / f"{i}.png")
    return folder


@pytest.fixture
def initial(tmp_path):
    return saved(made(NAMES, [1, 4]), tmp_path / "other" / "baseline.pt")


def command(root, out, initial, *more):
    models = "--finetune.models=[single_mean,control_mean]"
    return [*ARGUMENTS, models, f"--root={root}", f"--out={out}", f"--init={initial}", *more]


def weights(out, name):
    return load_checkpoint(out / "checkpoints" / f"{name}.pt")["model"]


def refused(arguments, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_run_begins_with_the_checkpoint_says_so_and_resumes(root, initial, tmp_path, monkeypatch, capsys):
    """Models from scratch begin with it; a run that a full disk stopped in each stage ends as an uninterrupted one."""
    metrics = train.main(command(root, tmp_path / "a", initial))
    said = capsys.readouterr().out
    assert f"first weights from {initial}" in said
    assert "kept: 'floor', 'cell'; fresh: 'dust'; only in the checkpoint: 'wall'" in said
    assert "kept: 1; fresh: 2; only in the checkpoint: 4" in said
    record = json.loads((tmp_path / "a" / "init.json").read_text())
    assert record["classes"] == {"kept": ["floor", "cell"], "fresh": ["dust"], "unused": ["wall"]}
    assert json.loads((tmp_path / "a" / "config.json").read_text())["init"] == str(initial)
    real, calls = training.save_atomically, []

    def full(content, path):
        calls.append(path)
        if len(calls) in (3, 8):
            raise OSError(28, "No space left on device")
        real(content, path)

    monkeypatch.setattr(training, "save_atomically", full)
    for _ in range(2):
        assert "No space left" in refused(command(root, tmp_path / "b", initial), capsys)
    assert train.main(command(root, tmp_path / "b", initial)) == metrics
    for name in ("baseline", "single_mean", "control_mean"):
        a, b = weights(tmp_path / "a", name), weights(tmp_path / "b", name)
        assert all(torch.equal(a[k], b[k]) for k in a)
    initial.unlink()
    assert train.main(command(root, tmp_path / "b", initial)) == metrics  # all is trained: it is no longer needed


def test_first_step_of_every_model_from_scratch_starts_at_the_checkpoint(root, initial, tmp_path, capsys):
    """At a rate of almost zero, the trained backbone is that of the checkpoint, and not the one of the seed."""
    train.main(command(root, tmp_path / "a", initial, "--pretrain.lr=1e-12", "--finetune.models=[single_mean]"))
    expected = load_checkpoint(initial)["model"]
    found = weights(tmp_path / "a", "single_mean")
    chosen = [n for n in expected if n.startswith("network.backbone") and "running" not in n and "num_" not in n]
    assert all(torch.allclose(found[n], expected[n], atol=1e-6) for n in chosen)
    last = max(n for n in expected if n.startswith("network.semantic_head") and n.endswith("bias"))
    assert torch.allclose(found[last][:2], expected[last][:2], atol=1e-6)
    capsys.readouterr()


def test_another_checkpoint_for_a_run_that_exists_is_refused(root, initial, tmp_path, capsys):
    out = tmp_path / "run"
    train.main(command(root, out, initial, "--finetune.models=[]"))
    other = saved(made(NAMES, [1, 4], seed=3), tmp_path / "c.pt")
    assert f"other settings (init: {initial} -> {other})" in refused(command(root, out, other), capsys)
    assert "init: " in refused([a for a in command(root, out, other) if "init" not in a], capsys)
    saved(made(NAMES, [1, 4], seed=3), initial)  # the same name with other content, and a model is still to be trained
    error = refused(command(root, out, initial), capsys)
    assert f"{initial} has changed since the run in {out} began with it: give another --out, or --overwrite" in error
    (out / "init.json").write_text("{}")
    assert "init.json is corrupt" in refused(command(root, out, initial), capsys)


@pytest.mark.parametrize("content", [b"import torch", b"", b"PK\x03\x04"])
def test_file_that_is_no_checkpoint_is_refused_without_advice_of_torch(content, root, tmp_path, capsys):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    error = refused(command(root, tmp_path / "run", path), capsys)
    assert f"{path} is corrupt, or not one of this program (" in error
    assert error.endswith("); --init takes a finished checkpoint of a run, such as checkpoints/baseline.pt\n")
    assert "weights_only" not in error
    assert len(error) < 300 + len(str(path))


def test_checkpoint_that_the_run_would_delete_and_two_sources_of_weights_are_refused(root, initial, tmp_path, capsys):
    out = tmp_path / "run"
    own = saved(made(NAMES, [1, 4]), out / "checkpoints" / "baseline.pt")
    assert "lies in the folder of this run: give another --out" in refused(
        command(root, out, own, "--overwrite"), capsys
    )
    assert own.exists()
    error = refused(command(root, tmp_path / "b", initial, "--model.backbone_weights=w.pth"), capsys)
    assert "holds weights of the backbone too" in error
    assert "does not exist" in refused(command(root, tmp_path / "b", tmp_path / "none.pt"), capsys)
    assert not (tmp_path / "b").exists()
    assert replace(Config(), init="a.pt").resolved().init == "a.pt"
