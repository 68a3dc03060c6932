"""A map over items, in order, that gives groups of items to processes.

Processes are started afresh (``spawn``): a fork would copy the threads and locks of an engine. So a
program that uses this guards what it does with ``if __name__ == "__main__"``. A process ends when
its pool is closed, and when the process that started it is gone.

Each process is served by a thread, which sends an item and waits for its result: no more than one
is under way in either direction, however large a group is.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from nvc_errors import EngineError, NvcError

Item = TypeVar("Item")
Result = TypeVar("Result")

OpenWork: TypeAlias = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Opens, in a process, what makes results of items; it is pickled, and so are they."""

GRACE_S: Final = 5.0
"""How long a process that has closed its connection may take to end."""

_SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass
class _Group(Generic[Item, Result]):
    """Items that one process works on, and what comes of them.

    ``error``: what ``items`` ended with. ``outcomes``: (True, result) for each item, then (False,
    error) with what the work ended with, or None.
    """

    items: list[Item] = field(default_factory=list)
    error: BaseException | None = None
    outcomes: SimpleQueue[tuple[bool, Any]] = field(default_factory=SimpleQueue)

    def results(self) -> Iterator[Result]:
        """Yield the results as they come; raise what the work ended with."""
        while True:
            is_result, value = self.outcomes.get()
            if is_result:
                yield value
            elif value is None:
                return
            else:
                raise value


class _Process(Generic[Item, Result]):
    """A process that makes results of items."""

    def __init__(self, open_work: OpenWork[Item, Result]) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, open_work), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        theirs.close()

    def work(self, item: Item) -> Result:
        """Return the result of an item. Raises what the work raised; the process has ended then."""
        with suppress(OSError):  # If it has ended, what it said last tells why.
            self._connection.send(item)
        try:
            is_result, value = self._connection.recv()
        except (EOFError, OSError):
            raise self._sudden_end() from None
        if not is_result:
            raise value
        result: Result = value
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def _sudden_end(self) -> EngineError:
        self._process.join(GRACE_S)
        code = self._process.exitcode
        hint = (
            ": out of memory? Use a smaller --jobs"
            if code == -getattr(signal, "SIGKILL", 9)
            else ""
        )
        return EngineError(
            f"a process that coded frames ended without a word (exit code {code}){hint}"
        )


class GroupPool(Generic[Item, Result]):
    """Maps items to results; call it within its ``with`` block."""

    def __init__(
        self,
        jobs: int,
        open_work: OpenWork[Item, Result],
        starts_group: Callable[[Item], bool],
    ) -> None:
        """Map with so many processes.

        ``starts_group``: whether an item can be worked on without those before it.
        """
        self._jobs, self._open_work, self._starts_group = jobs, open_work, starts_group
        self._processes: list[_Process[Item, Result]] = []
        self._idle: SimpleQueue[_Process[Item, Result]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(jobs, "group")

    def __enter__(self) -> Self:
        for _ in range(self._jobs):
            self._processes.append(_Process(self._open_work))
            self._idle.put(self._processes[-1])
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.end()
        self._threads.shutdown()

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of each item, in order.

        Up to one group more than there are processes is read ahead. What ``items`` or the work
        raises is raised here once all results before it have been taken. After an error of the work
        its process is gone, and so is the use of this pool.
        """
        groups = self._groups(items)
        running: deque[_Group[Item, Result]] = deque()
        while True:
            while len(running) <= self._jobs and (group := next(groups, None)) is not None:
                running.append(group)
                self._threads.submit(self._work, group)
            if not running:
                return
            yield from running.popleft().results()

    def _groups(self, items: Iterable[Item]) -> Iterator[_Group[Item, Result]]:
        group: _Group[Item, Result] = _Group()
        try:
            for item in items:
                if group.items and self._starts_group(item):
                    yield group
                    group = _Group()
                group.items.append(item)
        except Exception as error:
            group.error = error
        if group.items or group.error is not None:
            yield group

    def _work(self, group: _Group[Item, Result]) -> None:
        """Have a process work on a group; runs on a thread of its own."""
        process, error = self._idle.get(), group.error
        try:
            for item in group.items:
                group.outcomes.put((True, process.work(item)))
        except Exception as failure:
            error = failure
        self._idle.put(process)
        group.outcomes.put((False, error))


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
    """Make results of items until there are no more: the process's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open_work() as work:
            while (item := _receive(connection)) is not None:
                _send(connection, (True, work(item)))
    except NvcError as error:
        _send(connection, (False, error))
    except Exception:
        _send(connection, (False, RuntimeError(traceback.format_exc())))


def _receive(connection: Connection) -> Any:
    """Return the next item, None if there is nobody any more to send one."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _send(connection: Connection, outcome: tuple[bool, Any]) -> None:
    with suppress(OSError):  # Nobody is there any more.
        connection.send(outcome)
