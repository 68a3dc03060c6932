"""Reading ahead and writing behind: order, errors, and that nothing goes on after the block."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from nvc_errors import OutputError, StreamError, VideoError
from nvc_runtime import overlap
from nvc_runtime.overlap import TURN_S, read_ahead, write_behind


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def _write_one(write: Callable[[int], None], item: int, error: BaseException | None = None) -> None:
    with write_behind(write) as put:
        put(item)
        if error is not None:
            raise error


def test_items_come_in_order_and_at_most_one_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with read_ahead(source()) as items:
        assert taken == []
        for expected, item in enumerate(items):
            assert item == expected
            _wait_for(lambda: len(taken) == min(20, expected + 2))  # noqa: B023
            assert len(taken) == min(20, expected + 2)
        assert next(items, None) is None
    assert taken == list(range(20))


def test_source_runs_on_another_thread() -> None:
    def source() -> Iterator[int]:
        yield threading.get_ident()

    with read_ahead(source()) as items:
        assert next(items) != threading.get_ident()


def test_error_of_a_source_comes_after_the_items_before() -> None:
    def source() -> Iterator[int]:
        yield from (1, 2)
        raise VideoError("frame 2 is damaged")

    with read_ahead(source()) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(VideoError, match="frame 2 is damaged"):
            next(items)


@pytest.mark.parametrize("error", [StreamError("bad"), KeyboardInterrupt()])
def test_source_has_come_to_rest_when_a_block_fails(error: BaseException) -> None:
    busy = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        busy.set()
        time.sleep(0.05)
        busy.clear()
        yield 1

    def block() -> None:
        with read_ahead(source()) as items:
            next(items)
            busy.wait()
            raise error

    with pytest.raises(type(error)):
        block()
    assert not busy.is_set()


def test_unused_source_is_not_touched() -> None:
    def source() -> Iterator[int]:
        raise AssertionError
        yield

    with read_ahead(source()):
        pass


def test_items_are_written_in_order_beside_the_block() -> None:
    written: list[int] = []
    threads = set()

    def write(item: int) -> None:
        time.sleep(0.001)
        written.append(item)
        threads.add(threading.get_ident())

    with write_behind(write) as put:
        for number in range(20):
            put(number)
            assert len(written) >= number - 1
    assert written == list(range(20))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_error_of_a_writer_comes_out_of_the_next_call() -> None:
    seen = []

    def write(item: int) -> None:
        seen.append(item)
        if item == 1:
            raise OutputError("the disk is full")

    with write_behind(write) as put:
        put(0)
        put(1)
        with pytest.raises(OutputError, match="the disk is full"):
            put(2)
    assert seen == [0, 1]


def test_error_of_the_last_item_comes_out_of_the_block() -> None:
    def write(item: int) -> None:
        raise OutputError(f"item {item}")

    with pytest.raises(OutputError, match="item 7"):
        _write_one(write, 7)


def test_earlier_error_of_a_writer_goes_before_one_of_the_block() -> None:
    def write(item: int) -> None:
        time.sleep(0.02)
        raise OutputError(f"item {item}")

    with pytest.raises(OutputError, match="item 0"):
        _write_one(write, 0, StreamError("packet 1"))


@pytest.mark.parametrize("error", [StreamError("packet 1"), KeyboardInterrupt()])
def test_item_under_way_is_finished_when_a_block_fails(error: BaseException) -> None:
    written = []

    def write(item: int) -> None:
        time.sleep(0.02)
        written.append(item)

    with pytest.raises(type(error)):
        _write_one(write, 0, error)
    assert written == [0]


def test_stuck_writer_does_not_hold_up_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "GRACE_S", 0.01)
    reader_comes_back = threading.Event()

    def write(item: int) -> None:
        del item
        reader_comes_back.wait()

    with pytest.raises(KeyboardInterrupt):
        _write_one(write, 0, KeyboardInterrupt())
    stuck = [t for t in threading.enumerate() if t.name == "write behind"]
    assert [t.daemon for t in stuck] == [True]
    reader_comes_back.set()
    stuck[0].join(10)


def test_items_are_let_go_of() -> None:
    """An idle thread must not keep a frame in memory."""
    with write_behind(lambda _: None) as put:
        frame = np.zeros(9)
        alive = weakref.ref(frame)
        put(frame)
        put(np.zeros(9))
        put(np.zeros(9))
        del frame
        gc.collect()
        assert alive() is None


def test_threads_take_short_turns_while_there_are_two() -> None:
    before = sys.getswitchinterval()
    with write_behind(lambda _item: None):
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
        with read_ahead([1]) as items:
            assert list(items) == [1]
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
    assert sys.getswitchinterval() == before
    with pytest.raises(KeyError), read_ahead([1]):
        raise KeyError
    assert sys.getswitchinterval() == before
