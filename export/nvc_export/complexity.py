"""Parameters and multiply-accumulate operations of a codec, graph by graph.

The count is that of the convolutions which run, found with forward hooks: warping, resampling,
activations, the analytic flow and the tables of a hyperprior are not in it. Every graph is fully
convolutional and works on frames padded to the alignment, so a square of a few alignment blocks is
measured and multiplied; what a graph leaves out at the border counts less than it would in one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from nvc_export.onnx_export import example_inputs
from nvc_models.graph import CodecGraph, CodecGraphs

PROGRAMS: Final = ("intra", "inter")
BLOCKS: Final = 4
"""Alignment blocks along a side of the square that is measured."""


@dataclass(frozen=True)
class Convolution:
    """One convolution that ran: its identity, its parameters, its MACs for the square."""

    key: int
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


def padded_pixels(width: int, height: int, alignment: int) -> int:
    """Pixels of a frame after padding right and bottom to multiples of ``alignment``."""
    return -(-width // alignment) * -(-height // alignment) * alignment**2


def complexity_from_codec(codec: CodecGraphs) -> tuple[ProgramCost, ...]:
    """Measure the intra and the inter program of a codec."""
    graphs = {graph.name: graph for graph in codec.graphs}
    costs = []
    for program in PROGRAMS:
        runs = [step for step in codec.programs[program]["steps"] if "run" in step]
        costs.append(
            ProgramCost(
                program,
                tuple(
                    _graph_cost(codec, graphs[step["run"]], decoder=step.get("side") != "encode")
                    for step in runs
                ),
            )
        )
    return tuple(costs)


def _graph_cost(codec: CodecGraphs, graph: CodecGraph, *, decoder: bool) -> GraphCost:
    """Run a graph on a square of blocks and record its convolutions."""
    found: list[Convolution] = []

    def record(layer: nn.Module, _inputs: Any, output: Tensor | tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        # Not parameters(): a fixed matrix has to be shipped and applied like any other.
        parameters = sum(t.numel() for t in (layer.weight, layer.bias) if t is not None)
        # Every number that comes out took one row of weights, however the numbers are arranged.
        outputs = (output,) if isinstance(output, Tensor) else output
        macs = layer.weight[0].numel() * sum(tensor[0].numel() for tensor in outputs)
        found.append(Convolution(id(layer), parameters, macs))

    layers = [layer for layer in graph.module.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        with torch.no_grad():
            graph.module(*example_inputs(codec, graph, (BLOCKS, BLOCKS)))
    finally:
        for handle in handles:
            handle.remove()
    return GraphCost(graph.name, decoder, tuple(found), BLOCKS * codec.alignment)
