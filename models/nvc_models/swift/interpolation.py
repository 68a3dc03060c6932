"""Blocks of a picture fetched from anywhere in it, in whole pixels and between them.

Vectors say where each block comes from. Pixels are fetched one by one, in the order in which the
transforms want them: a position for each block, a channel for each of its pixels. So nothing is
transposed, and coordinates are whole numbers plus a fraction, which float32 holds as well at 4000
pixels as at 40. (``GridSample`` normalises them to [-1, 1] and loses what the width takes; on CPUs
it is slower, too.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.planes import BLOCK

PHASES = 4
"""Luma is interpolated at every quarter of a pixel."""
TAPS = 8
BEFORE = TAPS // 2 - 1
"""Samples before the one that a place follows that its interpolation takes."""
_QUARTER = (-10, 49, -151, 921, 272, -73, 17, -1)
_HALF = (-7, 44, -150, 625, 625, -150, 44, -7)
FILTERS = torch.tensor([[0, 0, 0, 1024, 0, 0, 0, 0], _QUARTER, _HALF, _QUARTER[::-1]]) / 1024
"""Weights (4, 8) of eight samples in a row, for a place 0 to 3 quarters after the fourth.

As sharp as can be where no frequency is amplified. A picture is moved again in every frame, and a
filter that amplifies, as Lanczos' and HEVC's do by up to 3 %, lets the last bits in which two
platforms differ grow from frame to frame. Fitted by least squares over frequencies up to 0.6 of the
highest, weighted as in pictures; rounded to 1024ths that add up to 1, without an error in float32.
"""
TOGETHER = 2
"""Rows that are interpolated between columns by one kernel: of one row, it is too small to be fast.

