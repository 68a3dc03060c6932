"""``nvc-export train``: run a training schedule, or go on with one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import say
from nvc_runtime.cli.launch import TERMINATED

LINE_EVERY_S: Final = 10.0
HIDDEN: Final = ("stage", "step", "total_steps", "hours", "step_s", "images_per_s", "learning_rate")


class Device(StrEnum):
    """Where training runs."""

    CPU = "cpu"
    CUDA = "cuda"


def train(
    config: Annotated[
        str, typer.Option("--config", metavar="NAME|FILE", help="Built-in schedule or TOML file.")
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="CACHE", help="Folder made by pack-data.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN_DIR", help="Folder of the run.")
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option("--start-from", metavar="CHECKPOINT", help="Begin with its weights."),
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Where to train.")] = Device.CPU,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Mixed precision: convolutions in BF16.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, metavar="N", help="Processes that prepare batches, for a GPU."
        ),
    ] = 0,
    stop_after_steps: Annotated[
        int | None,
        typer.Option("--stop-after-steps", min=1, metavar="N", help="Save and stop after N steps."),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Train a codec. Ctrl-C saves after the current step; --resume goes on from there."""
    import torch

    from nvc_errors import EngineUnavailableError, UsageError
    from nvc_models.training.data import PackedClips
    from nvc_models.training.schedule import open_schedule
    from nvc_models.training.trainer import STATE_FILE, Trainer, TrainOptions

    schedule = open_schedule(config)
    state = output / STATE_FILE
    if resume and not state.exists():
        raise UsageError(f"{state}: there is nothing to resume; leave out --resume")
    if state.exists() and not resume:
        raise UsageError(f"{state}: exists; use --resume to go on, or choose another folder")
    if resume and start_from:
        raise UsageError("--resume goes on with the run's own weights; leave out --start-from")
    if device is Device.CUDA and not torch.cuda.is_available():
        raise EngineUnavailableError("PyTorch finds no CUDA device; use --device cpu")
    trainer = Trainer(
        schedule,
        PackedClips(data),
        TrainOptions(
            output,
            device=device.value,
            bfloat16=bfloat16,
            stop_after_steps=stop_after_steps,
            workers=workers,
        ),
        on_log=_sparse_lines({stage.name: stage.steps for stage in schedule.stages}, quiet=quiet),
    )
    if resume:
        trainer.resume()
        say(f"resuming after {trainer.total_steps} steps", quiet=quiet)
    elif start_from:
        trainer.start_from(start_from)
    with _saving_on_signals(trainer.request_stop) as received:
        trainer.run()
    if signal.SIGTERM in received:
        raise SystemExit(TERMINATED)
    if received:
        say(f"saved {state} after {trainer.total_steps} steps; --resume goes on", quiet=quiet)
        raise KeyboardInterrupt
    what = "finished" if trainer.finished else "stopped"
    say(f"{what} after {trainer.total_steps} steps: {state}", quiet=quiet)


def _sparse_lines(steps: dict[str, int], *, quiet: bool) -> Callable[[dict[str, Any]], None]:
    """Return a listener that prints a log line now and then, and the last of each stage."""
    last = time.monotonic()

    def listen(line: dict[str, Any]) -> None:
        nonlocal last
        total = steps[line["stage"]]
        if time.monotonic() - last < LINE_EVERY_S and line["step"] < total:
            return
        last = time.monotonic()
        figures = ", ".join(f"{k} {v:.4g}" for k, v in line.items() if k not in HIDDEN)
        say(
            f"{line['stage']} {line['step']}/{total}: {figures} "
            f"({line['step_s']:.3g} s/step, {line['hours']:.2f} h)",
            quiet=quiet,
        )

    return listen


@contextmanager
def _saving_on_signals(request_stop: Callable[[], None]) -> Iterator[list[int]]:
    """Let the first Ctrl-C or SIGTERM ask for a stop, the second interrupt; list those received."""
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        request_stop()

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
