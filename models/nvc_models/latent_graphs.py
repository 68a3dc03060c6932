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
SCALE_TABLES = "scale"
"""Table set of latents whose symbols are taken for Laplacian."""


class PriorGraph(nn.Module):
    """Hyperlatent and priors -> what part 1 needs, step if any, index and mean of part 0."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, z: Tensor, *priors: Tensor) -> tuple[Tensor, ...]:
        """Map z (B, N, H/4, W/4) and priors (B, K, H, W) to :func:`prior_outputs`."""
        part_0 = self.latent.part_0(z, *priors)
        step = () if part_0.step is None else (part_0.step,)
        return (*part_0.kept, *step, part_0.index, part_0.mean)


def prior_outputs(prefix: str, latent: LatentCoding) -> list[str]:
    """List the outputs of a prior graph."""
    step = [f"{prefix}_step"] if latent.has_step else []
    kept = [f"{prefix}_{name}" for name in latent.kept]
    return [*kept, *step, f"{prefix}_0_index", f"{prefix}_0_mean"]


class QuantizeGraph(nn.Module):
    """Symbols of one part: (y / step)_part - mean, rounded."""

    def __init__(self, latent: LatentCoding, part: int) -> None:
        super().__init__()
        self.latent, self.part = latent, part

    def forward(self, y: Tensor, *known: Tensor) -> Tensor:
        """Map y, the step (B, C, H, W) if any, and the mean to symbols (B, C/2, H, W)."""
        *step, mean = known
        y = y / step[0] if step else y
        return self.latent.round(split_checkerboard(y)[self.part] - mean)


class SpatialGraph(nn.Module):
    """What part 0 tells about part 1: its index and its mean."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, symbols: Tensor, mean: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """Map part 0, its mean, and what was kept for part 1 to (B, C/2, H, W) each."""
        return self.latent.part_1(symbols + mean, *kept)


class Decoded(nn.Module):
    """Rebuilds a decoded latent from the tensors of :func:`decoded_from`."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.has_step = latent.has_step

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Take those tensors and others; returns the latent (B, C, H, W) and the others."""
        part_0, part_1, mean_0, mean_1, *rest = tensors
        y = merge_checkerboard(part_0 + mean_0, part_1 + mean_1)
        return (y * rest.pop(0) if self.has_step else y), rest


def decoded_from(prefix: str, latent: LatentCoding) -> list[str]:
    """Tensors a decoded latent is rebuilt from, see :class:`Decoded`."""
    step = [f"{prefix}_step"] if latent.has_step else []
    return [f"{prefix}_0", f"{prefix}_1", f"{prefix}_0_mean", f"{prefix}_1_mean", *step]


def latent_graphs(prefix: str, latent: LatentCoding) -> list[CodecGraph]:
    """Graphs between the coding points of one latent (its prior graph excluded)."""
    step = [f"{prefix}_step"] if latent.has_step else []
    quantize = [
        CodecGraph(
            f"{prefix}_quantize_{part}",
            QuantizeGraph(latent, part),
            [f"{prefix}_y", *step, f"{prefix}_{part}_mean"],
            [f"{prefix}_{part}"],
        )
        for part in (0, 1)
    ]
    spatial = CodecGraph(
        f"{prefix}_spatial",
        SpatialGraph(latent),
        [f"{prefix}_0", f"{prefix}_0_mean", *(f"{prefix}_{name}" for name in latent.kept)],
        [f"{prefix}_1_index", f"{prefix}_1_mean"],
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
        for suffix in ("", "_index", "_mean"):
            shapes[f"{prefix}_{part}{suffix}"] = half
    return shapes


def factorized_step(prefix: str, section: str) -> dict[str, str]:
    """Coding step of a hyperlatent."""
    name = f"{prefix}_z"
    return {"code": name, "section": section, "prior": "factorized", "tables": name}


def scale_step(name: str, section: str, tables: str) -> dict[str, str]:
    """Coding step of a part of a latent."""
    index = f"{name}_index"
    return {"code": name, "section": section, "prior": "scale", "index": index, "tables": tables}


def latent_steps(
    prefix: str, prior_graph: str, hyper: str, section: str, tables: str = SCALE_TABLES
) -> list[dict[str, str]]:
    """Coding steps of one latent: hyperlatent, part 0, part 1, these with ``tables``."""
    steps = [factorized_step(prefix, hyper), {"run": prior_graph}]
    for part in (0, 1):
        if part:
            steps.append({"run": f"{prefix}_spatial"})
        steps.append({"run": f"{prefix}_quantize_{part}", "side": "encode"})
        steps.append(scale_step(f"{prefix}_{part}", section, tables))
    return steps
