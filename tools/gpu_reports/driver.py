"""Runs the items of a report in a worker, each within its time, and keeps what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from gpu_reports.worker import DONE, READY, WORKER_FLAG, Work

GRACE_S = 10.0
START_S = 90.0
"""What importing the libraries and finding the device may take."""


@dataclass(frozen=True)
class Plan:
    """What to measure, in the order of importance, and in how much time.

    ``items``: dicts of ``kind`` (golden, drift, speed or groups), ``engine``, ``what`` (a folder of
    golden streams, or the name of a prepared stream), and for groups ``jobs``.
    """

    items: list[dict[str, str]]
    work: Work
    budget_s: float
    item_s: float


class _Process:
    """A worker and the lines it answers with."""

    def __init__(self, script: Path, work: Work) -> None:
        command = [sys.executable, str(script), WORKER_FLAG, json.dumps(asdict(work))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, item: dict[str, str]) -> None:
        """Send an item."""
        assert self._process.stdin is not None
        # If it has ended, the next answer says so.
        with suppress(OSError):
            self._process.stdin.write(json.dumps(item) + "\n")
            self._process.stdin.flush()

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next answer, or None if the process has ended; raise ``Empty`` in time."""
        line = self._lines.get(timeout=max(timeout_s, 0.01))
        return None if line is None else json.loads(line)

    def stop(self) -> int | None:
        """End the process; return its exit code if it had ended by itself."""
        code = self._process.poll()
        self._process.kill()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return code  # A driver that holds on to it: nothing more can be done from here.
        self._reader.join(GRACE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put(None)


def run_items(
    script: Path,
    plan: Plan,
    record: dict[str, Any],
    save: Callable[[], None],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure every item and add it to ``record["items"]``; ``save`` follows each change."""
    end = time.monotonic() + plan.budget_s
    process: _Process | None = None
    failed_starts = 0
    record["items"] = items = [dict(item, state="waiting") for item in plan.items]
    for asked, entry in zip(plan.items, items, strict=True):
        left = end - time.monotonic()
        if left <= 0 or failed_starts > 1:
            entry["state"] = "skipped"
            entry["reason"] = "no worker starts" if left > 0 else "the time is used up"
            save()
            continue
        try:
            if process is None:
                process = _Process(script, plan.work)
                facts = process.answer(min(START_S, left))
                if facts is None or facts["state"] != READY:
                    raise _LostError("the worker did not start")
                record["device"] = facts["content"]
                failed_starts = 0
            entry["state"] = "running"
            process.ask(asked)
            _collect(process, entry, min(plan.item_s, end - time.monotonic()), save)
        except (_LostError, Empty) as error:
            code = process.stop() if process is not None else None
            failed_starts += entry["state"] == "waiting"
            process = None
            entry["state"] = "failed"
            ended = "ran out of its time" if isinstance(error, Empty) else f"exit code {code}"
            entry["error"] = f"the worker was lost: {ended}"
        save()
        say(f"{entry['state']:8} {entry['kind']} {entry['engine']} {entry['what']}")
    if process is not None:
        process.stop()


class _LostError(Exception):
    """The worker has ended."""


def _collect(
    process: _Process, entry: dict[str, Any], limit_s: float, save: Callable[[], None]
) -> None:
    end = time.monotonic() + limit_s
    while True:
        found = process.answer(end - time.monotonic())
        if found is None:
            raise _LostError
        entry.update(found["content"])
        if found["state"] == DONE:
            entry["state"] = "failed" if "error" in entry else "done"
            return
        save()
