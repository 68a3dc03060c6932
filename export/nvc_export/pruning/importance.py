"""How much each channel matters, measured on data (Molchanov et al., CVPR 2019, first order)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from nvc_export.pruning.dependencies import ChannelGroup, Subpixel
from nvc_export.pruning.trace import Prunable, family_of
from nvc_models.training.data import BatchShape, PackedClips, SequenceSampler
from nvc_models.training.stage import Stage

PROGRAM_TASKS = {"intra": ("intra", 1), "inter": ("inter", 3)}
"""Program -> the training task whose loss tells what its channels are worth, and its frames."""


@dataclass(frozen=True)
class Sampling:
    """The data that importance is measured on; ``seed`` chooses the crops."""

    batches: int = 8
    batch: int = 4
    crop: int = 128
    seed: int = 1


def accumulate_gradients(codec: Prunable, data: PackedClips, sampling: Sampling) -> None:
    """Leave the gradient of lambda * MSE + bits per pixel over real crops in ``weight.grad``.

    The loss is that of training with hard rounding; the intra model's comes from single frames, the
    inter model's from sequences after a decoded intra frame.
    """
    codec.zero_grad(set_to_none=True)
    training = codec.training
    codec.train()
    for program, (name, frames) in PROGRAM_TASKS.items():
        task, shape = (
            family_of(codec).tasks[name],
            BatchShape(sampling.batch, frames, sampling.crop),
        )
        stage = Stage(
            f"importance-{program}", name, sampling.batches, *_sizes(shape), 1e-3, rounding="hard"
        )
        sampler = SequenceSampler(data, photo_share=stage.photo_share, seed=sampling.seed)
        for parameter in codec.parameters():
            parameter.requires_grad_(False)
        for parameter in task.parameters(codec):
            parameter.requires_grad_(True)
        for number in range(sampling.batches):
            torch.manual_seed(sampling.seed * 1_000_003 + number)
            loss = task.step(codec, sampler.batch(number, shape), stage).loss
            torch.autograd.backward(loss / sampling.batches)
    for parameter in codec.parameters():
        parameter.requires_grad_(True)
    for layer in codec.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.grad is None:
            layer.weight.grad = torch.zeros_like(layer.weight)
    codec.train(training)


def _sizes(shape: BatchShape) -> tuple[int, int, int]:
    return shape.batch, shape.frames, shape.crop


class _Taylor(tp.importance.GroupTaylorImportance):  # type: ignore[misc]
    """Torch-pruning's sum of |weight * gradient|, to which subpixel layers contribute, too."""

    def __init__(self) -> None:
        super().__init__(group_reduction="sum", normalizer=None)

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        scores: Tensor | None = super().__call__(group)
        total = torch.zeros(len(group[0].idxs)) if scores is None else scores
        for item in group:
            layer, output = (
                item.dep.target.module,
                item.dep.handler.__name__ == "prune_out_channels",
            )
            if isinstance(layer, Subpixel):
                gradient = layer.conv.weight.grad
                assert gradient is not None
                worth = (layer.conv.weight * gradient).abs().sum((2, 3))
                of_channel = worth.sum(1).view(-1, 4).sum(1) if output else worth.sum(0)
                total = total.index_add(0, torch.tensor(item.root_idxs), of_channel[item.idxs])
        return total


def channel_importance(groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
    """Return group -> importance of each of its channels, float (size,), from the gradients."""
    taylor = _Taylor()
    return {group.name: taylor(group.handle) for group in groups}
