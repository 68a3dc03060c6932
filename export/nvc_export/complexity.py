"""Parameters and multiply-accumulate operations of a codec, graph by graph.

The count is that of the convolutions which run, layers or not: warping, resampling, activations and
the tables of a hyperprior are not in it. Every graph is fully convolutional and works on frames
padded to the alignment, so a square of a few alignment blocks is measured and multiplied; what a
graph leaves out at the border counts less than it would in one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nvc_export.onnx_export import example_inputs
from nvc_models.graph import CodecGraph, CodecGraphs

PROGRAMS: Final = ("intra", "inter")
BLOCKS: Final = 4
"""Alignment blocks along a side of the square that is measured."""


@dataclass(frozen=True)
class Convolution:
    """One convolution that ran: its parameters, its MACs for the square.

    ``key``: convolutions that share their weights have the same one; of a model, what
    :func:`key_of_weights` gives.
    """

    key: Hashable
    parameters: int
    macs: int


@dataclass(frozen=True)
class GraphCost:
    """What one run of a graph takes.

    ``decoder``: whether a decoder runs it, too. ``side``: of the square that was measured, pixels.
    """

    name: str
    decoder: bool
    convolutions: tuple[Convolution, ...]
    side: int

    @property
    def parameters(self) -> int:
        """Weights and biases of its convolutions."""
        return count_parameters([self])

    @property
    def macs_per_pixel(self) -> float:
        """Multiply-accumulate operations per pixel of the padded frame."""
        return sum(c.macs for c in self.convolutions) / self.side**2

    def to_json(self, pixels: int) -> dict[str, Any]:
        """Plain data, with the MACs of a frame of ``pixels``."""
        return {
            "name": self.name,
            "side": "both" if self.decoder else "encode",
            "parameters": self.parameters,
            "macs": round(self.macs_per_pixel * pixels),
            "macs_per_pixel": self.macs_per_pixel,
        }


@dataclass(frozen=True)
class ProgramCost:
    """What coding one frame takes: an encoder runs every graph, a decoder some of them."""

    name: str
    graphs: tuple[GraphCost, ...]

    @property
    def decoder_graphs(self) -> tuple[GraphCost, ...]:
        """Graphs that a decoder runs."""
        return tuple(graph for graph in self.graphs if graph.decoder)

    @property
    def parameters(self) -> int:
        """Parameters of all graphs, each counted once."""
        return count_parameters(self.graphs)

    @property
    def decoder_parameters(self) -> int:
        """Parameters of the decoder's graphs, each counted once."""
        return count_parameters(self.decoder_graphs)

    @property
    def macs_per_pixel(self) -> float:
        """MACs of all graphs, per pixel of the padded frame."""
        return sum(graph.macs_per_pixel for graph in self.graphs)

    @property
    def decoder_macs_per_pixel(self) -> float:
        """MACs of the decoder's graphs, per pixel of the padded frame."""
        return sum(graph.macs_per_pixel for graph in self.decoder_graphs)

    def to_json(self, pixels: int) -> dict[str, Any]:
        """Plain data, with the MACs of a frame of ``pixels`` and the paper's row."""
        paper = PAPER[self.name]
        return {
            "name": self.name,
            "parameters": self.parameters,
            "macs": round(self.macs_per_pixel * pixels),
            "macs_per_pixel": self.macs_per_pixel,
            "decoder": {
                "parameters": self.decoder_parameters,
                "macs": round(self.decoder_macs_per_pixel * pixels),
                "macs_per_pixel": self.decoder_macs_per_pixel,
            },
            "graphs": [graph.to_json(pixels) for graph in self.graphs],
            "paper": {
                "parameters": paper.parameters,
                "macs": paper.macs,
                "decoder": {"parameters": paper.decoder_parameters, "macs": paper.decoder_macs},
            },
        }


@dataclass(frozen=True)
class PaperRow:
    """One row of Table 3 of Tian et al. (MM'23), at 1280x768."""

    parameters: float
    macs: float
    decoder_parameters: float
    decoder_macs: float


PAPER_WIDTH, PAPER_HEIGHT = 1280, 768
PAPER: Final = {
    "intra": PaperRow(23.71e6, 252.6e9, 20.95e6, 160.7e9),
    "inter": PaperRow(10.17e6, 161.7e9, 8.75e6, 76.3e9),
}


def count_parameters(graphs: Iterable[GraphCost]) -> int:
    """Parameters of the convolutions of some graphs, each counted once."""
    return sum({c.key: c.parameters for graph in graphs for c in graph.convolutions}.values())


def key_of_weights(weight: Tensor) -> Hashable:
    """Return what tells weights apart while they are in memory; views of the same are the same."""
    return weight.untyped_storage().data_ptr(), weight.storage_offset(), tuple(weight.shape)


def padded_pixels(width: int, height: int, alignment: int) -> int:
    """Pixels of a frame after padding right and bottom to multiples of ``alignment``."""
    return -(-width // alignment) * -(-height // alignment) * alignment**2


def complexity_from_codec(codec: CodecGraphs) -> tuple[ProgramCost, ...]:
    """Measure the intra and the inter program of a codec."""
    graphs = {graph.name: graph for graph in codec.graphs}
    counter = _ConvolutionCounter()
    costs = []
    for program in PROGRAMS:
        runs = [step for step in codec.programs[program]["steps"] if "run" in step]
        costs.append(
            ProgramCost(
                program,
                tuple(
                    GraphCost(
                        step["run"],
                        step.get("side") != "encode",
                        counter.convolutions_of(codec, graphs[step["run"]]),
                        BLOCKS * codec.alignment,
                    )
                    for step in runs
                ),
            )
        )
    return tuple(costs)


class _ConvolutionCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every convolution that PyTorch carries out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found: list[Convolution] = []
        self._weights: list[Tensor] = []
        """Kept, so that none takes the place of another in memory."""

    def convolutions_of(self, codec: CodecGraphs, graph: CodecGraph) -> tuple[Convolution, ...]:
        """Run a graph on a square of blocks; return its convolutions."""
        self._found = []
        with torch.no_grad(), self:
            graph.module(*example_inputs(codec, graph, (BLOCKS, BLOCKS)))
        return tuple(self._found)

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        output = function(*arguments, **(keywords or {}))
        if function is torch.ops.aten.convolution.default:
            source, weight, bias, *_, transposed, _padding, _groups = arguments
            # Every weight meets every position of the output; a transposed one, of the input.
            places = source if transposed else output
            macs = weight.numel() * places.shape[0] * math.prod(places.shape[2:])
            parameters = weight.numel() + (0 if bias is None else bias.numel())
            self._weights.append(weight)
            self._found.append(Convolution(key_of_weights(weight), parameters, macs))
        return output
