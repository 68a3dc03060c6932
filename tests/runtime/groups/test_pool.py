"""Groups of items in processes: order, errors, and that no process is left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pool_work import Done, Task, open_nothing, open_noting, open_work

from nvc_errors import EngineError, EngineUnavailableError, StreamError, VideoError
from nvc_runtime.groups import GroupPool
from nvc_runtime.groups import pool as pool_module


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    assert set(threading.enumerate()) <= before


def tasks(*sizes: int, delay_s: float = 0.0) -> list[Task]:
    """Groups of so many tasks; those of the first are slow."""
    made: list[Task] = []
    for group, size in enumerate(sizes):
        pause = delay_s if group == 0 else 0.0
        made += [Task(len(made) + n, starts=n == 0, delay_s=pause) for n in range(size)]
    return made


def pool(jobs: int = 2) -> GroupPool[Task, Done]:
    return GroupPool(jobs, open_work, lambda task: task.starts)


def test_results_keep_their_order_whatever_is_done_first() -> None:
    with pool() as mapped:
        done = list(mapped(tasks(3, 1, 2, 1, delay_s=0.3)))
    assert [d.number for d in done] == list(range(7))


def test_a_group_stays_in_one_process_and_groups_share_out() -> None:
    with pool() as mapped:
        done = list(mapped(tasks(3, 2, delay_s=0.3)))
    first, second = {d.process for d in done[:3]}, {d.process for d in done[3:]}
    assert len(first) == len(second) == 1
    assert first != second
    assert os.getpid() not in first | second


def test_processes_serve_one_group_after_the_other_and_call_after_call() -> None:
    with pool(1) as mapped:
        done = [*mapped(tasks(2, 2, 2)), *mapped(tasks(1))]
    assert [d.number for d in done] == [0, 1, 2, 3, 4, 5, 0]
    assert len({d.process for d in done}) == 1


def test_nothing_gives_nothing() -> None:
    with pool() as mapped:
        assert list(mapped([])) == []


def test_groups_are_read_ahead_by_one_and_no_more() -> None:
    taken: list[int] = []

    def source() -> Iterator[Task]:
        for task in tasks(*[1] * 20, delay_s=0.3):
            taken.append(task.number)
            yield task

    with pool() as mapped:
        results = mapped(source())
        assert next(results).number == 0
        # Three groups, and the item that tells that the third is whole.
        assert taken == [0, 1, 2, 3]


def test_an_error_in_a_process_comes_after_the_results_before_it() -> None:
    work = tasks(2, 3, 1, delay_s=0.2)
    work[3] = work[3]._replace(ending="damage")
    found: list[int] = []
    with pytest.raises(StreamError, match="task 3 is damaged"), pool() as mapped:
        found.extend(done.number for done in mapped(work))
    assert found == [0, 1, 2]


def test_a_bug_in_a_process_shows_where_it_is() -> None:
    where = r"in _work(?s:.*)ZeroDivisionError: task 0"
    with pytest.raises(RuntimeError, match=where), pool() as mapped:
        list(mapped([Task(0, starts=True, ending="bug")]))


@pytest.mark.parametrize(
    ("ending", "message"),
    [("death", r"\(exit code 3\)$"), ("kill", r"\(exit code -9\): out of memory\?.*--jobs")],
)
def test_a_process_that_dies_is_an_error(ending: str, message: str) -> None:
    with pytest.raises(EngineError, match=message), pool() as mapped:
        list(mapped([Task(0, starts=True), Task(1, ending=ending)]))


def test_work_that_cannot_be_opened_is_its_own_error() -> None:
    broken: GroupPool[Task, Done] = GroupPool(2, open_nothing, lambda task: task.starts)
    with pytest.raises(EngineUnavailableError, match="no such engine"), broken as mapped:
        list(mapped([Task(0, starts=True, load=bytes(1 << 22))]))


def test_what_is_left_of_one_call_does_not_reach_the_next() -> None:
    with pool() as mapped:
        for done in mapped(tasks(2, 2, 2, 2)):
            assert done.number == 0
            break
        assert [done.number for done in mapped(tasks(2, 1))] == [0, 1, 2]


def test_an_error_of_the_source_comes_after_all_that_it_gave() -> None:
    def source() -> Iterator[Task]:
        yield from tasks(2, 3, delay_s=0.2)
        raise VideoError("the file ends here")

    found: list[int] = []
    with pytest.raises(VideoError, match="ends here"), pool() as mapped:
        found.extend(done.number for done in mapped(source()))
    assert found == [0, 1, 2, 3, 4]


def test_what_processes_have_opened_is_closed_when_all_is_done(tmp_path: Path) -> None:
    open_work = partial(open_noting, tmp_path)
    with GroupPool(2, open_work, lambda task: task.starts) as mapped:
        done = list(mapped(tasks(1, 1, delay_s=0.5)))
    assert {path.name for path in tmp_path.iterdir()} == {str(d.process) for d in done}


def test_what_is_left_is_not_closed(tmp_path: Path) -> None:
    open_work = partial(open_noting, tmp_path)
    with GroupPool(1, open_work, lambda task: task.starts) as mapped:
        next(mapped(tasks(2)))
    assert list(tmp_path.iterdir()) == []


def test_closing_does_not_wait_for_work() -> None:
    with pool() as mapped:
        results = mapped([Task(0, starts=True), Task(1, delay_s=600.0)])
        assert next(results).number == 0


def test_a_process_that_ignores_termination_ends_all_the_same() -> None:
    with pool(1) as mapped:
        assert next(mapped([Task(0, starts=True, ending="ignore")])).number == 0


def test_processes_that_cannot_be_started_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    class Refusing(pool_module._Process[Task, Done]):
        def __init__(self, *arguments: Any) -> None:
            if started:
                raise OSError(errno.EAGAIN, "no more processes")
            started.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(pool_module, "_Process", Refusing)
    with pytest.raises(EngineError, match=r"cannot start 2 processes: no more processes"), pool():
        pass
    assert started


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
def test_interrupts_are_left_to_whoever_started_the_processes() -> None:
    with pool() as mapped:
        assert not next(mapped(tasks(1))).hears_interrupts
