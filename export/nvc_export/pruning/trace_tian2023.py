"""What torch-pruning has to see of a Tian-2023 codec."""

from __future__ import annotations

from torch import Tensor, nn

from nvc_export.pruning.trace import Replacement, Trace, ends_of
from nvc_models.tian2023 import Tian2023


class _Entries(nn.Module):
    """Stands for a pixel unshuffle whose results are concatenated: a layer for each use."""

    def __init__(self, unshuffle: nn.PixelUnshuffle, uses: int) -> None:
        super().__init__()
        channels = 3 * unshuffle.downscale_factor**2
        self.unshuffle, self.calls = unshuffle, 0
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(uses))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layers[self.calls % len(self.layers)]
        self.calls += 1
        y: Tensor = layer(self.unshuffle(x))
        return y


class Tian2023Trace(Trace):
    """One pass through every network of a Tian-2023 codec."""

    def __init__(self, codec: Tian2023) -> None:
        inter = codec.inter.config
        latent, motion = inter.latent, inter.motion_latent
        super().__init__(
            {
                "intra": codec.intra.config.latent,
                "context": latent,
                "context_prior": latent,
                "motion": motion,
                "motion_prior": motion,
                "extra": 3 * inter.stem_stride**2,
                "intra_spatial": 4 * codec.intra.config.latent,
                "context_spatial": 4 * latent,
                "motion_spatial": 4 * motion,
            }
        )
        self.codec = codec
        self.encoder_entries = next(
            m for m in codec.inter.encoder.children() if isinstance(m, _Entries)
        )

    @staticmethod
    def replacements(codec: Tian2023) -> list[Replacement]:
        """Give what the encoder concatenates a layer for each use."""
        encoder = codec.inter.encoder
        entries = _Entries(encoder.unshuffle, 2 if encoder.warp_frame else 1)
        return [(encoder, "unshuffle", entries)]

    def fixed_layers(self) -> list[nn.Module]:
        """See ``Trace.fixed_layers``; flows, too."""
        intra, inter = self.codec.intra, self.codec.inter
        layers = list(self.sources.values())
        layers += list(self.encoder_entries.layers)
        layers += [intra.analysis.last, intra.synthesis.last]
        layers += [inter.motion.analysis.last, inter.motion.synthesis.last]
        layers += [inter.encoder.tail[-1], inter.decoder.last]
        layers += [level[-1] for level in inter.flow.levels]  # type: ignore[index]
        if intra.refine is not None:
            layers.append(intra.refine.exit)
        return layers + ends_of((intra.latent, inter.latent, inter.motion.latent))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Return the outputs of every network for a frame (1, 3, S, S)."""
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        y = self.enter("intra", side // 16)
        outputs = [intra.analysis(intra.unshuffle(frame)), intra.synthesis(y)]
        if intra.refine is not None:
            outputs.append(intra.refine(frame))
        outputs += self.entropy_model("intra", intra.latent, side, [])
        outputs += [net(frame.new_zeros(1, 8, side, side)) for net in inter.flow.levels]
        outputs += self._motion(frame)
        outputs += self._context(frame)
        return outputs

    def _motion(self, frame: Tensor) -> list[Tensor]:
        inter, side = self.codec.inter, frame.shape[-1]
        small = side // inter.config.motion_stride
        coded = inter.motion.analysis(frame.new_zeros(1, 2, small, small))
        prior = self.enter("motion_prior", side // 16)
        return [
            coded,
            inter.motion.synthesis(self.enter("motion", side // 16)),
            *self.entropy_model("motion", inter.motion.latent, side, [prior]),
        ]

    def _context(self, frame: Tensor) -> list[Tensor]:
        inter, side = self.codec.inter, frame.shape[-1]
        config = inter.config
        small = side // config.stem_stride
        flow_side = side // config.motion_stride
        flow = frame.new_zeros(1, 2, flow_side, flow_side)
        extra = None
        if config.warp_frame:
            extra = self.enter("extra", small)
        feature = inter.adapt(frame)
        c1, c2, c3 = inter.context.contexts(feature, flow, extra)
        prediction = frame if config.warp_frame else None
        decoded, carried = inter.decoder(self.enter("context", side // 16), prediction, c1, c2, c3)
        priors = [inter.temporal_prior(c3), self.enter("context_prior", side // 16)]
        return [
            inter.encoder(frame, prediction, c1, c2, c3),
            decoded,
            # The next frame takes the one for the other.
            feature + carried,
            *self.entropy_model("context", inter.latent, side, priors),
        ]