Kernels, not products of matrices: TensorRT for RTX has none in FP32 on Turing GPUs.
"""


def _rows() -> Tensor:
    """Kernel (32, 1, 15, 1) from a column to eight rows, these a quarter further, and so on."""
    matrix = torch.zeros(PHASES, BLOCK, BLOCK + TAPS - 1)
    for row in range(BLOCK):
        matrix[:, row, row : row + TAPS] = FILTERS
    return matrix.view(PHASES * BLOCK, 1, -1, 1)


def _columns(count: int) -> Tensor:
    """Kernels (3, 2 count, 2 (count + 7), 1, 1) of each quarter, from rows to these moved."""
    matrix = torch.zeros(PHASES - 1, count, count + TAPS - 1)
    for column in range(count):
        matrix[:, column, column : column + TAPS] = FILTERS[1:]
    together = torch.kron(torch.eye(TOGETHER), matrix)
    return together[..., None, None].contiguous()


ROWS = _rows()
COLUMNS = {count: _columns(count) for count in (BLOCK // 2, BLOCK)}


class Positions:
    """Where the pixels of all blocks come from: their vectors added to their places.

    ``K`` vectors at once, for the search, need planes of one channel.
    """

    def __init__(self, size: Sequence[int], x: Tensor, y: Tensor, side: int) -> None:
        """Take the size (H, W) of planes, and vectors (B, K, H/side, W/side) in their pixels."""
        self.size, self.side = size, side
        self.left, self.top = x.floor(), y.floor()
        self.right_of, self.below = x - self.left, y - self.top

    def whole(self, plane: Tensor, row_step: int = 1) -> Tensor:
        """Fetch (B, C, H, W) where vectors are whole numbers, every so many rows of each block.

        Returns (B, C or K, side / row_step, side, H/side, W/side).
        """
        return self.fetch(plane, range(0, self.side, row_step), range(self.side))

    def linear(self, plane: Tensor) -> Tensor:
        """Fetch (B, C, H, W) between samples; returns (B, C or K, side, side, H/side, W/side)."""
        patch = self.fetch(plane, range(self.side + 1), range(self.side + 1))
        for dim, fraction in ((2, self.below), (3, self.right_of)):
            share = fraction[:, :, None, None]
            near, far = (patch.narrow(dim, start, self.side) for start in (0, 1))
            patch = near * (1.0 - share) + far * share
        return patch

    def fetch(self, plane: Tensor, rows: range, columns: range) -> Tensor:
        """Fetch these samples of every block, counted from its corner."""
        height, width = self.size
        y = self.rows(rows)
        lines = y.clamp(min=0.0).minimum(_number(y, height) - 1.0)
        return _gather(plane.flatten(2), lines, self.columns(columns), width)

    def rows(self, rows: range) -> Tensor:
        """Rows (B, K, i, 1, h, w) of the plane that these of every block come from."""
        return _places(self.top, rows, self.side, 2)[:, :, :, None]

    def columns(self, columns: range) -> Tensor:
        """Columns (B, K, 1, j, h, w) of the plane that these of every block come from."""
        return _places(self.left, columns, self.side, 3)[:, :, None]


class QuarterRows:
    """A plane (B, 1, H, W), H a multiple of 8, with every quarter of a row interpolated.

    What rows need is worked out once, for the picture instead of for each block: a sample is
    fetched by many blocks, and by each of those vectors that an encoder compares.
    """

    def __init__(self, plane: Tensor) -> None:
        """Interpolate; beyond its border the plane goes on with the outermost row."""
        self.plane = plane
        # Beyond BLOCK rows outside all are alike.
        around = F.pad(plane, (0, 0, BLOCK + BEFORE, BLOCK + TAPS - 1 - BEFORE), mode="replicate")
        self.lines = F.conv2d(around, ROWS.to(plane.device), stride=(BLOCK, 1))

    def blocks(
        self,
        vectors: Tensor,
        rows: tuple[int, int] = (0, BLOCK),
        columns: tuple[int, int] = (0, BLOCK),
    ) -> Tensor:
        """Fetch blocks of 8x8, all or an even number of rows, all or half of the columns.

        ``vectors`` (B, 2, H/8, W/8): x and y, in pixels; the nearest quarter is taken. Returns
        (B, 1, rows, columns, H/8, W/8).
        """
        size = self.plane.shape[-2:]
        vectors = torch.round(vectors * float(PHASES)) * (1.0 / PHASES)
        positions = Positions(size, vectors[:, :1], vectors[:, 1:], BLOCK)
        y = positions.rows(range(*rows)) + float(BLOCK)
        y = y.clamp(min=0.0).minimum(_number(y, size[0] + 2 * BLOCK) - 1.0)
        block = (y * (1.0 / BLOCK)).floor()
        phase = positions.below[:, :, None, None] * float(PHASES)
        channel = (phase - block) * float(BLOCK) + y
        lines = channel * _number(y, self.lines.shape[2]) + block
        first, last = columns
        x = positions.columns(range(first - BEFORE, last + TAPS - 1 - BEFORE))
        patch = _gather(self.lines.flatten(1)[:, None], lines, x, size[1])
        return _across(patch, positions.right_of, last - first)


def _across(patch: Tensor, fraction: Tensor, count: int) -> Tensor:
    """Interpolate (B, 1, i, count + 7, h, w) along its rows, to (B, 1, i, count, h, w).

    ``fraction`` (B, 1, h, w): 0, 1/4, 1/2 or 3/4.
    """
    phase = fraction[:, :, None, None] * float(PHASES)
    places = patch.view(-1, TOGETHER * patch.shape[3], *patch.shape[-2:])
    found = patch.narrow(3, BEFORE, count) * _is(phase, 0)
    for number, kernel in enumerate(COLUMNS[count].to(patch.device), 1):
        found = found + F.conv2d(places, kernel).view(found.shape) * _is(phase, number)
    return found


def _is(phase: Tensor, number: int) -> Tensor:
    """1 where a whole number is this one, else 0."""
    return (1.0 - (phase - float(number)).abs()).clamp(min=0.0)


def _places(start: Tensor, steps: range, side: int, dim: int) -> Tensor:
    """Add places within a block and those of the blocks to starts (B, K, h, w): (B, K, i, h, w)."""
    count = torch.arange(start.shape[dim], device=start.device, dtype=torch.float32)
    blocks = count.view(-1, 1) if dim == 2 else count
    within = torch.arange(len(steps), device=start.device, dtype=torch.float32)
    within = within * float(steps.step) + float(steps.start)
    return within.view(-1, 1, 1) + (blocks * float(side) + start)[:, :, None]


def _gather(plane: Tensor, lines: Tensor, columns: Tensor, width: int) -> Tensor:
    """Fetch from flat planes (B, C, N) at lines of this width and columns, the nearest inside."""
    number = _number(columns, width)
    columns = columns.clamp(min=0.0).minimum(number - 1.0)
    index = lines.int() * number.int() + columns.int()
    places = index.flatten(1)[:, None]
    if plane.is_cuda:  # 32 bits serve exported graphs; PyTorch on a GPU ran with 64 only
        places = places.long()
    if plane.shape[1] > 1:
        places = places.expand(-1, plane.shape[1], -1)
    return torch.gather(plane, 2, places).view(len(plane), -1, *index.shape[2:])


def _number(like: Tensor, size: int) -> Tensor:
    """Return a size as a tensor of one element: a number would stay the exported picture's."""
    return torch.full_like(like[:1, :1, :1, :1, :1, :1], size * 1.0)
