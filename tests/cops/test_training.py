"""Both stages for a few steps, resume after a kill, and the gradient itself: descent on costs raises exact PQ."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import evaluate
import export_onnx
import numpy as np
import predict
import pytest
import torch
import train
from cops.config import Config, Dataset, Finetune, Model, Pretrain
from cops.data.scenes import Scenes
from cops.data.splits import load_splits
from cops.data.targets import make_targets
from cops.files import save_atomically
from cops.model.checkpoints import CheckpointError, load_checkpoint, load_model
from cops.model.segmenter import Segmenter
from cops.recipes import LOSSES, Objective
from cops.scores.quality import PanopticQuality
from cops.study.run import Run, RunLog
from cops.study.stages import finetune
from cops.study.threads import ahead, backward_pipelined
from cops.surrogate import PanopticQualitySurrogate
from PIL import Image

from diffcomb import Blackbox, Uniform

EXAMPLE = Path(train.__file__).parent


def tiny(out, **changes):
    return Config(
        dataset=Dataset(size=64, train=12, validation=3, test=4),
        model=Model(distances=[1, 4]),
        pretrain=Pretrain(steps=5, batch=2, warmup=2),
        finetune=Finetune(steps=4, batch=2, evaluate_every=2, search=3),
        out=str(out),
        pictures=1,
        save_every=2,
        threads=1,
        **changes,
    ).resolved()


MODELS = ["baseline", "control", "control_mean", "control_pixels", "control_search", "full", "full_svm"]
ARGUMENTS = [
    f"--finetune.models={MODELS[1:]}",
    "--dataset.size=64",
    "--dataset.train=12",
    "--dataset.validation=3",
    "--dataset.test=4",
    "--model.distances=[1,4]",
    "--pretrain.steps=5",
    "--pretrain.batch=2",
    "--pretrain.warmup=2",
    "--finetune.steps=4",
    "--finetune.batch=2",
    "--finetune.evaluate_every=2",
    "--finetune.search=3",
    "--full.num_lambdas=2",
    "--pictures=1",
    "--save_every=2",
    "--threads=1",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, trained through the command line."""
    out = tmp_path_factory.mktemp("runs") / "run"
    metrics = train.main([*ARGUMENTS, f"--out={out}"])
    return out, metrics


