"""What a training stage can be asked to do; every family lists its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nvc_models.training.losses import StepResult
from nvc_models.training.stage import Stage


@dataclass(frozen=True)
class Task:
    """One kind of training step over sequences of at least ``min_frames`` frames.

    step: (model, frames (B, T, 3, H, W), stage) -> loss and figures. parts: the modules whose
    parameters it changes. start: analytic start from pairs of frames (N, 2, 3, H, W), run before
    the first step of the first stage of this task; it says whether it changed anything. pictures:
    those of the parts that write pictures. The start makes them good already, and at a rate that
    suits entropy models the noise of the steps would show: see ``picture_rate`` of a stage.
    """

    min_frames: int
    step: Callable[[Any, Tensor, Stage], StepResult]
    parts: Callable[[Any], list[nn.Module]]
    start: Callable[[Any, Tensor], bool] | None = None
    pictures: Callable[[Any], list[nn.Module]] = lambda _: []

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Parameters the task changes; everything else stays frozen."""
        return [p for part in self.parts(model) for p in part.parameters()]

    def groups(self, model: nn.Module, picture_rate: float) -> list[dict[str, Any]]:
        """Return the same in groups for an optimiser, with the ``share`` of its rate for each."""
        slow = {id(p) for part in self.pictures(model) for p in part.parameters()}
        both: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
        for parameter in self.parameters(model):
            both[id(parameter) in slow].append(parameter)
        shares = zip(both, (1.0, picture_rate), strict=True)
        return [{"params": group, "share": share} for group, share in shares if group]


Tasks = Mapping[str, Task]
