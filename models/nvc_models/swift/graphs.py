"""The swift codec cut into graphs at its coding points, and the programs over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape
from nvc_models.latent_graphs import (
    LATENT_STRIDE,
    Decoded,
    PriorGraph,
    decoded_from,
    latent_graphs,
    latent_shapes,
    latent_steps,
    prior_outputs,
)
from nvc_models.ordered_latent import magnitudes
from nvc_models.ordered_latent_graphs import (
    SymbolsGraph,
    carried_names,
    next_graphs,
    ordered_shapes,
    ordered_steps,
    part_names,
    start_graph,
)
from nvc_models.swift.codec import (
    STRIDE,
    InterModel,
    IntraModel,
    Swift,
)
from nvc_models.swift.config import ALIGNMENT
from nvc_models.swift.planes import CHANNELS, planes_from_rgb, rgb_from_planes
from nvc_models.swift.vector_graphs import (
    BEFORE,
    DecodedVectors,
    vector_graphs,
    vector_shapes,
    vector_steps,
    vectors_from,
)
from nvc_models.swift.vector_latent import MOTION


class _IntraAnalysis(nn.Module):
    def __init__(self, model: IntraModel) -> None:
        super().__init__()
        self.analysis, self.latent = model.analysis, model.latent

    def forward(self, frame: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        y = self.analysis(frame) * gain
        return y, torch.round(self.latent.hyper_analysis(y))


class _IntraSynthesis(nn.Module):
    """Symbols -> luma and chroma."""

    def __init__(self, model: IntraModel) -> None:
        super().__init__()
        self.synthesis, self.decoded = model.synthesis, Decoded(model.latent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        y, (gain, bias, *thresholds) = self.decoded(tensors)
        planes: tuple[Tensor, Tensor] = self.synthesis(y * gain, bias, *thresholds)
        return planes


class _Picture(nn.Module):
    """Luma and chroma -> frame."""

    def forward(self, luma: Tensor, chroma: Tensor) -> Tensor:
        return rgb_from_planes(luma, chroma)


class _Reference(nn.Module):
    """Frame -> luma and chroma."""

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        return planes_from_rgb(frame)


class _MotionAnalysis(nn.Module):
    """Frame, luma and vectors before -> vectors in coding order and their hyperlatent."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frame: Tensor, reference: Tensor, before: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor]:
        latent = self.model.motion
        y = latent.arrange(self.model.find_motion(frame, reference, step))
        return y, torch.round(latent.hyper_difference(y, before))


class _Context(nn.Module):
    """Symbols of the vectors -> these, the moved blocks, what both foretell, filter strength."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.model, self.decoded = model, DecodedVectors(model.motion)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        vectors, symbols, (luma, chroma) = self.decoded(tensors)
        coefficients = self.model.motion.rearrange(vectors)
        moves, moved = self.model.move(luma, chroma, coefficients)
        foretold = (self.model.context(moved), magnitudes(coefficients))
        return vectors, symbols, moved, *foretold, self.model.strength.of_vectors(moves)


class _InterAnalysis(nn.Module):
    """Frame and moved blocks -> symbols of the latent's parts and hyperlatent."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.analysis, self.symbols = model.analysis, SymbolsGraph(model.latent)

    def forward(self, frame: Tensor, moved: Tensor, gain: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = self.symbols(self.analysis(frame, moved) * gain)
        return parts


class _InterSynthesis(nn.Module):
    """Symbols, moved blocks and their filter strength -> luma and chroma."""

    def __init__(self, model: InterModel) -> None:
        super().__init__()
        self.synthesis, self.strength = model.synthesis, model.strength

    def forward(
        self,
        moved: Tensor,
        moved_strength: Tensor,
        gain: Tensor,
        shrink_energy: Tensor,
        shrink_gain: Tensor,
        *parts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        symbols = torch.cat(parts, 1)
        strength = self.strength(moved_strength, symbols)
        planes: tuple[Tensor, Tensor] = self.synthesis(
            symbols * gain, moved, strength, shrink_energy, shrink_gain
        )
        return planes


def graphs_from_model(codec: Swift) -> CodecGraphs:
    """Cut a codec into graphs; see :class:`nvc_models.graph.CodecGraphs`."""
    intra, inter = codec.intra, codec.inter
    planes = ["luma", "chroma"]
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
            _IntraSynthesis(intra),
            [
                *decoded_from("intra", intra.latent),
                *("intra_decode_gain", "intra_decode_bias", *_threshold_names("intra")),
            ],
            planes,
        ),
        CodecGraph("picture", _Picture(), planes, ["decoded"]),
        CodecGraph("reference", _Reference(), ["exact_frame"], planes),
        CodecGraph(
            "motion_analysis",
            _MotionAnalysis(inter),
            ["frame", "ref_luma", "ref_vectors", "motion_step"],
            ["motion_y", "motion_z"],
        ),
        *vector_graphs(inter.motion),
        CodecGraph(
            "inter_context",
            _Context(inter),
            [*vectors_from(inter.motion), "ref_luma", "ref_chroma"],
            [
                *("vectors", "vector_symbols", "moved"),
                *("context", "motion_magnitudes", "moved_strength"),
            ],
        ),
        CodecGraph(
            "inter_analysis",
            _InterAnalysis(inter),
            ["frame", "moved", "inter_encode_gain"],
            [*part_names("inter", inter.latent), "inter_z"],
        ),
        start_graph("inter", inter.latent, ["context", "motion_magnitudes"]),
        *next_graphs("inter", inter.latent),
        CodecGraph(
            "inter_synthesis",
            _InterSynthesis(inter),
            [
                *("moved", "moved_strength", "inter_decode_gain", *_threshold_names("inter")),
                *part_names("inter", inter.latent),
            ],
            planes,
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
            "motion_step": inter.search_step.table(),
            "inter_encode_gain": inter.encode_gain.table(),
            "inter_decode_gain": inter.decode_gain.table(),
            **dict(zip(_threshold_names("intra"), intra.thresholds.tables(), strict=True)),
            **dict(zip(_threshold_names("inter"), inter.thresholds.tables(), strict=True)),
        },
        factorized={
            "intra_z": intra.latent.factorized,
            "motion_z": inter.motion.factorized,
            "inter_z": inter.latent.factorized,
        },
        shapes={
            "intra": intra.latent.shape,
            "motion": inter.motion.shape,
            "inter": inter.latent.shape,
        },
        programs=_programs(inter),
    )