def test_run_writes_metrics_checkpoints_pictures_and_logs(finished):
    out, metrics = finished
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert list(metrics) == MODELS
    for scores in metrics.values():
        assert list(scores) == ["PQ", "PQ_th", "PQ_st", "SQ", "RQ"]
        assert all(0 <= v <= 100 for v in scores.values())
    assert {p.name for p in (out / "checkpoints").iterdir()} == {f"{name}.pt" for name in MODELS}
    (picture,) = (out / "pictures").iterdir()
    with Image.open(picture) as file:
        assert min(file.size) > 300
    assert list((out / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["stage"] == "full" and "surrogate_pq" in line]
    assert steps == [1, 2, 3, 4]
    environment = json.loads((out / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    curve = load_checkpoint(out / "checkpoints" / "full.pt")["curve"]
    assert [step for step, _ in curve] == [2, 4]


def test_training_changes_only_the_layers_that_the_objective_names(finished):
    out, _ = finished
    states = {n: load_checkpoint(out / "checkpoints" / f"{n}.pt")["model"] for n in MODELS}
    changed = {
        name: {k for k, v in states["baseline"].items() if not torch.equal(v, states[name][k])} for name in MODELS
    }
    assert changed["full"]
    assert {k.split(".")[0] for k in changed["full"]} == {"network", "scaling"}
    assert {k.split(".")[1] for k in changed["full"] if k.startswith("network")} <= {
        "semantic_head", "affinity_head", "classifiers"
    }  # fmt: skip
    assert {k.split(".")[0] for k in changed["control_search"]} <= {"scaling"}
    for name in ("control", "control_mean", "control_pixels", "full_svm"):  # all layers, and the scales and offsets
        assert {k.split(".")[1] for k in changed[name] if k.startswith("network")} >= {"backbone", "semantic_head"}
        assert any(k.startswith("scaling") for k in changed[name])
    assert not any("running" in k for name in MODELS[1:] for k in changed[name])


def test_rerunning_the_command_trains_nothing_and_other_settings_are_refused(finished, capsys):
    out, metrics = finished
    times = {p: p.stat().st_mtime_ns for p in (out / "checkpoints").iterdir()}
    assert train.main([*ARGUMENTS, f"--out={out}"]) == metrics
    assert times == {p: p.stat().st_mtime_ns for p in (out / "checkpoints").iterdir()}
    with pytest.raises(SystemExit) as stopped:
        train.main([*ARGUMENTS, f"--out={out}", "--seed=3"])
    assert stopped.value.code == 2
    assert "other settings (seed: 0 -> 3)" in capsys.readouterr().err


def test_one_stage_models_train_without_a_baseline(tmp_path):
    """It takes as many steps as both, from the same first weights; with other models the baseline is trained too."""
    one_stage = ["single_mean", "single_svm", "single_mean_svm"]
    arguments = [a for a in ARGUMENTS if "models" not in a]
    metrics = train.main([*arguments, f"--finetune.models={one_stage}", f"--out={tmp_path / 'run'}"])
    assert list(metrics) == one_stage
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} == {f"{name}.pt" for name in one_stage}
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    for name in one_stage:
        assert [line["step"] for line in lines if line["stage"] == name] == list(range(1, 10))
    losses = {name: [line["loss"] for line in lines if line["stage"] == name] for name in one_stage}
    assert losses["single_mean_svm"][:5] == losses["single_mean"][:5]  # it begins with plain means
    assert losses["single_mean_svm"][0] != losses["single_svm"][0]
    means = ["semantic" in line for line in lines if line["stage"] == "single_mean_svm"]
    assert means == [True] * 5 + [False] * 4
    again = train.main(
        [*ARGUMENTS[1:], "--finetune.models=[single_svm,control]", "--max_steps=1", f"--out={tmp_path / 'b'}"]
    )
    assert list(again) == ["baseline", "control", "single_svm"]


@pytest.mark.parametrize("awaited", ["baseline.last.pt", "full.last.pt"])
def test_run_resumed_after_a_kill_equals_uninterrupted_run(finished, tmp_path, awaited):
    """The process is killed without warning in the middle of a stage; the same command completes the same run."""
    expected, metrics = finished
    out = tmp_path / "run"
    command = [sys.executable, "-W", "ignore", str(EXAMPLE / "train.py"), *ARGUMENTS, f"--out={out}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 240
    while not (out / "checkpoints" / awaited).exists():
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.time() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "metrics.json").exists()
    assert train.main([*ARGUMENTS, f"--out={out}"]) == metrics
    for name in MODELS:
        a, b = (load_checkpoint(o / "checkpoints" / f"{name}.pt")["model"] for o in (expected, out))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_corrupt_checkpoints_are_named_and_nothing_is_lost(finished, tmp_path, capsys):
    out, _ = finished
    for name in ("config.json", "metrics.json"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    (tmp_path / "checkpoints").mkdir()
    content = (out / "checkpoints" / "baseline.pt").read_bytes()
    (tmp_path / "checkpoints" / "baseline.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, f"--out={tmp_path}"])
    error = capsys.readouterr().err
    assert "baseline.pt is corrupt" in error
    assert "delete it to train that stage anew" in error
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="lacks the key 'model'"):
        load_checkpoint(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "y.pt")


def test_folder_that_holds_no_run_is_left_unchanged(tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, f"--out={tmp_path}"])
    assert "holds pictures but no config.json" in capsys.readouterr().err
    assert (tmp_path / "pictures" / "holiday.png").read_bytes() == b"mine"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, f"--out={tmp_path}"])
    assert "config.json is corrupt" in capsys.readouterr().err


