"""Runs a codec's programs with its PyTorch modules: every tensor that an exported graph handles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nvc_models.graph import CodecGraphs


@torch.no_grad()
def run_program(
    codec: CodecGraphs, program: str, quality: int, given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return every tensor of one frame's encoding; nothing is skipped."""
    tensors = dict(given)
    for name, table in codec.quality_vectors.items():
        tensors[name] = table[quality].reshape(1, -1, 1, 1)
    graphs = {graph.name: graph for graph in codec.graphs}
    for step in codec.programs[program]["steps"]:
        if "run" not in step:
            continue
        graph = graphs[step["run"]]
        result = graph.module(*(tensors[name] for name in graph.inputs))
        outputs = (result,) if isinstance(result, Tensor) else result
        tensors |= dict(zip(graph.outputs, outputs, strict=True))
    return tensors


def carried(codec: CodecGraphs, program: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the next inter frame finds."""
    height, width = tensors["frame"].shape[2:]

    def zeros(name: str) -> Tensor:
        shape = codec.tensors[name]
        return torch.zeros(1, shape.channels, height // shape.stride, width // shape.stride)

    sources = codec.programs[program]["carry"].items()
    return {name: tensors[source] if source else zeros(name) for name, source in sources}


def tensors_of_frames(codec: CodecGraphs, frames: Tensor, quality: int = 20) -> dict[str, Tensor]:
    """Return every tensor of an intra frame and of the last inter frame after it, (T, 3, H, W)."""
    intra = found = run_program(codec, "intra", quality, {"frame": frames[:1]})
    program = "intra"
    for frame in frames[1:]:
        start = carried(codec, program, found)
        program = "inter"
        found = run_program(codec, program, quality, {"frame": frame[None]} | start)
    return intra | found | {"exact_frame": frames[:1]}
