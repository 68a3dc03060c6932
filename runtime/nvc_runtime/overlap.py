"""Reading and writing video beside the codec, on one further thread.

NumPy, FFmpeg and the engines let go of Python's lock in their long loops, so that a codec which
works on one frame and a thread which reads the next, or writes the last, run at the same time.
Never more than one item is under way between the two: memory stays bounded, order stays as it is.

The threads are daemons, unlike those of ``concurrent.futures``: one that is stuck in writing to a
pipe that nobody reads must not keep an interrupted process alive.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

T = TypeVar("T")

GRACE_S: Final = 5.0
"""How long a failed block waits for the item that is being written."""
TURN_S: Final = 0.0005
"""How long a thread keeps Python's lock while another waits for it. Python's default, ten times as
long, is much beside the graphs of a frame, after each of which the codec needs the lock again."""

_END: Final = object()


@contextmanager
def read_ahead(source: Iterable[T]) -> Iterator[Iterator[T]]:
    """Give an iterator over ``source`` that takes an item while the one before is in use.

    The source is iterated on another thread, from the first item asked for. What it raises comes
    out of the iterator, after all items before. The block ends when the source has come to rest:
    give it nothing that may wait for ever, such as a pipe.
    """
    iterator = iter(source)
    worker = _Worker("read ahead")

    def items() -> Iterator[T]:
        pending = worker.submit(partial(next, iterator, _END))
        while (item := pending.result()) is not _END:
            pending = worker.submit(partial(next, iterator, _END))
            yield item

    try:
        with _short_turns():
            yield items()
    finally:
        worker.close()


@contextmanager
def write_behind(write: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
    """Give a function that has ``write`` take an item on another thread, and returns at once.

    It first waits for the item before. What ``write`` raises comes out of the next call, or of the
    end of the block, which waits for the last item. After an error in the block, too, an earlier
    one of ``write`` is what comes out, as it would without the thread.
    """
    worker = _Worker("write behind")
    pending: Future[None] | None = None

    def finish() -> None:
        nonlocal pending
        last, pending = pending, None
        if last is not None:
            last.result()

    def put(item: T) -> None:
        nonlocal pending
        finish()
        pending = worker.submit(partial(write, item))

    try:
        with _short_turns():
            yield put
            finish()
    except BaseException as error:
        worker.close(GRACE_S)
        if isinstance(error, Exception) and pending is not None and pending.done():
            pending.result()
        raise
    worker.close()


@contextmanager
def _short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Worker:
    """Makes calls one after the other, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Make a call after those before it."""
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def close(self, timeout_s: float | None = None) -> None:
        """Wait, at most so long, until all calls are made, and end the thread."""
        self._calls.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while _make_call(self._calls.get()):
            pass


def _make_call(item: tuple[Future[Any], Callable[[], Any]] | None) -> bool:
    """Make one call; a function of its own, so that nothing of it lives on until the next."""
    if item is None:
        return False
    future, call = item
    try:
        result = call()
    except BaseException as error:  # whoever waits for the result gets it
        future.set_exception(error)
    else:
        future.set_result(result)
    return True