def test_failed_write_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "a.pt"
    save_atomically({"model": 1}, path)
    with pytest.raises((TypeError, AttributeError)):
        save_atomically({"model": (i for i in ())}, path)  # cannot be pickled
    assert load_checkpoint(path) == {"model": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_evaluate_scores_and_dumps_what_coco_reads_back(finished, tmp_path, capsys):
    from cops.data.coco import CocoPanoptic

    out, metrics = finished
    dump = tmp_path / "annotations" / "panoptic_val"
    arguments = [str(out / "checkpoints" / "full.pt"), f"--dump={dump}", f"--metrics={tmp_path / 'm.json'}"]
    scores = evaluate.main(arguments)
    assert {k: scores[k] for k in metrics["full"]} == metrics["full"]
    assert 0 <= scores["AP"] <= scores["AP50"] <= 100
    assert min(scores["VI_split"], scores["VI_merge"], scores["ARE"]) >= 0
    printed = capsys.readouterr().out
    assert "| class | PQ |" in printed
    assert "| VI_split | VI_merge | ARE |" in printed
    assert json.loads((tmp_path / "m.json").read_text()) == scores
    content = json.loads((dump / "panoptic.json").read_text())
    (tmp_path / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    (tmp_path / "val").mkdir()
    for image in content["images"]:
        Image.new("RGB", (64, 64)).save(tmp_path / "val" / image["file_name"], format="PNG")
    data = CocoPanoptic(tmp_path, "val")
    assert len(data) == 4
    assert sum(s["area"] for s in content["annotations"][0]["segments_info"]) == (data[0].ids > 0).sum()
    greedy = evaluate.main([*arguments[:1], "--solver=greedy", "--split=validation"])
    assert 0 <= greedy["PQ"] <= 100


def test_predict_writes_overlay_png_and_json(finished, tmp_path, capsys):
    out, _ = finished
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(Scenes(1, 5, 64)[0].image).save(folder / "one.png")
    Image.new("L", (50, 31), 100).save(folder / "two.jpg")
    (folder / "notes.txt").write_text("no image")
    predict.main([str(folder), f"--checkpoint={out / 'checkpoints' / 'full.pt'}", f"--out={tmp_path / 'p'}"])
    names = {p.name for p in (tmp_path / "p").iterdir()}
    assert names == {f"{name}_{kind}.png" for name in ("one", "two") for kind in ("overlay", "classes", "panoptic")} | {
        "panoptic.json",
        "segments.csv",
    }
    with Image.open(tmp_path / "p" / "two_panoptic.png") as file:
        assert file.size == (50, 31)
    with pytest.raises(SystemExit):
        predict.main(
            [str(tmp_path / "none.png"), f"--checkpoint={out / 'checkpoints' / 'full.pt'}", f"--out={tmp_path / 'q'}"]
        )
    assert "none.png is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main([str(folder), "--checkpoint=nothing.pt"])
    assert "nothing.pt does not exist" in capsys.readouterr().err


def test_predict_takes_the_frames_of_animations_and_videos(finished, tmp_path, capsys):
    out, _ = finished
    checkpoint = f"--checkpoint={out / 'checkpoints' / 'full.pt'}"
    frames = [Scenes(3, 5, 64)[i].image for i in range(3)]
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(tmp_path / "clip.gif", save_all=True, append_images=others)
    predict.main([str(tmp_path / "clip.gif"), checkpoint, f"--out={tmp_path / 'gif'}"])
    assert len(list((tmp_path / "gif").glob("clip_*_overlay.png"))) == 3
    (tmp_path / "bad.mp4").write_bytes(b"none")
    av = pytest.importorskip("av")
    with pytest.raises(SystemExit):
        predict.main([str(tmp_path / "bad.mp4"), checkpoint, f"--out={tmp_path / 'bad'}"])
    assert "bad.mp4 cannot be read as a video" in capsys.readouterr().err
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    predict.main([str(tmp_path / "clip.mp4"), checkpoint, f"--out={tmp_path / 'mp4'}"])
    assert len(list((tmp_path / "mp4").glob("clip_*_panoptic.png"))) == 3


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (64, 3), (65, 129)])
def test_images_of_every_size_are_segmented(finished, size):
    out, _ = finished
    model, _ = load_model(out / "checkpoints" / "full.pt")
    (prediction,) = model.predict([np.full((*size, 3), 90, np.uint8)], torch.device("cpu"))
    assert prediction.ids.shape == prediction.classes.shape == size
    assert set(np.unique(prediction.ids)) <= {0, *(s.id for s in prediction.segments)}


def test_full_disk_keeps_the_last_checkpoint(finished, tmp_path, monkeypatch):
    """No space while a checkpoint is written: the error says so, nothing is corrupt, and the run can go on."""
    import cops.study.training as training

    _, metrics = finished
    real, calls = training.save_atomically, []

    def full(content, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(content, path)

    monkeypatch.setattr(training, "save_atomically", full)
    with pytest.raises(SystemExit):
        train.main([*ARGUMENTS, f"--out={tmp_path / 'run'}"])
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "baseline.last.pt")["state"]["step"] == 2
    assert train.main([*ARGUMENTS, f"--out={tmp_path / 'run'}"]) == metrics


