"""Test-time augmentation: costs averaged over mirrored and transposed copies of an image, its views.

A network errs differently in each view, so that the mean of the costs is better than those of one. Edges keep their
meaning: a cost that was predicted between two pixels of a view goes to the edge between the same two of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = Sequence[NDArray[np.uint8]]
Costs = tuple[Tensor, Tensor]


class View(NamedTuple):
    """How a view is made of an image: transposed first, then mirrored."""

    transposed: bool = False
    mirrored: tuple[bool, bool] = (False, False)  # top to bottom, left to right

    def of(self, image: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
        """This view of an image (H, W, 3), padded so that its grid has the same places as that of the image."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        pad = [
            _length(n, stride) - n if mirrored else 0 for n, mirrored in zip(image.shape, self.mirrored, strict=False)
        ]
        image = np.pad(image, [(0, pad[0]), (0, pad[1]), (0, 0)], mode="edge")
        return np.ascontiguousarray(np.flip(image, [axis for axis in (0, 1) if self.mirrored[axis]]))

    def back(self, costs: Costs, size: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> Costs:
        """Costs (B, K, h, w) and (B, O, h, w) of this view, at their places in the image, whose grid has that size."""
        if self.transposed:
            size = size[::-1]
        class_costs = self._unmirrored(costs[0], size, (0, 0))
        maps = [self._unmirrored(m, size, d) for d, m in zip(offsets, costs[1].unbind(1), strict=True)]
        edge_costs = torch.stack(maps, 1)
        if not self.transposed:
            return class_costs, edge_costs
        return class_costs.mT, edge_costs.unflatten(1, (-1, 2)).flip(2).flatten(1, 2).mT

    def _unmirrored(self, costs: Tensor, size: tuple[int, int], offset: tuple[int, int]) -> Tensor:
        """A map (..., h, w) of the costs of edges p -- p + offset, which stand at p + ceil(offset / 2) in both."""
        for dim, mirrored, length, d in zip((-2, -1), self.mirrored, size, offset, strict=True):
            if mirrored:
                place = torch.arange(length, device=costs.device)
                place = (length - 1 + d % 2 - place).clamp(max=length - 1)  # no edge stands where it is clamped
                costs = costs.index_select(dim, place)
        return costs


VIEWS = {  # each begins with the image itself
    1: (View(),),
    2: (View(), View(mirrored=(False, True))),
    4: tuple(View(mirrored=(down, right)) for down in (False, True) for right in (False, True)),
}
VIEWS[8] = VIEWS[4] + tuple(view._replace(transposed=True) for view in VIEWS[4])
VIEWS_OF_IMAGE = Literal[tuple(VIEWS)]  # type: ignore[valid-type]
VIEWS_HELP = (
    "cut the mean of the costs of the image (1), also mirrored left to right (2), also top to bottom (4), also "
    "transposed (8); the network takes as many times as long"
)


def mean_costs(
    costs_of: Callable[[Images], Costs], images: Images, stride: int, offsets: Sequence[tuple[int, int]], count: int
) -> Costs:
    """The mean of the costs of so many views of images (H, W, 3) of one size; takes as many times as long.

    Parameters
    ----------
    costs_of : callable
        The costs of images of one size, on their grid.
    stride : int
        Pixels of a cell of the grid, along each axis; a cell stands at its middle pixel.
    offsets : sequence of (int, int)
        Of the edges on the grid, in pairs: (a, b), (b, a).
    count : int
        One of `VIEWS`: the image; also mirrored left to right; also top to bottom; also transposed.
    """
    rows, columns = (-(-n // stride) for n in images[0].shape[:2])
    class_costs, edge_costs = costs_of(images)
    for view in VIEWS[count][1:]:
        found = costs_of([view.of(image, stride) for image in images])
        more = view.back(found, (rows, columns), offsets)
        class_costs, edge_costs = class_costs + more[0], edge_costs + more[1]
    return (class_costs, edge_costs) if count == 1 else (class_costs / count, edge_costs / count)


def _length(pixels: int, stride: int) -> int:
    """The length of an axis at which the middle pixels of its cells stay middle pixels when it is mirrored."""
    return stride * (-(-pixels // stride) - 1) + 2 * (stride // 2) + 1
