"""The graphs and coding steps of vectors, see :mod:`nvc_models.swift.vector_latent`.

The hyperlatent is ``motion_z``, symbols are ``motion_0`` and so on, what foretells them
``motion_0_expected``, and their sums ``motion_0_vectors``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, TensorShape
from nvc_models.latent_graphs import HYPER_STRIDE, factorized_step, scale_step
from nvc_models.ordered_latent_graphs import part_names
from nvc_models.swift.vector_latent import MOTION_CHANNELS, VECTOR_STRIDE, VectorLatentModel

PREFIX = "motion"
BEFORE = ("ref_vectors", "ref_vector_symbols")


class _Start(nn.Module):
    """Hyperlatent, vectors and symbols before -> features, index and expectation of part 0."""

    def __init__(self, latent: VectorLatentModel) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, z: Tensor, before: Tensor, symbols: Tensor) -> tuple[Tensor, ...]:
        features = self.latent.start_vectors(z, before, symbols)
        return (
            features,
            self.latent.scale_index(0, features),
            self.latent.expected(0, before, ()),
        )


class _Next(nn.Module):
    """Features, symbols and expectation of one part, vectors -> the same of the next part."""

    def __init__(self, latent: VectorLatentModel, part: int) -> None:
        super().__init__()
        self.latent, self.part = latent, part
        self.last = part + 1 == len(latent.config.parts)

    def forward(
        self, features: Tensor, symbols: Tensor, expected: Tensor, before: Tensor, *known: Tensor
    ) -> tuple[Tensor, ...]:
        vectors = symbols + expected
        features = self.latent.update(self.part - 1, features, symbols)
        index = self.latent.scale_index(self.part, features)
        foretold = self.latent.expected(self.part, before, (*known, vectors))
        return (index, foretold, vectors, *([] if self.last else [features]))


class _Difference(nn.Module):
    """Arranged vectors and what a part is foretold by -> its symbols."""

    def __init__(self, latent: VectorLatentModel, part: int) -> None:
        super().__init__()
        self.latent, self.part = latent, part

    def forward(self, y: Tensor, expected: Tensor) -> Tensor:
        return self.latent.split(y)[self.part] - expected


def vector_graphs(latent: VectorLatentModel) -> list[CodecGraph]:
    """Graphs between the coding points of the vectors."""
    names, last = part_names(PREFIX, latent), len(latent.config.parts) - 1
    graphs = [
        CodecGraph(
            f"{PREFIX}_prior",
            _Start(latent),
            [f"{PREFIX}_z", *BEFORE],
            [f"{PREFIX}_features_0", f"{names[0]}_index", f"{names[0]}_expected"],
        )
    ]
    for part, name in enumerate(names):
        graphs.append(
            CodecGraph(
                f"{PREFIX}_difference_{part}",
                _Difference(latent, part),
                [f"{PREFIX}_y", f"{name}_expected"],
                [name],
            )
        )
        if part:
            previous = names[part - 1]
            features = [f"{PREFIX}_features_{part}"] if part < last else []
            graphs.append(
                CodecGraph(
                    f"{PREFIX}_next_{part}",
                    _Next(latent, part),
                    [
                        *(f"{PREFIX}_features_{part - 1}", previous, f"{previous}_expected"),
                        *(BEFORE[0], *(f"{known}_vectors" for known in names[: part - 1])),
                    ],
                    [f"{name}_index", f"{name}_expected", f"{previous}_vectors", *features],
                )
            )
    return graphs


class DecodedVectors(nn.Module):
    """Rebuilds the arranged vectors and their symbols from the tensors of :func:`vectors_from`."""

    def __init__(self, latent: VectorLatentModel) -> None:
        super().__init__()
        self.count = len(latent.config.parts)

    def forward(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Take those tensors and others; returns (B, 36, H/32, W/32) twice, and the others."""
        symbols, rest = tensors[: self.count], tensors[self.count :]
        *known, expected = rest[: self.count]
        vectors = torch.cat((*known, symbols[-1] + expected), 1)
        return vectors, torch.cat(symbols, 1), rest[self.count :]


def vectors_from(latent: VectorLatentModel) -> list[str]:
    """Tensors that vectors are rebuilt from: symbols, vectors, the last part's expectation."""
    names = part_names(PREFIX, latent)
    return [*names, *(f"{name}_vectors" for name in names[:-1]), f"{names[-1]}_expected"]


def vector_shapes(latent: VectorLatentModel) -> dict[str, TensorShape]:
    """Shapes of every tensor that coding and carrying vectors uses."""
    whole = TensorShape(MOTION_CHANNELS, VECTOR_STRIDE)
    shapes = {
        f"{PREFIX}_y": whole,
        f"{PREFIX}_z": TensorShape(latent.config.hyper_channels, HYPER_STRIDE),
        **dict.fromkeys(("vectors", "vector_symbols", *BEFORE), whole),
    }
    for name, channels in zip(part_names(PREFIX, latent), latent.config.parts, strict=True):
        part = TensorShape(channels, VECTOR_STRIDE)
        shapes |= {f"{name}{end}": part for end in ("", "_index", "_expected", "_vectors")}
    for number, head in enumerate(latent.heads[:-1]):
        assert isinstance(head, nn.Conv2d)
        shapes[f"{PREFIX}_features_{number}"] = TensorShape(head.in_channels, VECTOR_STRIDE)
    return shapes


def vector_steps(latent: VectorLatentModel, hyper: str, section: str) -> list[dict[str, Any]]:
    """Coding steps of the vectors: hyperlatent, then part by part."""
    steps: list[dict[str, Any]] = [factorized_step(PREFIX, hyper)]
    for number, name in enumerate(part_names(PREFIX, latent)):
        steps.append({"run": f"{PREFIX}_next_{number}" if number else f"{PREFIX}_prior"})
        steps.append({"run": f"{PREFIX}_difference_{number}", "side": "encode"})
        steps.append(scale_step(name, section, PREFIX))
    return steps