def _threshold_names(prefix: str) -> tuple[str, str]:
    """Quality vectors of a loop filter: see :class:`nvc_models.swift.shrink.Thresholds`."""
    return f"{prefix}_shrink_energy", f"{prefix}_shrink_gain"


def _tensors(codec: Swift) -> dict[str, TensorShape]:
    inter = codec.inter
    picture = TensorShape(3, 1)
    luma, chroma = TensorShape(1, 1), TensorShape(2, 2)
    return {
        "frame": picture,
        "decoded": picture,
        "exact_frame": picture,
        "luma": luma,
        "ref_luma": luma,
        "chroma": chroma,
        "ref_chroma": chroma,
        "moved": TensorShape(CHANNELS, STRIDE),
        "moved_strength": TensorShape(1, STRIDE),
        "context": TensorShape(inter.context.down.out_channels, LATENT_STRIDE),
        **latent_shapes("intra", codec.intra.latent),
        "motion_magnitudes": TensorShape(MOTION, LATENT_STRIDE),
        **vector_shapes(inter.motion),
        **ordered_shapes("inter", inter.latent),
    }


def _programs(inter: InterModel) -> dict[str, Any]:
    planes = {"ref_luma": "luma", "ref_chroma": "chroma"}
    symbols = carried_names("inter", inter.latent)
    vectors = dict(zip(BEFORE, ("vectors", "vector_symbols"), strict=True))
    nothing = dict.fromkeys((*vectors, *symbols), 0)
    return {
        "intra": {
            "steps": [
                {"run": "intra_analysis", "side": "encode"},
                *latent_steps("intra", "intra_prior", "hyper", "intra", "intra"),
                {"run": "intra_synthesis"},
                {"run": "picture", "side": "show"},
            ],
            "output": "decoded",
            "planes": {"luma": "luma", "chroma": "chroma"},
            "carry": planes | nothing,
        },
        "inter": {
            "steps": [
                {"run": "motion_analysis", "side": "encode"},
                *vector_steps(inter.motion, "motion_hyper", "motion"),
                {"run": "inter_context"},
                {"run": "inter_analysis", "side": "encode"},
                *ordered_steps("inter", inter.latent, "hyper", "inter"),
                {"run": "inter_synthesis"},
                {"run": "picture", "side": "show"},
            ],
            "output": "decoded",
            "planes": {"luma": "luma", "chroma": "chroma"},
            "carry": planes | vectors | symbols,
        },
        "sync": {"steps": [{"run": "reference"}], "carry": planes | nothing},
    }
