"""The swift codec cut into graphs at its coding points, and the programs over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape
from nvc_models.latent_graphs import (
    LATENT_STRIDE,
    PRIOR_OUTPUTS,
    PriorGraph,
    decoded_from,
    latent_graphs,
    latent_hat,
    latent_shapes,
    latent_steps,
)
from nvc_models.swift.codec import STRIDE, InterModel, IntraModel, Swift
from nvc_models.swift.config import ALIGNMENT


class _IntraAnalysis(nn.Module):
    def __init__(self, model: IntraModel) -> None:
        super().__init__()
        self.analysis, self.latent = model.analysis, model.latent

    def forward(self, frame: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        y = self.analysis(frame) * gain
        return y, torch.round(self.latent.hyper_analysis(y))


class _IntraSynthesis(nn.Module):
    """Symbols -> frame, and what the next inter frame knows of it."""

    def __init__(self, codec: Swift) -> None:
        super().__init__()
        self.synthesis = codec.intra.synthesis
        self.reference = _Reference(codec.inter)

    def forward(
        self,
        s0: Tensor,
        m0: Tensor,
        s1: Tensor,
        m1: Tensor,
        step: Tensor,
        gain: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, ...]:
        decoded, _ = self.synthesis(latent_hat(s0, m0, s1, m1, step) * gain, bias)
        frame = decoded.clamp(0.0, 1.0)
        return (frame, *self.reference(frame))


class _Reference(nn.Module):
    """Frame -> context and temporal prior of the next inter frame."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        context = self.model.context(self.model.adapt(frame - 0.5))
        return context, self.model.temporal_prior(context)


class _InterAnalysis(nn.Module):
    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.analysis, self.latent = model.analysis, model.latent

    def forward(self, frame: Tensor, context: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        y = self.analysis(frame, context) * gain
        return y, torch.round(self.latent.hyper_analysis(y))


class _InterSynthesis(nn.Module):
    """Symbols -> frame, and context, temporal prior and latent for the next."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.synthesis, self.context = model.synthesis, model.context
        self.temporal_prior = model.temporal_prior

    def forward(
        self,
        s0: Tensor,
        m0: Tensor,
        s1: Tensor,
        m1: Tensor,
        step: Tensor,
        gain: Tensor,
        bias: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y_hat = latent_hat(s0, m0, s1, m1, step)
        frame, feature = self.synthesis(y_hat * gain, bias, context)
        following = self.context(feature)
        return frame.clamp(0.0, 1.0), following, self.temporal_prior(following), y_hat


def graphs_from_model(codec: Swift) -> CodecGraphs:
    """Cut a codec into graphs; see :class:`nvc_models.graph.CodecGraphs`.

    The context of the next frame is computed in the graph that ends a frame, so that decoding an
    inter frame takes three engine calls.
    """
    intra, inter = codec.intra, codec.inter
    carried = ["context", "temporal"]
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
            [f"intra_{o}" for o in PRIOR_OUTPUTS],
        ),
        *latent_graphs("intra", intra.latent),
        CodecGraph(
            "intra_synthesis",
            _IntraSynthesis(codec),
            [*decoded_from("intra"), "intra_decode_gain", "intra_decode_bias"],
            ["decoded", *carried],
        ),
        CodecGraph("reference", _Reference(inter), ["exact_frame"], carried),
        CodecGraph(
            "inter_analysis",
            _InterAnalysis(inter),
            ["frame", "ref_context", "inter_encode_gain"],
            ["inter_y", "inter_z"],
        ),
        CodecGraph(
            "inter_prior",
            PriorGraph(inter.latent),
            ["inter_z", "ref_temporal", "ref_y"],
            [f"inter_{o}" for o in PRIOR_OUTPUTS],
        ),
        *latent_graphs("inter", inter.latent),
        CodecGraph(
            "inter_synthesis",
            _InterSynthesis(inter),
            [*decoded_from("inter"), "inter_decode_gain", "inter_decode_bias", "ref_context"],
            ["decoded", *carried, "inter_hat"],
        ),
    ]
    return CodecGraphs(
        family="swift",
        alignment=ALIGNMENT,
        graphs=graphs,
        tensors=_tensors(codec),
        quality_vectors={
            "intra_encode_gain": intra.encode_gain.table(),
            "intra_decode_gain": intra.decode_gain.table(),
            "intra_decode_bias": intra.decode_bias.table(),
            "inter_encode_gain": inter.encode_gain.table(),
            "inter_decode_gain": inter.decode_gain.table(),
            "inter_decode_bias": inter.decode_bias.table(),
        },
        factorized={"intra_z": intra.latent.factorized, "inter_z": inter.latent.factorized},
        programs=_programs(),
    )


def _tensors(codec: Swift) -> dict[str, TensorShape]:
    config = codec.config.inter
    picture = TensorShape(3, 1)
    context = TensorShape(config.width, STRIDE)
    temporal = TensorShape(config.width, LATENT_STRIDE)
    latent = TensorShape(config.latent, LATENT_STRIDE)
    return {
        "frame": picture,
        "decoded": picture,
        "exact_frame": picture,
        "context": context,
        "ref_context": context,
        "temporal": temporal,
        "ref_temporal": temporal,
        "inter_hat": latent,
        "ref_y": latent,
        **latent_shapes("intra", codec.intra.latent),
        **latent_shapes("inter", codec.inter.latent),
    }


def _programs() -> dict[str, Any]:
    carry = {"ref_context": "context", "ref_temporal": "temporal"}
    return {
        "intra": {
            "steps": [
                {"run": "intra_analysis", "side": "encode"},
                *latent_steps("intra", "intra_prior", "hyper", "intra"),
                {"run": "intra_synthesis"},
            ],
            "output": "decoded",
            "carry": carry | {"ref_y": 0},
        },
        "inter": {
            "steps": [
                {"run": "inter_analysis", "side": "encode"},
                *latent_steps("inter", "inter_prior", "hyper", "inter"),
                {"run": "inter_synthesis"},
            ],
            "output": "decoded",
            "carry": carry | {"ref_y": "inter_hat"},
        },
        "sync": {"steps": [{"run": "reference"}], "carry": carry | {"ref_y": 0}},
    }