def test_bad_command_line_is_refused_with_the_reason(tmp_path, capsys):
    for arguments, message in (
        (["--data=coco", f"--root={tmp_path / 'nowhere'}"], "data folder"),
        (["--device=gpu7"], "device='gpu7' cannot be used"),
        (["--full.lambda_low=0"], "full.lambda_low must be above 0"),
        (["--dataset.size=63"], "dataset.size must be divisible by 8, got 63"),
        (["--save_every=0"], "save_every must be at least 1"),
        (["--data=voc"], "data"),
    ):
        with pytest.raises(SystemExit):
            train.main([*ARGUMENTS, f"--out={tmp_path / 'run'}", *arguments])
        assert message in capsys.readouterr().err


OBJECTIVES = [
    *(Objective(name, num_lambdas=2) for name in LOSSES),
    Objective("combined", num_lambdas=2, layers="heads"),
    Objective("surrogate", num_lambdas=2, layers="none", start="cold", repair=True),
    Objective("surrogate", num_lambdas=2, variant="reference", schedule="loggrid"),
    Objective("structured_svm", pixels=True),
    Objective("surrogate", num_lambdas=2, layers="heads", pixels=True),
    Objective("mean", pixels=True),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.loss}-{o.layers}-{o.variant}-{o.pixels}")
def test_every_objective_trains(finished, tmp_path, objective):
    """Finite losses, and each learns what it names; all layers under bfloat16 as well."""
    out, _ = finished
    config = tiny(tmp_path, amp=True)
    config = replace(config, model=replace(config.model, full_resolution=objective.pixels))
    with RunLog(tmp_path) as log:
        run = Run(config, load_splits(config), tmp_path, torch.device("cpu"), log)
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "baseline.pt").write_bytes((out / "checkpoints" / "baseline.pt").read_bytes())
        finetune(run, "other", objective)
        before, after = (run.model(name).state_dict() for name in ("baseline", "other"))
    moved = {k.split(".")[1] for k in before if k.startswith("network") and not torch.equal(before[k], after[k])}
    heads = {"semantic_head", "affinity_head", "classifiers"}
    expected = {"none": set(), "heads": heads, "all": heads | {"backbone", "semantic_decoder", "affinity_decoder"}}
    assert moved <= expected[objective.layers]
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in losses if "loss" in line)


def test_accumulated_parts_make_the_same_step_as_the_whole_batch(finished, tmp_path):
    """Mean losses over two halves, or over parts of two, one and one samples, are those of the whole batch."""
    out, _ = finished
    found = []
    for accumulate in (1, 2, 3):
        folder = tmp_path / str(accumulate)
        config = tiny(folder)
        part = replace(config.finetune, batch=4, accumulate=accumulate, steps=1, evaluate_every=1)
        config = replace(config, finetune=part)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "baseline.pt").write_bytes((out / "checkpoints" / "baseline.pt").read_bytes())
        with RunLog(folder) as log:
            run = Run(config, load_splits(config), folder, torch.device("cpu"), log)
            finetune(run, "svm", Objective("structured_svm", dropout=0.0))
            weights = run.model("svm").state_dict()
        found.append((json.loads((folder / "log.jsonl").read_text().splitlines()[0])["loss"], weights))
    (loss, weights), *others = found
    for other, other_weights in others:
        assert other == pytest.approx(loss, rel=1e-5)
        for name in weights:
            assert torch.allclose(other_weights[name], weights[name], atol=1e-6), name


@pytest.mark.parametrize("objective", [Objective("surrogate"), Objective("structured_svm")])
def test_pipelined_parts_make_the_same_step_to_the_last_bit(finished, tmp_path, objective):
    out, _ = finished
    found = []
    for overlap in (False, True):
        folder = tmp_path / str(overlap)
        config = tiny(folder)
        part = replace(config.finetune, batch=6, accumulate=3, overlap=overlap, steps=2, evaluate_every=2)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "baseline.pt").write_bytes((out / "checkpoints" / "baseline.pt").read_bytes())
        config = replace(config, finetune=part)
        with RunLog(folder) as log:
            run = Run(config, load_splits(config), folder, torch.device("cpu"), log)
            finetune(run, "other", objective)
            found.append(run.model("other").state_dict())
            start = run.model("baseline").state_dict()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], start[name]) for name in start)


def test_solver_error_in_worker_thread_is_reraised():
    weight = torch.ones(2, requires_grad=True)

    def broken(costs, targets):
        raise ValueError("part 2 is broken") if targets == 2 else KeyError(targets)

    with pytest.raises(ValueError, match="part 2 is broken"):
        list(backward_pipelined([(torch.ones(2), 2), (torch.ones(2), 3)], lambda images: (images * weight,), broken, 4))
    assert list(backward_pipelined([], lambda images: (images,), broken, 4)) == []


