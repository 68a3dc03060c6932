"""A map over items, in order, that gives groups of items to processes.

Processes are started afresh (``spawn``): a fork would copy the threads and locks of an engine. So a
program that uses this guards what it does with ``if __name__ == "__main__"``. A process ends when
its pool is closed, and when the process that started it is gone: it closes what it has opened, or
is killed if work is going on then.

Each process is served by a thread, which sends an item and waits for its result: no more than one
is under way in either direction, however large a group is.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from nvc_errors import EngineError, NvcError

Item = TypeVar("Item")
Result = TypeVar("Result")

OpenWork: TypeAlias = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Opens, in a process, what makes results of items; it is pickled, and so are they."""

GRACE_S: Final = 5.0
"""How long a process whose connection is closed may take to end."""

_SPAWN: Final = multiprocessing.get_context("spawn")
_HINTS: Final = {
    -9: ": out of memory? Use a smaller --jobs",
    1: ': see what it has printed; a script that uses several jobs needs if __name__ == "__main__"',
}
"""What to do about a process, by its exit code."""


class _Group(Generic[Item, Result]):
    """Items that one process works on, and what comes of them."""

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        """Those still to be worked on: a result takes an item's place in memory."""
        self.error: Exception | None = None
        """What the items ended with."""
        self._outcomes: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work(self, process: _Process[Item, Result]) -> None:
        """Have a process work on the items."""
        error = self.error
        try:
            while self.items:
                self._outcomes.put((True, process.work(self.items.popleft())))
        except Exception as failure:
            error = failure
        self._outcomes.put((False, error))

    def results(self) -> Iterator[Result]:
        """Yield the results as they come; raise what the work ended with."""
        while True:
            is_result, value = self._outcomes.get()
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
        self.has_worked = False
        """Whether it has something to close."""

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
        self.has_worked = True
        result: Result = value
        return result

    def kill(self) -> None:
        """End the process, whatever it does: it holds nothing that is not ours to lose."""
        self._process.kill()

    def close(self) -> None:
        """Let go of the process, which nobody waits for: it ends now, in time or killed."""
        self._connection.close()
        self._process.join(GRACE_S)
        self._process.kill()
        self._process.join()

    def _sudden_end(self) -> EngineError:
        self._process.join(GRACE_S)
        code = self._process.exitcode
        hint = "" if code is None else _HINTS.get(code, "")
        return EngineError(f"a process that coded frames ended (exit code {code}){hint}")


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
        self._threads: list[Thread] = []
        self._waiting: SimpleQueue[_Group[Item, Result] | None] = SimpleQueue()
        self._at_work = False

    def __enter__(self) -> Self:
        """Start the processes; raise ``EngineError`` if the system refuses."""
        try:
            for _ in range(self._jobs):
                process = _Process(self._open_work)
                self._processes.append(process)
                # A daemon: an interrupted program must not wait for the end of a group.
                thread = Thread(target=self._serve, args=(process,), name="group", daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException as error:
            self._close(at_once=True)
            if isinstance(error, OSError):
                raise EngineError(
                    f"cannot start {self._jobs} processes: {error.strerror}; use a smaller --jobs"
                ) from error
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes, whatever they do."""
        self._close(at_once=self._at_work or exc is not None)

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of each item, in order.

        Up to one group more than there are processes is read ahead, and lost if the iteration is
        left. What ``items`` or the work raises is raised here once all results before it have been
        taken. After an error of the work its process is gone, and so is the use of this pool.
        """
        groups = self._groups(items)
        running: deque[_Group[Item, Result]] = deque()
        self._at_work = True
        try:
            while True:
                while len(running) <= self._jobs and (group := next(groups, None)) is not None:
                    running.append(group)
                    self._waiting.put(group)
                if not running:
                    self._at_work = False
                    return
                yield from running[0].results()
                running.popleft()
        finally:
            for group in running:
                group.items.clear()

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

    def _serve(self, process: _Process[Item, Result]) -> None:
        """Have a process work on one group after the other; runs on a thread of its own."""
        while _work_on(self._waiting.get(), process):
            pass

    def _close(self, *, at_once: bool) -> None:
        for process in self._processes:
            if at_once or not process.has_worked:
                process.kill()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.close()
        self._processes.clear()
        self._threads.clear()


def _work_on(group: _Group[Item, Result] | None, process: _Process[Item, Result]) -> bool:
    """Work on a group if there is one; a function of its own, so that none lives on after it."""
    if group is None:
        return False
    group.work(process)
    return True


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
