"""What torch-pruning has to see of a swift codec.

Features are offset by quality, and the context meets them: their channels stay, as those of the
prediction do. What can go lies inside the blocks, in the encoder between two of them, and in the
entropy models.
"""

from __future__ import annotations

from torch import Tensor, nn

from nvc_export.pruning.trace import Trace, ends_of, spatial_source
from nvc_models.swift import Swift
from nvc_models.swift.motion import VECTORS
from nvc_models.swift.planes import CHANNELS


class SwiftTrace(Trace):
    """One pass through every network of a swift codec."""

    def __init__(self, codec: Swift) -> None:
        intra, inter = codec.intra, codec.inter
        super().__init__(
            {
                "intra": intra.config.latent,
                "intra_spatial": spatial_source(intra.latent),
                "inter": inter.config.latent,
                "inter_spatial": spatial_source(inter.latent),
                "moved": CHANNELS,
                "vectors": VECTORS,
                "motion_spatial": spatial_source(inter.motion),
            }
        )
        self.codec = codec

    def fixed_layers(self) -> list[nn.Module]:
        """See ``Trace.fixed_layers``; the prediction and the context, too."""
        intra, inter = self.codec.intra, self.codec.inter
        prediction = inter.prediction
        fixed = [self.sources, prediction.transform, prediction.keep, prediction.change]
        fixed += [
            inter.temporal_prior,
            inter.synthesis.join,
            intra.analysis.fine,
            inter.analysis.transform,
        ]
        for model in (intra, inter):
            fixed += [model.analysis.down, model.synthesis.up, model.synthesis.last]
        layers = [layer for part in fixed for layer in part.modules()]
        return layers + ends_of((intra.latent, inter.motion, inter.latent))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Return the outputs of every network for a frame (1, 3, S, S)."""
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        bias = frame.new_zeros(1, intra.config.width, 1, 1)
        context, predicted = inter.prediction(self.enter("moved", side // 8))
        vectors = self.enter("vectors", side // 16)
        priors = [inter.temporal_prior(context), vectors]
        y, no_bias = self.enter("inter", side // 16), frame.new_zeros(1, inter.config.width, 1, 1)
        return [
            intra.analysis(frame),
            intra.synthesis(self.enter("intra", side // 16), bias),
            *self.entropy_model("intra", intra.latent, side, []),
            inter.analysis(frame, predicted),
            inter.synthesis(y, no_bias, context, predicted),
            *self.entropy_model("inter", inter.latent, side, priors),
            *self.entropy_model("motion", inter.motion, side, [vectors]),
        ]
