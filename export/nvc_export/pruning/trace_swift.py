"""What torch-pruning has to see of a swift codec.

Its feature is carried from frame to frame and offset by quality: its channels stay. What can go
lies inside the blocks, in the encoder between two of them, and in the entropy models.
"""

from __future__ import annotations

from torch import Tensor, nn

from nvc_export.pruning.trace import Trace, ends_of
from nvc_models.swift import Swift


class SwiftTrace(Trace):
    """One pass through every network of a swift codec."""

    def __init__(self, codec: Swift) -> None:
        intra, inter = codec.intra.config.latent, codec.inter.config.latent
        super().__init__(
            {
                "intra": intra,
                "intra_spatial": 4 * intra,
                "inter": inter,
                "inter_prior": inter,
                "inter_spatial": 4 * inter,
            }
        )
        self.codec = codec

    def fixed_layers(self) -> list[nn.Module]:
        """See ``Trace.fixed_layers``; the carried feature, too."""
        intra, inter = self.codec.intra, self.codec.inter
        layers = list(self.sources.values())
        layers += [inter.adapt[1], inter.temporal_prior[0]]
        for model in (intra, inter):
            layers += [model.analysis.down, model.synthesis.up[0], model.synthesis.last]
        return layers + ends_of((intra.latent, inter.latent))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Return the outputs of every network for a frame (1, 3, S, S)."""
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        outputs = [
            intra.analysis(frame),
            *intra.synthesis(
                self.enter("intra", side // 16), frame.new_zeros(1, intra.config.width, 1, 1)
            ),
            *self.entropy_model("intra", intra.latent, side, []),
        ]
        feature = inter.adapt(frame)
        context = inter.context(feature)
        decoded, carried = inter.synthesis(
            self.enter("inter", side // 16),
            frame.new_zeros(1, inter.config.width, 1, 1),
            context,
        )
        priors = [inter.temporal_prior(context), self.enter("inter_prior", side // 16)]
        return [
            *outputs,
            inter.analysis(frame, context),
            decoded,
            # The next frame takes the one for the other.
            feature + carried,
            *self.entropy_model("inter", inter.latent, side, priors),
        ]
