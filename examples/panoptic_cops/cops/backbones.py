"""Backbones: images in, feature maps at several strides out.

Each says with `mean` and `std`, in grey values 0 to 255, what its pretrained weights expect of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PLAIN = (127.5,) * 3, (60.0,) * 3  # what the example feeds its networks, see targets.to_input


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
        self.mean, self.std = PLAIN
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
    """ResNet-50 at output stride 16: the last stage is dilated by 2 times the multi-grid (1, 2, 4).

    Parameters
    ----------
    stem : {"deeplab", "torchvision"}
        Three convolutions of 3x3 with 64, 64 and 128 channels, as in DeepLab ("R-52") and in the paper; or one of 7x7.
    """

    def __init__(self, stem: str = "deeplab") -> None:
        super().__init__()
        self.channels = {4: 256, 8: 512, 16: 2048}
        self.mean, self.std = IMAGENET
        self.stem = stem
        width = 64
        if stem == "deeplab":
            width = 128
            for number, (inputs, outputs) in enumerate(((3, 64), (64, 64), (64, 128)), start=1):
                setattr(self, f"conv{number}", nn.Conv2d(inputs, outputs, 3, 2 if number == 1 else 1, 1, bias=False))
                setattr(self, f"bn{number}", nn.BatchNorm2d(outputs))
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(width, 64, 3, 1)
        self.layer2 = _stage(256, 128, 4, 2)
        self.layer3 = _stage(512, 256, 6, 2)
        self.layer4 = _stage(1024, 512, 3, 1, dilations=(2, 4, 8))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = self.relu(self.bn1(self.conv1(image)))
        if self.stem == "deeplab":
            x = self.relu(self.bn2(self.conv2(x)))
            x = self.relu(self.bn3(self.conv3(x)))
        four = self.layer1(self.maxpool(x))
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
