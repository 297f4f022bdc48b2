"""The COPS network: a shared backbone, two DeepLabv3+ decoders, a semantic head, affinity classifiers (A.5)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones import PLAIN, EfficientNetLite0, ResNet50, SmallBackbone, SmallFineBackbone

_PAPER = {
    "aspp": 256,
    "decoder": 256,
    "reduced": (64, 32),
    "rates": (6, 12, 18),
    "head": 256,
    "affinity": 256,
    "separable": True,
    "deep": True,
}
_SMALL = {
    "aspp": 48,
    "decoder": 32,
    "reduced": (16, 12),
    "rates": (1, 2, 4),
    "head": 32,
    "affinity": 24,
    "separable": False,
    "deep": False,
}
SIZES = {
    "small": _SMALL,
    "small_fine": {**_SMALL, "reduced": (16, 12, 12)},
    "efficientnet_lite0": {
        "aspp": 96,
        "decoder": 64,
        "reduced": (32, 16),
        "rates": (3, 6, 9),
        "head": 64,
        "affinity": 48,
        "separable": True,
        "deep": False,
    },
    "resnet50": _PAPER,
    "resnet50_torchvision": _PAPER,
}
BACKBONES = {
    "small": (SmallBackbone, {}),
    "small_fine": (SmallFineBackbone, {}),
    "efficientnet_lite0": (EfficientNetLite0, {}),
    "resnet50": (ResNet50, {"stem": "deeplab"}),
    "resnet50_torchvision": (ResNet50, {"stem": "torchvision"}),
}


def strides_of(backbone: str) -> tuple[int, ...]:
    """Strides of a backbone's maps; the first is that of the grid, the last must divide the size of an image.

    Raises
    ------
    ValueError
        If there is no backbone of that name.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(map(repr, BACKBONES))}, got {backbone!r}")
    return BACKBONES[backbone][0].strides


def make_backbone(name: str) -> nn.Module:
    """A backbone with fresh weights."""
    kind, options = BACKBONES[name]
    return kind(**options)


class Logits(NamedTuple):
    """What the network predicts on its grid: class logits (B, K, h, w), logits of "cut" (B, 2 D, h, w)."""

    classes: Tensor
    cuts: Tensor


