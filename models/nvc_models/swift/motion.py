"""Motion of the swift family: compensation in two passes of whole rows, and its search.

A vector per latent position, (B, 2, H/16, W/16) in pixels, says where the block comes from in the
frame before: channel 0 horizontally (positive: from the right), channel 1 vertically. Between the
blocks' centres vectors are interpolated. Compensation first moves along columns, then along rows,
groups of pixels at a time: a group is one contiguous read, and coordinates are whole numbers plus
a fraction, which float32 holds as well at 4000 pixels as at 40. (``GridSample`` normalises them to
[-1, 1] and loses what the width takes; it is several times slower on CPUs, too.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.latent_graphs import LATENT_STRIDE

GROUP = 8
LUMA_RED, LUMA_BLUE = 0.299, 0.114
"""Weights of BT.601; the rest is green. The transform learns what its colours are worth."""
LUMA = GROUP * GROUP
PREDICTED = LUMA + 2 * (GROUP // 2) ** 2
"""Channels of luma, and of luma and chroma at half resolution, in blocks of 8x8 pixels."""


def _shift(planes: Tensor, shift: Tensor) -> Tensor:
    """Sample planes (B, C, H, W) at ``shift`` (B, H, W / g) rows below, g pixels at a time.

    Linear between rows; rows beyond the border repeat the last.
    """
    b, c, h, w = planes.shape
    n = shift.shape[2]
    row = torch.arange(h, device=planes.device, dtype=torch.float32).view(1, h, 1) + shift
    row = row.clamp(min=0.0).minimum(torch.full_like(row[:1, :1, :1], h - 1.0))
    low = row.floor().minimum(torch.full_like(row[:1, :1, :1], h - 2.0))
    plane = torch.arange(b * c, device=planes.device).view(b, c, 1, 1) * (h * n)
    column = torch.arange(n, device=planes.device).view(1, 1, n)
    index = plane + (low.long() * n + column)[:, None]
    groups = planes.reshape(-1, w // n)
    upper, lower = F.embedding(index, groups), F.embedding(index + n, groups)
    fraction = (row - low)[:, None, :, :, None]
    return (upper + (lower - upper) * fraction).reshape(b, c, h, w)


def _moved(planes: Tensor, vectors: Tensor, scale: int) -> Tensor:
    """Move planes as :func:`compensate` does, but return them transposed, (B, C, W, H)."""
    cell, group = LATENT_STRIDE // scale, GROUP // scale
    across = float(cell // group)
    shift = vectors * (1.0 / scale)
    down = _interpolate(shift[:, 1:], (float(cell), across))
    right = _interpolate(shift[:, :1], (across, float(cell)))
    columns = _shift(planes, down[:, 0])
    return _shift(columns.transpose(2, 3).contiguous(), right[:, 0].transpose(1, 2))


def compensate(planes: Tensor, vectors: Tensor, scale: int) -> Tensor:
    """Move planes (B, C, H, W) of 1/``scale`` resolution by vectors (B, 2, h, w) in full pixels.

    One vector stands for LATENT_STRIDE / scale pixels each way. Returns (B, C, H, W).
    """
    return _moved(planes, vectors, scale).transpose(2, 3)


def _interpolate(x: Tensor, factors: tuple[float, float]) -> Tensor:
    return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)


def luma(frame: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB frames (B, 3, H, W)."""
    red, green, blue = frame[:, 0:1], frame[:, 1:2], frame[:, 2:3]
    return red * LUMA_RED + green * (1.0 - LUMA_RED - LUMA_BLUE) + blue * LUMA_BLUE


