"""The codec cut into graphs at its coding points, and the two programs over them.

Each graph is a module whose ``forward`` takes and returns named tensors; together with the
programs this is all an exporter needs to know of the family.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape
from nvc_models.latent_graphs import (
    LATENT_STRIDE,
    SCALE_TABLES,
    Decoded,
    PriorGraph,
    decoded_from,
    latent_graphs,
    latent_shapes,
    latent_steps,
    prior_outputs,
)
from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.config import ALIGNMENT
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel


class _ContextPrior(nn.Module):
    """As :class:`PriorGraph`, with the temporal prior taken from the coarsest context."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.prior, self.temporal = PriorGraph(model.latent), model.temporal_prior

    def forward(self, z: Tensor, c3: Tensor, y_ref: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.prior(z, self.temporal(c3), y_ref)
        return outputs


class _IntraAnalysis(nn.Module):
    def __init__(self, model: IntraModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        y = self.model.encode(frame, gain)
        return y, torch.round(self.model.latent.hyper_analysis(y))


class _IntraSynthesis(nn.Module):
    """Symbols -> frame, and the feature the next inter frame refers to."""

    def __init__(self, codec: Tian2023) -> None:
        super().__init__()
        self.intra, self.adapt = codec.intra, codec.inter.adapt
        self.decoded = Decoded(codec.intra.latent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        y, (gain,) = self.decoded(tensors)
        frame = self.intra.decode(y, gain).clamp(0.0, 1.0)
        return frame, self.adapt(frame)


class _MotionAnalysis(nn.Module):
    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, reference: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        flow = self.model.estimate_flow(frame, reference)
        y = self.model.motion.encode(flow, gain)
        return y, torch.round(self.model.motion.latent.hyper_analysis(y))


class _MotionContext(nn.Module):
    """Motion symbols -> motion latent to carry, contexts, and the compensated frame.

    Widths that warp features only do not read the reference frame.
    """

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.motion, self.context = model.motion, model.context
        self.with_prediction = model.config.warp_frame
        self.decoded = Decoded(model.motion.latent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        motion_hat, (gain, *frame, feature) = self.decoded(tensors)
        flow = self.motion.decode(motion_hat, gain)
        if not self.with_prediction:
            return (motion_hat, *self.context.contexts(feature, flow))
        return (motion_hat, *self.context(*frame, feature, flow))


class _ContextAnalysis(nn.Module):
    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        frame: Tensor,
        c1: Tensor,
        c2: Tensor,
        c3: Tensor,
        gain: Tensor,
        prediction: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        y = self.model.encoder(frame, prediction, c1, c2, c3) * gain
        return y, torch.round(self.model.latent.hyper_analysis(y))


class _InterSynthesis(nn.Module):
    """Symbols -> frame, feature and latent to carry."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.decoder, self.decoded = model.decoder, Decoded(model.latent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y_hat, (gain, c1, c2, c3, *prediction) = self.decoded(tensors)
        frame, feature = self.decoder(y_hat * gain, *(prediction or (None,)), c1, c2, c3)
        return frame.clamp(0.0, 1.0), feature, y_hat


def graphs_from_model(codec: Tian2023) -> CodecGraphs:
    """Cut a codec into graphs; see :class:`nvc_models.graph.CodecGraphs`."""
    intra, inter = codec.intra, codec.inter
    warp_frame = inter.config.warp_frame
    prediction = ["prediction"] if warp_frame else []
    contexts = ["c1", "c2", "c3"]
    motion_context: list[str] = [*decoded_from("motion", inter.motion.latent), "motion_decode_gain"]
    graphs = [
        CodecGraph(
            "intra_analysis",
            _IntraAnalysis(intra),
            ["frame", "intra_encode_gain"],
            ["intra_y", "intra_z"],
        ),
        CodecGraph(
            "intra_prior",
            PriorGraph(intra.latent),
            ["intra_z"],
            prior_outputs("intra", intra.latent),
        ),
        *latent_graphs("intra", intra.latent),
        CodecGraph(
            "intra_synthesis",
            _IntraSynthesis(codec),
            [*decoded_from("intra", intra.latent), "intra_decode_gain"],
            ["decoded", "feature"],
        ),
        CodecGraph("reference", inter.adapt, ["exact_frame"], ["feature"]),
        CodecGraph(
            "motion_analysis",
            _MotionAnalysis(inter),
            ["frame", "ref_frame", "motion_encode_gain"],
            ["motion_y", "motion_z"],
        ),
        CodecGraph(
            "motion_prior",
            PriorGraph(inter.motion.latent),
            ["motion_z", "ref_motion"],
            prior_outputs("motion", inter.motion.latent),
        ),
        *latent_graphs("motion", inter.motion.latent),
        CodecGraph(
            "motion_context",
            _MotionContext(inter),
            [*motion_context, *(["ref_frame"] if warp_frame else []), "ref_feature"],
            ["motion_hat", *contexts, *prediction],
        ),
        CodecGraph(
            "context_analysis",
            _ContextAnalysis(inter),
            ["frame", *contexts, "context_encode_gain", *prediction],
            ["context_y", "context_z"],
        ),
        CodecGraph(
            "context_prior",
            _ContextPrior(inter),
            ["context_z", "c3", "ref_y"],
            prior_outputs("context", inter.latent),
        ),
        *latent_graphs("context", inter.latent),
        CodecGraph(
            "inter_synthesis",
            _InterSynthesis(inter),
            [*decoded_from("context", inter.latent), "context_decode_gain", *contexts, *prediction],
            ["decoded", "feature", "context_hat"],
        ),
    ]
    return CodecGraphs(
        family="tian2023",
        alignment=ALIGNMENT,
        graphs=graphs,
        tensors=_tensors(codec),
        quality_vectors={
            "intra_encode_gain": intra.encode_gain.table(),
            "intra_decode_gain": intra.decode_gain.table(),
            "motion_encode_gain": inter.motion.encode_gain.table(),
            "motion_decode_gain": inter.motion.decode_gain.table(),
            "context_encode_gain": inter.encode_gain.table(),
            "context_decode_gain": inter.decode_gain.table(),
        },
        shapes={SCALE_TABLES: None},
        factorized={
            "intra_z": intra.latent.factorized,
            "motion_z": inter.motion.latent.factorized,
            "context_z": inter.latent.factorized,
        },
        programs=_programs(),
    )


def _tensors(codec: Tian2023) -> dict[str, TensorShape]:
    inter = codec.inter
    w1, w2, w3 = inter.context_channels
    s = inter.config.stem_stride
    latent = TensorShape(inter.config.latent, LATENT_STRIDE)
    motion = TensorShape(inter.config.motion_latent, LATENT_STRIDE)
    shapes = {
        "frame": TensorShape(3, 1),
        "decoded": TensorShape(3, 1),
        "exact_frame": TensorShape(3, 1),
        "prediction": TensorShape(3, 1),
        "feature": TensorShape(w1, s),
        "c1": TensorShape(w1, s),
        "c2": TensorShape(w2, 2 * s),
        "c3": TensorShape(w3, 4 * s),
        "context_hat": latent,
        "motion_hat": motion,
        "ref_frame": TensorShape(3, 1),
        "ref_feature": TensorShape(w1, s),
        "ref_y": latent,
        "ref_motion": motion,
    }
    for prefix, model in (
        ("intra", codec.intra.latent),
        ("motion", inter.motion.latent),
        ("context", inter.latent),
    ):
        shapes |= latent_shapes(prefix, model)
    return shapes


def _programs() -> dict[str, Any]:
    return {
        "intra": {
            "steps": [
                {"run": "intra_analysis", "side": "encode"},
                *latent_steps("intra", "intra_prior", "hyper", "intra"),
                {"run": "intra_synthesis"},
            ],
            "output": "decoded",
            "carry": {
                "ref_frame": "decoded",
                "ref_feature": "feature",
                "ref_y": 0,
                "ref_motion": 0,
            },
        },
        "inter": {
            "steps": [
                {"run": "motion_analysis", "side": "encode"},
                *latent_steps("motion", "motion_prior", "motion_hyper", "motion"),
                {"run": "motion_context"},
                {"run": "context_analysis", "side": "encode"},
                *latent_steps("context", "context_prior", "hyper", "context"),
                {"run": "inter_synthesis"},
            ],
            "output": "decoded",
            "carry": {
                "ref_frame": "decoded",
                "ref_feature": "feature",
                "ref_y": "context_hat",
                "ref_motion": "motion_hat",
            },
        },
        "sync": {
            "steps": [{"run": "reference"}],
            "carry": {
                "ref_frame": "exact_frame",
                "ref_feature": "feature",
                "ref_y": 0,
                "ref_motion": 0,
            },
        },
    }
