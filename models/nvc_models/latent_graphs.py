"""The graphs and coding steps of one latent, shared by the codec families.

A latent called ``p`` is coded as the hyperlatent ``p_z``, then ``p_0`` and ``p_1``, its two parts
(see :mod:`nvc_models.latent`); the graphs here lie between those coding points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, TensorShape
from nvc_models.latent import LatentCoding, merge_checkerboard, split_checkerboard

LATENT_STRIDE, HYPER_STRIDE = 16, 64


class PriorGraph(nn.Module):
    """Hyperlatent and further priors -> what part 1 needs, step if any, index and mean of part 0."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, z: Tensor, *priors: Tensor) -> tuple[Tensor, ...]:
        """Map z (B, N, H/4, W/4) and priors (B, K, H, W) to :func:`prior_outputs`."""
        part_0 = self.latent.part_0(z, *priors)
        step = () if part_0.step is None else (part_0.step,)
        return (*part_0.kept, *step, part_0.index, part_0.mean)


def prior_outputs(prefix: str, latent: LatentCoding) -> list[str]:
    """Outputs of a prior graph."""
    step = ("step",) if latent.has_step else ()
    return [f"{prefix}_{o}" for o in (*latent.KEPT, *step, "0_index", "0_mean")]


class QuantizeGraph(nn.Module):
    """Symbols of one part: round((y / step)_part - mean); the step is 1 unless given."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part = part

    def forward(self, y: Tensor, mean: Tensor, step: Tensor | None = None) -> Tensor:
        """Map y and step (B, C, H, W) and mean (B, C/2, H, W) to whole numbers (B, C/2, H, W)."""
        y = y if step is None else y / step
        return torch.round(split_checkerboard(y)[self.part] - mean)


class SpatialGraph(nn.Module):
    """What part 0 tells about part 1: its index and mean."""

    def __init__(self, latent: LatentCoding) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, symbols: Tensor, mean: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """Map part 0 (B, C/2, H, W) and what was kept for part 1 to (B, C/2, H, W) each."""
        index, mean_1 = self.latent.part_1(symbols + mean, *kept)
        return index, mean_1


def latent_hat(
    s0: Tensor, m0: Tensor, s1: Tensor, m1: Tensor, step: Tensor | None = None
) -> Tensor:
    """Rebuild a decoded latent (B, C, H, W) from the symbols and means of its parts."""
    y = merge_checkerboard(s0 + m0, s1 + m1)
    return y if step is None else y * step


def decoded_from(prefix: str, latent: LatentCoding) -> list[str]:
    """Tensors a decoded latent is rebuilt from: the arguments of :func:`latent_hat`."""
    parts = [f"{prefix}_0", f"{prefix}_0_mean", f"{prefix}_1", f"{prefix}_1_mean"]
    return [*parts, f"{prefix}_step"] if latent.has_step else parts


def latent_graphs(prefix: str, latent: LatentCoding) -> list[CodecGraph]:
    """Graphs between the coding points of one latent (its prior graph excluded)."""
    mean_0, kept = f"{prefix}_0_mean", [f"{prefix}_{k}" for k in latent.KEPT]
    step = [f"{prefix}_step"] if latent.has_step else []
    return [
        CodecGraph(
            f"{prefix}_quantize_0",
            QuantizeGraph(0),
            [f"{prefix}_y", mean_0, *step],
            [f"{prefix}_0"],
        ),
        CodecGraph(
            f"{prefix}_spatial",
            SpatialGraph(latent),
            [f"{prefix}_0", mean_0, *kept],
            [f"{prefix}_1_index", f"{prefix}_1_mean"],
        ),
        CodecGraph(
            f"{prefix}_quantize_1",
            QuantizeGraph(1),
            [f"{prefix}_y", f"{prefix}_1_mean", *step],
            [f"{prefix}_1"],
        ),
    ]


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
