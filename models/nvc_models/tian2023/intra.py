"""Intra model: codes one frame on its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nvc_models.blocks import UNet
from nvc_models.latent import LatentConfig, LatentModel, QualityGain, Quantized, Rounding
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.tian2023.config import IntraConfig
from nvc_models.tian2023.transform import Analysis, Synthesis


@dataclass
class IntraResult:
    """Reconstruction (B, 3, H, W) and the bits it took, (B,) each."""

    frame: Tensor
    latent: Quantized


class IntraModel(nn.Module):
    """Autoencoder with hyperprior and dual spatial prior. Frames: RGB in [0, 1], (B, 3, H, W)."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        self.config = config
        s = config.stem_stride
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(s), nn.PixelShuffle(s)
        pixels = 3 * s * s
        shape = (config.latent, config.style, config.blocks)
        self.analysis = Analysis(pixels, config.widths, *shape)
        self.synthesis = Synthesis(pixels, config.synthesis_widths or config.widths, *shape)
        self.refine = UNet(3, 3, config.refine_width) if config.refine_width else None
        self.latent = LatentModel(
            LatentConfig(config.latent, config.hyper, 0, config.entropy_width, config.style)
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)

    def encode(self, frame: Tensor, gain: Tensor) -> Tensor:
        """Scaled latent (B, C, H/16, W/16) of a frame."""
        y: Tensor = self.analysis(self.unshuffle(frame) - 0.5) * gain
        return y

    def decode(self, y_hat: Tensor, gain: Tensor) -> Tensor:
        """Frame (B, 3, H, W), not clamped, from a decoded scaled latent."""
        frame: Tensor = self.shuffle(self.synthesis(y_hat * gain)) + 0.5
        return frame + self.refine(frame) if self.refine is not None else frame

    def forward(
        self, frame: Tensor, quality: Tensor, *, rounding: Rounding, skip_level: int = -1
    ) -> IntraResult:
        """Code a frame at a quality (B,), [0, 63]."""
        y = self.encode(frame, self.encode_gain(quality))
        coded = self.latent(y.float(), rounding=rounding, skip_level=skip_level)
        decoded = self.decode(coded.y_hat, self.decode_gain(quality)).float()
        if not self.training:
            decoded = decoded.clamp(0.0, 1.0)
        return IntraResult(decoded, coded)
