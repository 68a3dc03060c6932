"""A map over items, in order, that gives groups of items to processes.

Processes are started afresh (``spawn``): a fork would copy the threads and locks of an engine. So a
program that uses this guards what it does with ``if __name__ == "__main__"``. A process ends when
its pool is closed, and when the process that started it is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from nvc_errors import EngineError, NvcError

Item = TypeVar("Item")
Result = TypeVar("Result")

OpenWork: TypeAlias = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Opens, in a process, what makes results of items; it is pickled, and so are they."""

GRACE_S: Final = 5.0
"""How long a process that has nothing to do may take to end."""

_SPAWN: Final = multiprocessing.get_context("spawn")


class _Message(Enum):
    """What a process tells, besides a value."""

    RESULT = auto()
    DONE = auto()
    FAILED = auto()


class _Run(Generic[Result]):
    """One group on its way: what has come of it so far."""

    def __init__(self) -> None:
        self.results: deque[Result] = deque()
        self.error: BaseException | None = None
        self.done = False


class _Worker(Generic[Item, Result]):
    """A process, and the group it has."""

    def __init__(self, open_work: OpenWork[Item, Result]) -> None:
        self.run: _Run[Result] | None = None
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, open_work), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        theirs.close()

    def start(self, group: list[Item]) -> _Run[Result]:
        """Send a group to the process, which must have none."""
        run = self.run = _Run()
        try:
            self.connection.send(group)
        except OSError:
            self._fail()
        return run

    def receive(self) -> None:
        """Take one message from the process; it must have a group."""
        run = self.run
        if run is None:
            raise ValueError("the process has no group")
        try:
            message, value = self.connection.recv()
        except (EOFError, OSError):
            self._fail()
            return
        if message is _Message.RESULT:
            run.results.append(value)
            return
        run.error, run.done, self.run = value, True, None

    def close(self) -> None:
        """End the process: kindly if it has no group."""
        self.connection.close()
        if self.run is None:
            self._process.join(GRACE_S)
        self._process.terminate()
        self._process.join()
        self._process.close()

    def _fail(self) -> None:
        self._process.join(GRACE_S)
        if self.run is not None:
            self.run.done = True
            self.run.error = EngineError(
                f"a process that coded frames ended without a word (exit code "
                f"{self._process.exitcode}): out of memory? Use a smaller --jobs"
            )


class GroupPool(Generic[Item, Result]):
    """Maps items to results; call it, and use it as a context manager."""

    def __init__(
        self,
        jobs: int,
        open_work: OpenWork[Item, Result],
        starts_group: Callable[[Item], bool],
    ) -> None:
        """Map with at most so many processes; they are started when there are groups for them.

        ``starts_group``: whether an item can be worked on without those before it.
        """
        self._jobs, self._open_work, self._starts_group = jobs, open_work, starts_group
        self._workers: list[_Worker[Item, Result]] = []

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of each item, in order.

        Up to one group more than there are processes is read ahead. What ``items`` or the work
        raises is raised here once all results before it have been taken.
        """
        groups = self._groups(items)
        runs: deque[_Run[Result]] = deque()
        failure: Exception | None = None
        more = True
        while more or runs:
            while more and len(runs) <= self._jobs and (worker := self._idle()) is not None:
                try:
                    group = next(groups, None)
                except Exception as error:
                    group, failure = None, error
                if group is None:
                    more = False
                else:
                    runs.append(worker.start(group))
            if not runs:
                break
            first = runs[0]
            self._receive(0.0 if first.results or first.done else None)
            if first.results:
                yield first.results.popleft()
            elif first.done:
                if first.error is not None:
                    raise first.error
                runs.popleft()
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()

    def _groups(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        group: list[Item] = []
        failure: Exception | None = None
        try:
            for item in items:
                if group and self._starts_group(item):
                    yield group
                    group = []
                group.append(item)
        except Exception as error:
            failure = error
        if group:
            yield group
        if failure is not None:
            raise failure

    def _idle(self) -> _Worker[Item, Result] | None:
        """Return a process that has no group; None if all have one."""
        for worker in self._workers:
            if worker.run is None:
                return worker
        if len(self._workers) == self._jobs:
            return None
        self._workers.append(_Worker(self._open_work))
        return self._workers[-1]

    def _receive(self, timeout_s: float | None) -> None:
        busy = [worker for worker in self._workers if worker.run is not None]
        ready = wait([worker.connection for worker in busy], timeout_s)
        for worker in busy:
            if worker.connection in ready:
                worker.receive()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep interrupts from what is started: a terminal sends them to all processes at once."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # To start it later would let interrupts through again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, open_work: OpenWork[Any, Any]) -> None:
    """Work on groups until there are no more: the process's main function."""
    try:
        with open_work() as work:
            while True:
                for item in connection.recv():
                    connection.send((_Message.RESULT, work(item)))
                connection.send((_Message.DONE, None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # The pool is closed, or its process gone.
    except NvcError as error:
        connection.send((_Message.FAILED, error))
    except Exception:
        connection.send((_Message.FAILED, RuntimeError(traceback.format_exc())))