def planes_from_rgb(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H/2, W/2), blue first, of RGB frames (B, 3, H, W).

    Samples of [0, 1] give samples of [-0.5, 0.5].
    """
    y = luma(frame)
    half = F.avg_pool2d(torch.cat((frame[:, 2:3] - y, frame[:, 0:1] - y), 1), 2)
    scale = torch.tensor([0.5 / (1.0 - LUMA_BLUE), 0.5 / (1.0 - LUMA_RED)], device=frame.device)
    return y - 0.5, half * scale.view(1, 2, 1, 1)


def planes_from_blocks(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) of their blocks, (B, 96, H/8, W/8)."""
    return F.pixel_shuffle(blocks[:, :LUMA], GROUP), F.pixel_shuffle(blocks[:, LUMA:], GROUP // 2)


def rgb_matrix() -> Tensor:
    """Matrix (192, 96) from blocks of luma and chroma to those of RGB; chroma is repeated.

    Rows as ``pixel_unshuffle`` numbers them: colour, row, column.
    """
    chroma = LUMA + torch.arange((GROUP // 2) ** 2).view(GROUP // 2, GROUP // 2)
    chroma = chroma.repeat_interleave(2, 0).repeat_interleave(2, 1).flatten()
    here = torch.arange(GROUP * GROUP)
    matrix = torch.zeros(3, GROUP * GROUP, PREDICTED)
    matrix[:, here, here] = 1.0
    blue, red = 2.0 * (1.0 - LUMA_BLUE), 2.0 * (1.0 - LUMA_RED)
    green = 1.0 - LUMA_RED - LUMA_BLUE
    weights = torch.tensor(
        [[0.0, red], [-blue * LUMA_BLUE / green, -red * LUMA_RED / green], [blue, 0.0]]
    )
    for i in range(2):
        matrix[:, here, chroma + i * (GROUP // 2) ** 2] = weights[:, i : i + 1]
    return matrix.flatten(0, 1)


def predict(y: Tensor, c: Tensor, vectors: Tensor) -> Tensor:
    """Move luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) by vectors (B, 2, H/16, W/16).

    Returns blocks, both unshuffled to 1/8: (B, 96, H/8, W/8).
    """
    moved = (
        _unshuffle(_moved(y, vectors, 1), GROUP),
        _unshuffle(_moved(c, vectors, 2), GROUP // 2),
    )
    return torch.cat(moved, 1)


def _unshuffle(x: Tensor, factor: int) -> Tensor:
    """Transpose (B, C, W, H) and unshuffle it, in one: (B, C * factor^2, H / f, W / f)."""
    b, c, w, h = x.shape
    split = x.view(b, c, w // factor, factor, h // factor, factor).permute(0, 1, 5, 3, 4, 2)
    return split.reshape(b, c * factor * factor, h // factor, w // factor)


class MotionSearch(nn.Module):
    """Finds vectors; encoders only, so that nothing depends on its last bit. Needs no training.

    Full search at quarter resolution over +-REACH quarter pixels, then least squares (Lucas and
    Kanade, 1981) at half and full resolution with the compensation itself in the loop. A block
    keeps the best of no motion, the full search, and the refined vector.
    """

    REACH = 6
    DAMPING = 1e-4
    MAX_STEP = 2.0
    STILL_BONUS = 1e-3
    LENGTH_COST = 2e-4

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        """Vectors (B, 2, H/16, W/16) in pixels, to a frame (B, 3, H, W) from luma (B, 1, H, W)."""
        f1, r1 = luma(frame) - 0.5, reference
        f2, r2 = F.avg_pool2d(f1, 2), F.avg_pool2d(r1, 2)
        coarse = self._full_search(F.avg_pool2d(f2, 2), F.avg_pool2d(r2, 2))
        fine = self._refine(f2, r2, coarse, 2)
        fine = self._refine(f1, r1, self._refine(f1, r1, fine, 1), 1)
        still = torch.zeros_like(fine)
        choices = (still, coarse, fine)
        errors = [self._mean((f1 - compensate(r1, v, 1)).abs(), 1) for v in choices]
        best = torch.minimum(errors[1], errors[2])
        moved = torch.where(errors[2] <= errors[1], fine, coarse)
        return torch.where(errors[0] - self.STILL_BONUS <= best, still, moved)

    @staticmethod
    def _mean(x: Tensor, scale: int) -> Tensor:
        """Mean (B, C, H/16, W/16) over windows twice the size of a block."""
        half = F.avg_pool2d(x, LATENT_STRIDE // scale // 2)
        return F.avg_pool2d(half, 4, 2, 1, count_include_pad=False)

    def _full_search(self, frame: Tensor, reference: Tensor) -> Tensor:
        """Vectors of the least error; all displacements at once, one channel each."""
        side, (h, w) = 2 * self.REACH + 1, frame.shape[-2:]
        padded = F.pad(reference, (self.REACH,) * 4, mode="replicate")
        rows = torch.cat([padded[:, :, i : i + h] for i in range(side)], 1)
        moved = torch.cat([rows[..., i : i + w] for i in range(side)], 1)
        error = self._mean((frame - moved).abs(), 4) + self._costs(side).to(frame.device)
        # Not argmin: OpenVINO computes it wrongly on CPUs with AVX only. Ties give their mean.
        best = (error <= error.amin(1, keepdim=True)).to(error.dtype)
        steps = torch.arange(side, device=frame.device, dtype=error.dtype) - self.REACH
        dx, dy = steps.repeat_interleave(side), steps.repeat(side)
        places = torch.stack((dx, dy)).view(1, 2, side * side, 1, 1)
        found = (best[:, None] * places).sum(2) / best.sum(1, keepdim=True)
        return 4.0 * found

    def _costs(self, side: int) -> Tensor:
        """Cost of each displacement, (1, side^2, 1, 1): a long one must be worth it."""
        steps = torch.arange(side, dtype=torch.float32) - self.REACH
        length = steps.abs()[:, None] + steps.abs()[None, :]
        cost: Tensor = self.LENGTH_COST * length + self.STILL_BONUS * (length > 0)
        return cost.view(1, side * side, 1, 1)

    def _refine(self, frame: Tensor, reference: Tensor, vectors: Tensor, scale: int) -> Tensor:
        moved = compensate(reference, vectors, scale)
        x = F.pad((moved[..., 2:] - moved[..., :-2]) * 0.5, (1, 1, 0, 0))
        y = F.pad((moved[..., 2:, :] - moved[..., :-2, :]) * 0.5, (0, 0, 1, 1))
        error = frame - moved
        xx = self._mean(x * x, scale) + self.DAMPING
        yy = self._mean(y * y, scale) + self.DAMPING
        xy = self._mean(x * y, scale)
        xe, ye = self._mean(x * error, scale), self._mean(y * error, scale)
        step = torch.cat((yy * xe - xy * ye, xx * ye - xy * xe), 1) / (xx * yy - xy * xy)
        return vectors + step.clamp(-self.MAX_STEP, self.MAX_STEP) * scale
