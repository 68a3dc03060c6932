"""What torch-pruning has to see of a swift codec.

Features of the intra model are offset by quality: their channels stay, as those of everything that
writes pictures do; the transforms of the inter model are nothing else. What can go lies inside the
blocks of the intra model, in its encoder between two of them, and in the entropy models.
"""

from __future__ import annotations

from torch import Tensor, nn

from nvc_export.pruning.trace import Trace, ends_of, spatial_source
from nvc_models.ordered_latent import OrderedLatentModel
from nvc_models.swift import Swift
from nvc_models.swift.planes import CHANNELS
from nvc_models.swift.vector_latent import MOTION, MOTION_CHANNELS


def _ordered_sources(name: str, latent: OrderedLatentModel) -> dict[str, int]:
    parts = enumerate(latent.config.parts[:-1])
    return {f"{name}_before": latent.config.channels} | {f"{name}_{i}": n for i, n in parts}


class SwiftTrace(Trace):
    """One pass through every network of a swift codec."""

    def __init__(self, codec: Swift) -> None:
        intra, inter = codec.intra, codec.inter
        super().__init__(
            {
                "intra": intra.config.latent,
                "intra_spatial": spatial_source(intra.latent),
                "moved": CHANNELS,
                "motion": MOTION,
                "vectors_before": MOTION_CHANNELS,
                **_ordered_sources("motion", inter.motion),
                **_ordered_sources("inter", inter.latent),
            }
        )
        self.codec = codec

    def fixed_layers(self) -> list[nn.Module]:
        """See ``Trace.fixed_layers``."""
        intra, inter = self.codec.intra, self.codec.inter
        fixed: list[nn.Module] = [self.sources, inter.context.transform]
        fixed += [inter.analysis, inter.synthesis]
        fixed += [intra.analysis.fine, intra.analysis.down]
        fixed += [intra.synthesis.up, intra.synthesis.last, intra.synthesis.shrinkage]
        layers = [layer for part in fixed for layer in part.modules()]
        return layers + ends_of((intra.latent, inter.motion, inter.latent))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Return the outputs of every network for a frame (1, 3, S, S)."""
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        bias = frame.new_zeros(1, intra.config.width, 1, 1)
        thresholds = intra.thresholds(frame.new_zeros(1))
        moved = self.enter("moved", side // 8)
        motion = self.enter("motion", side // 16)
        vectors_before = self.enter("vectors_before", side // 32)
        return [
            intra.analysis(frame),
            intra.synthesis(self.enter("intra", side // 16), bias, *thresholds),
            *self.entropy_model("intra", intra.latent, side, []),
            inter.analysis(frame, moved),
            *self._ordered("inter", inter.latent, side, [inter.context(moved), motion]),
            *self._ordered("motion", inter.motion, side, [vectors_before]),
        ]

    def _ordered(
        self, name: str, latent: OrderedLatentModel, side: int, priors: list[Tensor]
    ) -> list[Tensor]:
        """Pass through an entropy model in parts, which come from their sources."""
        small = priors[0].shape[-1]
        before = self.enter(f"{name}_before", small)
        z = before.new_zeros(1, latent.config.hyper_channels, side // 64, side // 64)
        features = latent.start(z, before, *priors)
        outputs = [latent.hyper_analysis(before), latent.scale_index(0, features)]
        for part in range(len(latent.config.parts) - 1):
            features = latent.update(part, features, self.enter(f"{name}_{part}", small))
            outputs.append(latent.scale_index(part + 1, features))
        return outputs
