"""What torch-pruning has to see of a swift codec.

Features are offset by quality, and the context meets them: their channels stay, as those of the
prediction do. What can go lies inside the blocks, in the encoder between two of them, and in the
entropy models.
"""

from __future__ import annotations

from torch import Tensor, nn

from nvc_export.pruning.trace import Trace, ends_of
from nvc_models.swift import Swift
from nvc_models.swift.motion import VECTORS
from nvc_models.swift.planes import CHANNELS


class SwiftTrace(Trace):
    """One pass through every network of a swift codec."""

    def __init__(self, codec: Swift) -> None:
        intra, inter = codec.intra.config.latent, codec.inter.config.latent
        super().__init__(
            {
                "intra": intra,
                "intra_spatial": intra,
                "inter": inter,
                "inter_spatial": inter,
                "prediction": CHANNELS,
                "motion_prior": VECTORS,
                "motion_spatial": VECTORS,
            }
        )
        self.codec = codec

    def fixed_layers(self) -> list[nn.Module]:
        """See ``Trace.fixed_layers``; the context, too."""
        intra, inter = self.codec.intra, self.codec.inter
        layers = list(self.sources.values())
        layers += [inter.adapt, inter.temporal_prior[0], inter.head.keep]
        for model in (intra, inter):
            layers += [model.analysis.down, model.synthesis.up[0], model.head.last]
        return layers + ends_of((intra.latent, inter.motion, inter.latent))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Return the outputs of every network for a frame (1, 3, S, S)."""
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        bias = frame.new_zeros(1, intra.config.width, 1, 1)
        features = intra.synthesis(self.enter("intra", side // 16), bias)
        prediction = self.enter("prediction", side // 8)
        context = inter.context(inter.adapt(prediction))
        bias = frame.new_zeros(1, inter.config.width, 1, 1)
        joined = inter.synthesis(self.enter("inter", side // 16), bias, context)
        priors = [inter.temporal_prior(context)]
        vectors = [self.enter("motion_prior", side // 16)]
        return [
            intra.analysis(frame),
            intra.head(features),
            *self.entropy_model("intra", intra.latent, side, []),
            inter.analysis(frame, context),
            inter.head(joined, prediction),
            *self.entropy_model("inter", inter.latent, side, priors),
            *self.entropy_model("motion", inter.motion, side, vectors),
        ]