def test_samples_are_prepared_one_step_ahead_and_in_order():
    made = []

    def prepare(number):
        if number == 7:
            raise ValueError("image 7 is broken")
        made.append(number)
        return [number * 10]

    for number, parts in ahead(prepare, range(3, 6)):
        assert parts == [number * 10]
        assert len(made) <= number - 3 + 2  # this one and at most the next
    assert made == [3, 4, 5]
    assert list(ahead(prepare, range(0))) == []
    with pytest.raises(ValueError, match="image 7 is broken"):
        list(ahead(prepare, range(6, 9)))


def test_trial_run_shortens_every_stage(tmp_path):
    arguments = [a for a in ARGUMENTS if "steps" not in a and "finetune" not in a]
    metrics = train.main([*arguments, "--max_steps=1", f"--out={tmp_path / 'run'}"])
    assert list(metrics) == ["baseline", "control_pixels", "full", "full_svm"]  # the default
    steps = [json.loads(line)["step"] for line in (tmp_path / "run-trial" / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 1


def test_descent_on_costs_raises_exact_panoptic_quality():
    """The fast integration test: no network; twelve steps on the costs of a few scenes, at least ten points."""
    config = Config(model=Model(distances=[1, 2, 4, 8])).resolved()
    scenes = Scenes(8, 99, 64)
    model = Segmenter(config, scenes.categories, torch.Generator().manual_seed(0))
    model.layer.estimator = Blackbox(Uniform(1000, 5000, 3), start="warm")
    samples = [scenes[i] for i in range(8)]
    targets = make_targets(samples, scenes.categories, config.model.distances, 2, 60)
    g = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(targets.labels.clamp(min=0), len(scenes.categories)).permute(0, 3, 1, 2).float()
    blur = torch.nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    class_costs = -3 * blur(truth) + 0.8 * torch.randn(truth.shape, generator=g)
    edge_costs = blur(1 - 2 * targets.cut) + 0.3 + 0.8 * torch.randn(targets.cut.shape, generator=g)
    surrogate = PanopticQualitySurrogate(model.thresholds, 4.0)

    def exact():
        quality = PanopticQuality(scenes.categories)
        found = model.segment(class_costs.detach(), edge_costs.detach(), (64, 64))
        for sample, prediction in zip(samples, found, strict=True):
            quality.add(prediction.ids, prediction.segments, sample)
        return quality.result()["PQ"]

    before = exact()
    for _ in range(12):
        costs = class_costs.requires_grad_(), edge_costs.requires_grad_()
        out = model.layer(*costs)
        gradients = torch.autograd.grad(surrogate(out.panoptic, out.label_classes, targets.segments), costs)
        with torch.no_grad():
            class_costs, edge_costs = (c - 1000 * d for c, d in zip(costs, gradients, strict=True))
    after = exact()
    print(f"exact PQ {before:.1f} -> {after:.1f}")
    assert 20 < before < 80
    assert after >= before + 10
    assert np.isfinite(after)


def test_large_network_trains_through_the_solver(tmp_path):
    """Every stage with ResNet-50, one step each: shapes, strides and frozen layers fit; nothing is learnt."""
    arguments = [*ARGUMENTS, "--model.backbone=resnet50", f"--out={tmp_path / 'run'}"]
    short = ["--pretrain.steps=1", "--finetune.steps=1", "--finetune.models=[full]", "--dataset.test=1", "--pictures=0"]
    metrics = train.main([*arguments, *short])
    assert list(metrics) == ["baseline", "full"]
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "full.pt")["config"]["model"]["backbone"] == "resnet50"


def test_exported_network_computes_the_same_costs(finished, tmp_path, capsys):
    """ONNX runtime and torch, on sizes and batches that were not traced."""
    runtime = pytest.importorskip("onnxruntime")
    out, _ = finished
    path = out / "checkpoints" / "full.pt"
    export_onnx.main([str(path), f"--out={tmp_path / 'full.onnx'}", "--size=32"])
    session = runtime.InferenceSession(str(tmp_path / "full.onnx"))
    model, _ = load_model(path)
    model.eval()
    for shape in ((1, 3, 32, 32), (3, 3, 48, 80)):
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = model.scaling(model.network(images))
        for a, b in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-4)
    with pytest.raises(SystemExit):
        export_onnx.main([str(path), "--size=33"])
    assert "size must be a positive multiple of 8, got 33" in capsys.readouterr().err