def conv_bn(inputs: int, outputs: int, size: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, 1, padding, dilation, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def wide_conv(inputs: int, outputs: int, size: int, separable: bool, dilation: int = 1) -> nn.Sequential:
    """A convolution of more than one pixel; separable ones are depth-wise, then point-wise, as in Panoptic-DeepLab."""
    if not separable:
        return conv_bn(inputs, outputs, size, dilation)
    return nn.Sequential(conv_bn(inputs, inputs, size, dilation, groups=inputs), conv_bn(inputs, outputs, 1))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image pooling."""

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], separable: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn(inputs, outputs, 1), *(wide_conv(inputs, outputs, 3, separable, rate) for rate in rates)]
        )
        # No batch norm on the pooled branch: one value a channel has no statistics in a batch of one.
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(conv_bn(outputs * (len(rates) + 2), outputs, 1), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))


class Decoder(nn.Module):
    """A DeepLabv3+ decoder as in Panoptic-DeepLab: ASPP, then one fusion for each finer feature map."""

    def __init__(self, channels: dict[int, int], size: dict, low_strides: Sequence[int]) -> None:  # type: ignore[type-arg]
        super().__init__()
        top = max(channels)
        self.top = top
        self.low_strides = tuple(low_strides)
        self.aspp = ASPP(channels[top], size["aspp"], size["rates"], size["separable"])
        self.reduce = nn.ModuleList()
        self.fuse = nn.ModuleList()
        inputs = size["aspp"]
        for stride, reduced in zip(self.low_strides, size["reduced"], strict=True):
            self.reduce.append(conv_bn(channels[stride], reduced, 1))
            self.fuse.append(
                wide_conv(inputs + reduced, size["decoder"], 5 if size["separable"] else 3, size["separable"])
            )
            inputs = size["decoder"]

    def forward(self, features: dict[int, Tensor]) -> Tensor:
        x = self.aspp(features[self.top])
        for stride, reduce, fuse in zip(self.low_strides, self.reduce, self.fuse, strict=True):
            low = reduce(features[stride])
            x = F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, low], dim=1))
        return x


def difference_features(f: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """g_h and g_v of eq. 10 and 11: differences over horizontal and vertical edges, centred at their middles.

    Where an end point lies outside the map the feature there counts as zero.
    """
    back, forth = -(-distance // 2), distance // 2
    height, width = f.shape[2:]
    h = F.pad(f, (back, forth, 0, 0))
    v = F.pad(f, (0, 0, back, forth))
    return h[..., distance : distance + width] - h[..., :width], v[..., distance : distance + height, :] - v[
        ..., :height, :
    ]


class AffinityClassifier(nn.Module):
    """One classifier Q_d: two channels, horizontal and vertical edges of one distance (Fig. 7).

    Parameters
    ----------
    deep : bool
        Two separable convolutions instead of one.
    """

    def __init__(self, channels: int, distance: int, deep: bool = False) -> None:
        super().__init__()
        self.distance = distance
        inputs, groups = (channels, 1) if distance == 1 else (2 * channels, 2)
        widths = [inputs, inputs, channels] if deep else [inputs, channels]
        self.body = nn.Sequential()
        for before, after in itertools.pairwise(widths):
            self.body.append(conv_bn(before, before, 3, groups=before))
            self.body.append(conv_bn(before, after, 1, groups=groups))
        self.last = nn.Conv2d(channels, 2, 1)  # not grouped: it sees both directions

    def forward(self, f: Tensor) -> Tensor:
        x = f if self.distance == 1 else torch.cat(difference_features(f, self.distance), dim=1)
        return self.last(self.body(x))


class CopsNetwork(nn.Module):
    """Backbone, decoders and heads.

    With "resnet50" it has the paper's 34 M parameters (for 19 classes and 6 distances): backbone 23.6, decoders 3.2
    each, heads 1.2 each, classifiers 1.2. The paper gives the sum, the widths and the number of layers before the
    classifiers; that the convolutions of the heads are dense and those of the classifiers two is our reading of it.

    Parameters
    ----------
    backbone : {"small", "small_fine", "efficientnet_lite0", "resnet50", "resnet50_torchvision"}
    num_classes : int
    distances : sequence of int
        Edge distances on the grid.

    Attributes
    ----------
    stride : int
        Image pixels per grid cell, along each axis.
    divisor : int
        Image sizes must be divisible by this.
    """

    def __init__(self, backbone: str, num_classes: int, distances: Sequence[int]) -> None:
        super().__init__()
        strides = strides_of(backbone)
        self.stride, self.divisor = strides[0], strides[-1]
        size = SIZES[backbone]
        self.backbone = make_backbone(backbone)
        low = strides[-2::-1]
        self.semantic_decoder = Decoder(self.backbone.channels, size, low)
        self.affinity_decoder = Decoder(self.backbone.channels, size, low)
        width, head, affinity = (size[key] for key in ("decoder", "head", "affinity"))
        deep, separable = size["deep"], size["separable"] and not size["deep"]
        more = [conv_bn(head, head, 3)] if deep else []
        self.semantic_head = nn.Sequential(wide_conv(width, head, 3, separable), *more, nn.Conv2d(head, num_classes, 1))
        self.affinity_head = nn.Sequential(
            wide_conv(width + num_classes, affinity, 3, separable), conv_bn(affinity, affinity, 3 if deep else 1)
        )
        self.classifiers = nn.ModuleList(AffinityClassifier(affinity, d, deep) for d in distances)

    def forward(self, image: Tensor) -> Logits:
        features = self.backbone(normalized(image, self.backbone))
        classes = self.semantic_head(self.semantic_decoder(features))
        # The affinity branch sees the class costs but does not train them (section 3.1).
        joined = torch.cat([self.affinity_decoder(features), -classes.detach()], dim=1)
        shared = self.affinity_head(joined)
        return Logits(classes, torch.cat([classifier(shared) for classifier in self.classifiers], dim=1))


def parameter_counts(network: CopsNetwork) -> dict[str, int]:
    """Parameters of every part, and of all."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    return {**parts, "all": sum(parts.values())}


def normalized(image: Tensor, backbone: nn.Module) -> Tensor:
    """From the example's normalisation of images to that of a backbone's pretrained weights."""
    mean, std = backbone.mean, backbone.std
    if (mean, std) == PLAIN:
        return image
    scale = torch.tensor([a / b for a, b in zip(PLAIN[1], std, strict=True)]).to(image)
    shift = torch.tensor([(a - m) / b for a, m, b in zip(PLAIN[0], mean, std, strict=True)]).to(image)
    return image * scale[:, None, None] + shift[:, None, None]


class CostScaling(nn.Module):
    """Logits to costs, with learned scales and offsets (in the published code, not in the paper).

    c_V = -|s| logits + b with one scale and an offset for each class; c_E = -|s_d| logits + b_d for each
    distance d, where logits of "cut" above zero make an edge repulsive.
    """

    def __init__(self, num_classes: int, num_distances: int) -> None:
        super().__init__()
        self.class_scale = nn.Parameter(torch.ones(()))
        self.class_offset = nn.Parameter(torch.zeros(num_classes))
        self.edge_scale = nn.Parameter(torch.ones(num_distances))
        self.edge_offset = nn.Parameter(torch.zeros(num_distances))

    def forward(self, logits: Logits) -> tuple[Tensor, Tensor]:
        """Return class costs (B, K, h, w) and edge costs (B, 2 D, h, w)."""
        class_costs = self.class_offset[:, None, None] - self.class_scale.abs() * logits.classes
        scale = self.edge_scale.abs().repeat_interleave(2)[:, None, None]
        edge_costs = self.edge_offset.repeat_interleave(2)[:, None, None] - scale * logits.cuts
        return class_costs, edge_costs

    @torch.no_grad()
    def invert(self, class_costs: Tensor, edge_costs: Tensor) -> Logits:
        """Back to the logits, so that scales and offsets can be applied anew."""
        offset, scale = (t.repeat_interleave(2)[:, None, None] for t in (self.edge_offset, self.edge_scale.abs()))
        classes = (self.class_offset[:, None, None] - class_costs) / self.class_scale.abs()
        return Logits(classes, (offset - edge_costs) / scale)
