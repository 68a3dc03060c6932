"""Work for the processes of a `GroupPool`; they import it by this name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nvc_errors import EngineUnavailableError, StreamError


class Task(NamedTuple):
    """An item: what to do, and whether a group starts with it."""

    number: int
    starts: bool = False
    delay_s: float = 0.0
    ending: str = "result"
    load: bytes = b""


class Done(NamedTuple):
    """What came of a task, and where."""

    number: int
    process: int
    hears_interrupts: bool


@contextmanager
def open_work() -> Iterator[Callable[[Task], Done]]:
    """Give a function that does as a task says."""
    yield _work


@contextmanager
def open_noting(folder: Path) -> Iterator[Callable[[Task], Done]]:
    """The same; leave a file of the process's number when it is closed."""
    yield _work
    (folder / str(os.getpid())).touch()


@contextmanager
def open_nothing() -> Iterator[Callable[[Task], Done]]:
    """Fail as an engine does that cannot be opened."""
    raise EngineUnavailableError("there is no such engine")
    yield _work


def _work(task: Task) -> Done:
    time.sleep(task.delay_s)
    if task.ending == "damage":
        raise StreamError(f"task {task.number} is damaged")
    if task.ending == "bug":
        raise ZeroDivisionError(f"task {task.number}")
    if task.ending == "death":
        os._exit(3)
    if task.ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.ending == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    return Done(task.number, os.getpid(), signal.SIGINT not in blocked)
