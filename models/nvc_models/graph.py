"""What a codec family hands to the exporter: graphs, tensors, tables, programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nvc_models.latent import FactorizedPrior
from nvc_models.symbol_shape import SymbolShape


@dataclass(frozen=True)
class TensorShape:
    """A spatial tensor (1, channels, H / stride, W / stride)."""

    channels: int
    stride: int


@dataclass(frozen=True)
class CodecGraph:
    """One graph: a module from positional inputs to a tensor or tuple, with their names."""

    name: str
    module: nn.Module
    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True)
class CodecGraphs:
    """A codec, cut at its coding points. ``programs`` is in the manifest's form.

    quality_vectors: name -> float32 (64, C). factorized: table set name -> prior of a hyperlatent.
    shapes: table set name -> distribution of its levels; None: Laplace.
    """

    family: str
    alignment: int
    graphs: list[CodecGraph]
    tensors: Mapping[str, TensorShape]
    quality_vectors: Mapping[str, Tensor]
    factorized: Mapping[str, FactorizedPrior]
    shapes: Mapping[str, SymbolShape | None]
    programs: Mapping[str, Any]
