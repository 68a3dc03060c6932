"""Inter model: codes a frame given what both sides know of the frames before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import Down, Fuse, UNet, Up, conv1x1, conv3x3, residual_block
from nvc_models.latent import LatentConfig, LatentModel, QualityGain, Quantized, Rounding
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.tian2023.config import LATENT_STRIDE, InterConfig
from nvc_models.tian2023.motion import FlowEstimator, MotionCodec, resize_flow, warp


@dataclass
class Reference:
    """What is carried from frame to frame.

    frame (B, 3, H, W) in [0, 1]; feature (B, F, H/s, W/s); the scaled latents y_hat and
    motion_hat at 1/16, zeros after an intra frame.
    """

    frame: Tensor
    feature: Tensor
    y_hat: Tensor
    motion_hat: Tensor


@dataclass
class InterResult:
    """Reconstruction, what to carry, and the bits of the two latents."""

    frame: Tensor
    reference: Reference
    motion: Quantized
    context: Quantized
    flow: Tensor
    flow_hat: Tensor
    prediction: Tensor


class ContextModel(nn.Module):
    """Three-level pyramid of the reference feature, warped and fused coarse to fine.

    The paper warps every level of the pyramid; without ``warp_pyramid`` the finest level is
    warped and the pyramid made of it, which costs half as many samples.
    """

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        w1, w2, w3 = config.widths
        style = config.style
        self.stem_stride, self.motion_stride = config.stem_stride, config.motion_stride
        self.warp_pyramid = config.warp_pyramid
        self.down_2, self.down_3 = Down(w1, w2, style), Down(w2, w3, style)
        self.block_3 = residual_block(style, w3) if style == "conv" else nn.Identity()
        self.up_3, self.fuse_2 = Up(w3, w2, style, block=False), Fuse(w2, w2, style)
        self.block_2 = residual_block(style, w2)
        self.up_2 = Up(w2, w1, style, block=False)
        pixels = 3 * config.stem_stride**2 if config.warp_frame else 0
        self.fuse_1 = Fuse(w1, w1 + pixels, style)
        self.block_1 = residual_block(style, w1)
        self.unshuffle = nn.PixelUnshuffle(config.stem_stride)
        self.warp_frame = config.warp_frame

    def scaled_flow(self, flow: Tensor, stride: int) -> Tensor:
        """Convert the coded flow to another stride, in pixels of that stride."""
        if stride <= self.motion_stride:
            return resize_flow(flow, self.motion_stride // stride)
        factor = stride // self.motion_stride
        return F.avg_pool2d(flow, factor) * (1.0 / factor)

    def predict(self, frame: Tensor, flow: Tensor) -> Tensor:
        """Return the reference frame, motion compensated at full size, (B, 3, H, W)."""
        return warp(frame, self.scaled_flow(flow, 1))

    def forward(
        self, frame: Tensor, feature: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Contexts c1, c2, c3 at s, 2s, 4s, and the motion-compensated frame."""
        flow = flow.float()
        prediction = self.predict(frame, flow)
        extra = self.unshuffle(prediction) if self.warp_frame else None
        return (*self.contexts(feature, flow, extra), prediction)

    def contexts(
        self, feature: Tensor, flow: Tensor, extra: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contexts c1, c2, c3; ``extra`` (B, 3 s**2, H/s, W/s) joins the finest."""
        s = self.stem_stride
        c1 = warp(feature.float(), self.scaled_flow(flow, s))
        if self.warp_pyramid:
            feature_2 = self.down_2(feature)
            feature_3 = self.down_3(feature_2)
            c2 = warp(feature_2.float(), self.scaled_flow(flow, 2 * s))
            c3 = warp(feature_3.float(), self.scaled_flow(flow, 4 * s))
        else:
            c2 = self.down_2(c1)
            c3 = self.down_3(c2)
        c3 = self.block_3(c3)
        c2 = self.block_2(self.fuse_2(c2, self.up_3(c3)))
        finer = self.up_2(c2)
        if extra is not None:
            finer = torch.cat((finer, extra), 1)
        c1 = self.block_1(self.fuse_1(c1, finer))
        return c1, c2, c3


class ContextualEncoder(nn.Module):
    """frame + c1 -> stride 2, + c2 -> stride 2, + c3 -> ... -> latent at 1/16."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        w1, w2, w3 = config.widths
        s, style = config.stem_stride, config.style
        pixels = 3 * s * s
        width = config.encoder_width
        make = conv1x1 if style == "separable" else conv3x3
        self.unshuffle = nn.PixelUnshuffle(s)
        residual = pixels if config.warp_frame else 0
        self.stem = make(pixels + residual + w1, width)
        self.down_2 = Down(width, w2, style)
        self.fuse_2, self.block_2 = Fuse(w2, w2, style), residual_block(style, w2)
        self.down_3 = Down(w2, w3, style)
        self.fuse_3, self.block_3 = Fuse(w3, w3, style), residual_block(style, w3)
        rest = LATENT_STRIDE // (4 * s)
        tail: list[nn.Module] = []
        while rest > 1:
            tail.append(Down(w3, w3, style))
            rest //= 2
        last = conv1x1 if style == "separable" else conv3x3
        self.tail = nn.Sequential(*tail, last(w3, config.latent))
        self.warp_frame = config.warp_frame

    def forward(
        self, frame: Tensor, prediction: Tensor | None, c1: Tensor, c2: Tensor, c3: Tensor
    ) -> Tensor:
        """Latent (B, C, H/16, W/16) before scaling; ``prediction`` is used if frames are warped."""
        parts = [self.unshuffle(frame), c1]
        if prediction is not None and self.warp_frame:
            parts.insert(1, self.unshuffle(prediction))
        x = self.stem(torch.cat(parts, 1))
        x = self.block_2(self.fuse_2(self.down_2(x), c2))
        x = self.block_3(self.fuse_3(self.down_3(x), c3))
        y: Tensor = self.tail(x)
        return y


class ContextualDecoder(nn.Module):
    """Latent -> pixel-shuffle ups with c3 and c2 on the way -> feature and frame."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        w1, w2, w3 = config.widths
        s, style = config.stem_stride, config.style
        first = conv1x1 if style == "separable" else conv3x3
        head: list[nn.Module] = [first(config.latent, w3)]
        rest = LATENT_STRIDE // (4 * s)
        while rest > 1:
            head.append(Up(w3, w3, style))
            rest //= 2
        self.head = nn.Sequential(*head)
        self.fuse_3 = Fuse(w3, w3, style)
        self.blocks_3 = nn.Sequential(*(residual_block(style, w3) for _ in range(2)))
        self.up_3, self.fuse_2 = Up(w3, w2, style, block=False), Fuse(w2, w2, style)
        self.block_2 = residual_block(style, w2)
        self.up_2 = Up(w2, w1, style, block=False)
        self.fuse_1 = Fuse(w1, w1, style)
        self.refine: nn.Module = (
            UNet(w1, w1, config.refine_width)
            if config.refine_width
            else nn.Sequential(*(residual_block(style, w1) for _ in range(config.blocks)))
        )
        self.refine_is_residual = not config.refine_width
        last = conv1x1 if style == "separable" else conv3x3
        self.last = last(w1, 3 * s * s)
        self.shuffle = nn.PixelShuffle(s)
        self.warp_frame = config.warp_frame

    def forward(
        self, y: Tensor, prediction: Tensor | None, c1: Tensor, c2: Tensor, c3: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Frame (B, 3, H, W), not clamped, and the feature to carry (B, w1, H/s, W/s)."""
        x = self.blocks_3(self.fuse_3(self.head(y), c3))
        x = self.block_2(self.fuse_2(self.up_3(x), c2))
        x = self.fuse_1(self.up_2(x), c1)
        feature = self.refine(x) if self.refine_is_residual else x + self.refine(x)
        frame = self.shuffle(self.last(feature))
        if prediction is not None and self.warp_frame:
            frame = prediction + frame
        return frame, feature


class InterModel(nn.Module):
    """Motion estimation, motion codec, contexts, contextual codec."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.config = config
        w1, _, w3 = config.widths
        s = config.stem_stride
        self.flow = FlowEstimator(
            config.flow_stride,
            config.flow_widths,
            config.flow_kernel,
            config.flow_analytic_steps,
        )
        self.motion = MotionCodec(config)
        first = conv1x1 if config.style == "separable" else conv3x3
        self.adapt = nn.Sequential(nn.PixelUnshuffle(s), first(3 * s * s, w1))
        self.context = ContextModel(config)
        self.encoder = ContextualEncoder(config)
        self.decoder = ContextualDecoder(config)
        temporal: list[nn.Module] = []
        stride = 4 * s
        while stride < LATENT_STRIDE:
            temporal += [conv3x3(w3, w3, 2), nn.LeakyReLU(0.1)]
            stride *= 2
        self.temporal_prior = nn.Sequential(*temporal)
        self.latent = LatentModel(
            LatentConfig(
                config.latent,
                config.hyper,
                w3 + config.latent,
                config.entropy_width,
                config.style,
            )
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)

    @property
    def context_channels(self) -> tuple[int, int, int]:
        """Channels of the contexts c1, c2, c3; the feature that is carried has those of c1."""
        down_3 = self.context.down_3.shortcut
        return (
            self.context.fuse_1.layer.out_channels,
            self.context.fuse_2.layer.out_channels,
            down_3.out_channels,
        )

    def reference_from_intra(self, frame: Tensor) -> Reference:
        """Return what an inter frame finds after an intra frame (B, 3, H, W)."""
        b, _, h, w = frame.shape
        size = (h // LATENT_STRIDE, w // LATENT_STRIDE)
        return Reference(
            frame,
            self.adapt(frame),
            frame.new_zeros(b, self.config.latent, *size),
            frame.new_zeros(b, self.config.motion_latent, *size),
        )

    def estimate_flow(self, frame: Tensor, reference: Tensor) -> Tensor:
        """Flow from frame to reference at 1/motion_stride, (B, 2, ...)."""
        flow = self.flow(frame, reference)
        return resize_flow(flow, self.config.flow_stride // self.config.motion_stride)

    def priors(self, c3: Tensor, y_ref: Tensor) -> tuple[Tensor, Tensor]:
        """Temporal priors of the context latent, both at 1/16."""
        return self.temporal_prior(c3), y_ref

    def forward(
        self,
        frame: Tensor,
        reference: Reference,
        quality: Tensor,
        *,
        rounding: Rounding,
        skip_level: int = -1,
    ) -> InterResult:
        """Code a frame (B, 3, H, W) at a quality (B,), [0, 63]."""
        flow = self.estimate_flow(frame, reference.frame)
        motion_y = self.motion.encode(flow, self.motion.encode_gain(quality))
        motion = self.motion.latent(
            motion_y.float(), reference.motion_hat, rounding=rounding, skip_level=skip_level
        )
        flow_hat = self.motion.decode(motion.y_hat, self.motion.decode_gain(quality)).float()
        c1, c2, c3, prediction = self.context(reference.frame, reference.feature, flow_hat)
        y = self.encoder(frame, prediction, c1, c2, c3) * self.encode_gain(quality)
        context = self.latent(
            y.float(),
            *self.priors(c3, reference.y_hat),
            rounding=rounding,
            skip_level=skip_level,
        )
        decoded, feature = self.decoder(
            context.y_hat * self.decode_gain(quality), prediction, c1, c2, c3
        )
        decoded = decoded.float()
        carried = decoded.clamp(0.0, 1.0)
        return InterResult(
            frame=decoded if self.training else carried,
            reference=Reference(carried, feature, context.y_hat, motion.y_hat),
            motion=motion,
            context=context,
            flow=flow,
            flow_hat=flow_hat,
            prediction=prediction,
        )
