"""Backbones: images in, feature maps at several strides out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn


class SmallBackbone(nn.Module):
    """A small residual encoder for the CPU: strides 2, 4 and 8, dilation instead of a further stride.

    Attributes
    ----------
    channels : dict of int to int
        Channels of the feature map at each stride.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.channels = {2: w, 4: 2 * w, 8: 4 * w}
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True))
        self.stage2 = _Residual(w, w)
        self.stage4 = nn.Sequential(_Residual(w, 2 * w, stride=2), _Residual(2 * w, 2 * w))
        self.stage8 = nn.Sequential(_Residual(2 * w, 4 * w, stride=2), _Residual(4 * w, 4 * w, dilation=2))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        two = self.stage2(self.stem(image))
        four = self.stage4(two)
        return {2: two, 4: four, 8: self.stage8(four)}


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.skip(x))


class _Bottleneck(nn.Module):
    """The bottleneck block of ResNet-50, with the names of torchvision's weight files."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + skip)


class ResNet50(nn.Module):
    """ResNet-50 at output stride 16: the last stage is dilated by 2 times the multi-grid (1, 2, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {4: 256, 8: 512, 16: 2048}
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 64, 3, 1)
        self.layer2 = _stage(256, 128, 4, 2)
        self.layer3 = _stage(512, 256, 6, 2)
        self.layer4 = _stage(1024, 512, 3, 1, dilations=(2, 4, 8))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        four = self.layer1(x)
        eight = self.layer2(four)
        return {4: four, 8: eight, 16: self.layer4(self.layer3(eight))}


def _stage(inputs: int, width: int, blocks: int, stride: int, dilations: Sequence[int] | None = None) -> nn.Sequential:
    rates = dilations or [1] * blocks
    return nn.Sequential(
        *(
            _Bottleneck(inputs if i == 0 else 4 * width, width, stride if i == 0 else 1, rates[i], project=i == 0)
            for i in range(blocks)
        )
    )


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> None:
    """Load a state dict in torchvision's naming (the classifier ``fc.*`` is ignored).

    Raises
    ------
    ValueError
        If the file is no state dict or does not fit the backbone.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        backbone.load_state_dict(state)
    except FileNotFoundError:
        raise ValueError(f"the backbone weights {path} do not exist (--backbone_weights)") from None
    except Exception as error:
        raise ValueError(f"{path} does not hold weights of {type(backbone).__name__}: {error}") from error
