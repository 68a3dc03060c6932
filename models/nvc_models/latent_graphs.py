"""The graphs and coding steps of one latent, shared by the codec families.

A latent called ``p`` is coded as the hyperlatent ``p_z``, then ``p_0`` and ``p_1``, its two parts
(see :mod:`nvc_models.latent`); the graphs here lie between those coding points.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nvc_models.graph import CodecGraph, TensorShape
from nvc_models.latent import LatentCoding, merge_checkerboard, split_checkerboard

LATENT_STRIDE, HYPER_STRIDE = 16, 64


class PriorGraph(nn.Module):
    """Hyperlatent and priors -> what part 1 needs, step if any, index and mean of part 0."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, z: Tensor, *priors: Tensor) -> tuple[Tensor, ...]:
        """Map z (B, N, H/4, W/4) and priors (B, K, H, W) to :func:`prior_outputs`."""
        part_0 = self.latent.part_0(z, *priors)
        found = (*part_0.kept, part_0.step, part_0.index, part_0.mean)
        return tuple(tensor for tensor in found if tensor is not None)


def prior_outputs(prefix: str, latent: LatentCoding) -> list[str]:
    """List the outputs of a prior graph."""
    step = [f"{prefix}_step"] if latent.has_step else []
    kept = [f"{prefix}_{name}" for name in latent.kept]
    return [*kept, *step, f"{prefix}_0_index", *_mean(prefix, latent, 0)]


def _mean(prefix: str, latent: LatentCoding, part: int) -> list[str]:
    return [f"{prefix}_{part}_mean"] if latent.has_mean else []


class QuantizeGraph(nn.Module):
    """Symbols of one part: (y / step)_part - mean, rounded."""

    def __init__(self, latent: LatentCoding, part: int) -> None:
        super().__init__()
        self.latent, self.part = latent, part

    def forward(self, y: Tensor, *known: Tensor) -> Tensor:
        """Map y and, if there are some, step (B, C, H, W) and mean to symbols (B, C/2, H, W)."""
        values = list(known)
        y = y / values.pop(0) if self.latent.has_step else y
        part = split_checkerboard(y)[self.part]
        return self.latent.round(part - values.pop(0) if self.latent.has_mean else part)


class SpatialGraph(nn.Module):
    """What part 0 tells about part 1: its index and, if there is one, its mean."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, symbols: Tensor, *known: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map part 0, its mean if any, and what was kept for part 1 to (B, C/2, H, W) each."""
        values = list(known)
        hat = symbols + values.pop(0) if self.latent.has_mean else symbols
        index, mean = self.latent.part_1(hat, *values)
        return index if mean is None else (index, mean)


class Decoded(nn.Module):
    """Rebuilds a decoded latent from the tensors of :func:`decoded_from`."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.has_mean, self.has_step = latent.has_mean, latent.has_step

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Take those tensors and others; returns the latent (B, C, H, W) and the others."""
        part_0, part_1, *rest = tensors
        if self.has_mean:
            part_0, part_1 = part_0 + rest.pop(0), part_1 + rest.pop(0)
        y = merge_checkerboard(part_0, part_1)
        return (y * rest.pop(0) if self.has_step else y), rest


def decoded_from(prefix: str, latent: LatentCoding) -> list[str]:
    """Tensors a decoded latent is rebuilt from, see :class:`Decoded`."""
    means = [*_mean(prefix, latent, 0), *_mean(prefix, latent, 1)]
    step = [f"{prefix}_step"] if latent.has_step else []
    return [f"{prefix}_0", f"{prefix}_1", *means, *step]


def latent_graphs(prefix: str, latent: LatentCoding) -> list[CodecGraph]:
    """Graphs between the coding points of one latent (its prior graph excluded)."""
    step = [f"{prefix}_step"] if latent.has_step else []
    means = [_mean(prefix, latent, part) for part in (0, 1)]
    quantize = [
        CodecGraph(
            f"{prefix}_quantize_{part}",
            QuantizeGraph(latent, part),
            [f"{prefix}_y", *step, *means[part]],
            [f"{prefix}_{part}"],
        )
        for part in (0, 1)
    ]
    spatial = CodecGraph(
        f"{prefix}_spatial",
        SpatialGraph(latent),
        [f"{prefix}_0", *means[0], *(f"{prefix}_{name}" for name in latent.kept)],
        [f"{prefix}_1_index", *means[1]],
    )
    return [quantize[0], spatial, quantize[1]]


def latent_shapes(prefix: str, latent: LatentCoding) -> dict[str, TensorShape]:
    """List the shapes of every tensor that coding one latent uses."""
    c, n = latent.config.channels, latent.config.hyper_channels
    half, full = TensorShape(c // 2, LATENT_STRIDE), TensorShape(c, LATENT_STRIDE)
    shapes = {f"{prefix}_y": full, f"{prefix}_z": TensorShape(n, HYPER_STRIDE)}
    if latent.has_step:
        shapes[f"{prefix}_step"] = full
    for name, channels in latent.kept_channels.items():
        shapes[f"{prefix}_{name}"] = TensorShape(channels, LATENT_STRIDE)
    for part in (0, 1):
        for suffix in ("", "_index", *(("_mean",) if latent.has_mean else ())):
            shapes[f"{prefix}_{part}{suffix}"] = half
    return shapes


def latent_steps(prefix: str, prior_graph: str, hyper: str, section: str) -> list[dict[str, str]]:
    """Coding steps of one latent: hyperlatent, part 0, part 1."""
    steps = [
        {"code": f"{prefix}_z", "section": hyper, "prior": "factorized", "tables": f"{prefix}_z"},
        {"run": prior_graph},
    ]
    for part in (0, 1):
        if part:
            steps.append({"run": f"{prefix}_spatial"})
        steps.append({"run": f"{prefix}_quantize_{part}", "side": "encode"})
        steps.append(
            {
                "code": f"{prefix}_{part}",
                "section": section,
                "prior": "scale",
                "index": f"{prefix}_{part}_index",
                "tables": "scale",
            }
        )
    return steps
