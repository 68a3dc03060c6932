"""Motion: estimation (encoder only), the motion codec, and warping."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import zero_init
from nvc_models.latent import LatentConfig, LatentModel, QualityGain
from nvc_models.tian2023.config import InterConfig
from nvc_models.tian2023.transform import Analysis, Synthesis

PYRAMID_LEVELS = 4


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample ``x`` (B, C, H, W) bilinearly at ``flow`` (B, 2, H, W) pixels off; border padding.

    flow[:, 0] is horizontal (positive: to the right), flow[:, 1] vertical. Positions are whole
    pixels, which float32 holds exactly, and a fraction: ``GridSample`` normalises them to [-1, 1],
    and what that rounds is by far the largest difference between engines in wide pictures.
    """
    height, width = x.shape[-2:]
    columns, right_of = _neighbours(flow[:, :1], torch.arange(width, device=x.device), width)
    rows, below = _neighbours(flow[:, 1:], torch.arange(height, device=x.device)[:, None], height)
    lines = [row * width for row in rows]
    (a, b), (c, d) = ([_fetch(x, (line + column).int()) for column in columns] for line in lines)
    top, bottom = a + (b - a) * right_of, c + (d - c) * right_of
    return top + (bottom - top) * below


def _neighbours(flow: Tensor, start: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Pixels before and after each place (B, 1, H, W), inside the picture, and the fraction."""
    whole = flow.floor()
    first = start.to(flow.dtype) + whole
    return (first.clamp(0, size - 1), (first + 1.0).clamp(0, size - 1)), flow - whole


def _fetch(x: Tensor, places: Tensor) -> Tensor:
    """Fetch all channels of ``x`` (B, C, H, W) at places (B, 1, H, W), counted row by row."""
    flat, wanted = x.flatten(2), places.flatten(1)
    fetched = [image.index_select(1, at) for image, at in zip(flat, wanted, strict=True)]
    return torch.stack(fetched).view_as(x)


def resize_flow(flow: Tensor, factor: int) -> Tensor:
    """Enlarge a flow field bilinearly by an integer factor; vectors grow with it."""
    if factor == 1:
        return flow
    enlarged = F.interpolate(flow, scale_factor=factor, mode="bilinear", align_corners=False)
    return enlarged * factor


class LucasKanade(nn.Module):
    """One closed-form refinement of a flow: least squares over a window (Lucas and Kanade, 1981).

    Needs no training. ``regularization`` is added to the squared gradients (samples in [0, 1]),
    so that flat areas keep the flow they have; a step is limited to one pixel.
    """

    kernel: Tensor

    def __init__(self, window: int = 5, regularization: float = 1e-3) -> None:
        super().__init__()
        self.window, self.regularization = window, regularization
        slope = torch.tensor([-0.5, 0.0, 0.5])
        smooth = torch.tensor([0.25, 0.5, 0.25])
        kernel = torch.stack((smooth[:, None] * slope, slope[:, None] * smooth))[:, None]
        self.register_buffer("kernel", kernel, persistent=False)

    def _mean(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.window, 1, self.window // 2)

    def local_error(self, current: Tensor, warped: Tensor) -> Tensor:
        """Mean absolute difference (B, 1, H, W) over the window."""
        return self._mean((current - warped).abs().mean(1, keepdim=True))

    def forward(self, current: Tensor, warped: Tensor) -> Tensor:
        """Displacement (B, 2, H, W) that takes ``warped`` closer to ``current`` (B, 3, H, W)."""
        grey, target = warped.mean(1, keepdim=True), current.mean(1, keepdim=True)
        both = F.pad(0.5 * (grey + target), (1, 1, 1, 1), mode="replicate")
        gradient = F.conv2d(both, self.kernel)
        dx, dy = gradient[:, :1], gradient[:, 1:]
        difference = target - grey
        xx = self._mean(dx * dx) + self.regularization
        yy = self._mean(dy * dy) + self.regularization
        xy = self._mean(dx * dy)
        xt, yt = self._mean(dx * difference), self._mean(dy * difference)
        determinant = xx * yy - xy * xy
        step = torch.cat((yy * xt - xy * yt, xx * yt - xy * xt), 1) / determinant
        return step.clamp(-1.0, 1.0)


class FlowEstimator(nn.Module):
    """Coarse-to-fine flow in the manner of SPyNet: each level refines the one below.

    Works on frames reduced by ``stride`` (2 in the paper: a quarter of the cost). With
    ``analytic_steps`` each level first takes that many Lucas-Kanade steps; the network then adds
    what they miss. This needs far less training than a network alone.
    """

    def __init__(
        self, stride: int, widths: tuple[int, ...], kernel: int, analytic_steps: int
    ) -> None:
        super().__init__()
        self.stride = stride
        self.analytic, self.analytic_steps = LucasKanade(), analytic_steps
        channels = (8, *widths, 2)
        self.levels = nn.ModuleList()
        for _ in range(PYRAMID_LEVELS):
            layers: list[nn.Module] = []
            for a, b in pairwise(channels):
                layers += [nn.Conv2d(a, b, kernel, padding=kernel // 2), nn.LeakyReLU(0.1)]
            layers.pop()
            last = layers[-1]
            assert isinstance(last, nn.Conv2d)
            zero_init(last)
            self.levels.append(nn.Sequential(*layers))

    def _analytic_step(self, current: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
        """Take a Lucas-Kanade step wherever it lowers the local error."""
        warped = warp(previous, flow)
        moved = flow + self.analytic(current, warped)
        before = self.analytic.local_error(current, warped)
        after = self.analytic.local_error(current, warp(previous, moved))
        return torch.where(after < before, moved, flow)

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        """Flow (B, 2, H/stride, W/stride), in pixels of that size, from frame to reference."""
        pair = torch.cat((frame, reference), 1)
        pyramid = [F.avg_pool2d(pair, self.stride)]
        for _ in range(PYRAMID_LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        coarse = pyramid[-1]
        flow = coarse.new_zeros(coarse.shape[0], 2, coarse.shape[2] // 2, coarse.shape[3] // 2)
        for level, net in zip(reversed(pyramid), self.levels, strict=True):
            flow = resize_flow(flow, 2)
            current, previous = level.float().chunk(2, 1)
            for _ in range(self.analytic_steps):
                flow = self._analytic_step(current, previous, flow)
            warped = warp(previous, flow)
            flow = flow + net(torch.cat((current, warped, flow), 1)).float()
        return flow


class MotionCodec(nn.Module):
    """Codes a flow field at 1/motion_stride through a latent at 1/16."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        stages = {1: 4, 2: 3, 4: 2, 8: 1}[config.motion_stride]
        widths = (config.motion_width,) * stages
        shape = (widths, config.motion_latent, config.style, 1)
        self.analysis = Analysis(2, *shape)
        self.synthesis = Synthesis(2, *shape)
        self.latent = LatentModel(
            LatentConfig(
                config.motion_latent,
                config.motion_hyper,
                config.motion_latent,
                config.motion_entropy_width,
                config.style,
            )
        )
        self.encode_gain = QualityGain(config.motion_latent, 0.5, 1.5)
        self.decode_gain = QualityGain(config.motion_latent, -0.5, -1.5)

    def encode(self, flow: Tensor, gain: Tensor) -> Tensor:
        """Scaled motion latent (B, C, H/16, W/16) of a flow at 1/motion_stride."""
        y: Tensor = self.analysis(flow) * gain
        return y

    def decode(self, y_hat: Tensor, gain: Tensor) -> Tensor:
        """Flow (B, 2, H/motion_stride, W/motion_stride) from a decoded scaled latent."""
        flow: Tensor = self.synthesis(y_hat * gain)
        return flow
