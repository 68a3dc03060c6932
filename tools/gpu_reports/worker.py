"""The process that measures: takes items as lines of JSON, answers with lines of JSON.

A process of its own, so that an item which hangs, or brings its process down, costs no other.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform_trials.golden import load_vectors

from gpu_reports.engines import device_facts, open_reported
from gpu_reports.groups import measure_groups
from gpu_reports.items import Reference, measure_drift, measure_golden, measure_speed
from gpu_reports.prepared import Prepared, load_prepared
from nvc_engines import Engine
from nvc_errors import NvcError, UsageError
from nvc_runtime.bundle import Bundle, find_bundle
from nvc_runtime.drift.trace import describe_engine

WORKER_FLAG = "--gpu-report-worker"
READY, DONE, PARTIAL = "ready", "done", "partial"


@dataclass(frozen=True)
class Work:
    """Where everything lies. ``plans`` is empty where no engine runs plans."""

    streams: str
    plans: str
    reference: str
    repeats: int


class Worker:
    """Measures items one after the other; what several need is kept."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._reference = Reference(work.reference)
        self._prepared: dict[str, Prepared] | None = None

    def measure(self, item: dict[str, str], answer: Any) -> dict[str, Any]:
        """Measure one item; ``answer`` is called with what there is so far."""
        name, kind = item["engine"], item["kind"]
        if kind == "golden":
            vectors = load_vectors(Path(item["what"]))
            with self._open(name, vectors.bundle.name) as engine:
                found = {"opened": describe_engine(engine.info)}
                answer(found)
                return found | measure_golden(vectors, engine, self._reference)
        prepared = self._stream(item["what"])
        folder, bundle = Path(self._work.streams), self._bundle(prepared)
        if kind == "drift":
            with self._open(name, bundle.name) as engine:
                found = {"opened": describe_engine(engine.info)}
                answer(found)
                drift = measure_drift(prepared, folder, bundle, engine, self._reference)
            return found | drift
        if kind == "groups":
            jobs, repeats = int(item["jobs"]), self._work.repeats
            with self._open(name, bundle.name) as engine:
                return measure_groups(prepared, folder, bundle, engine, jobs, repeats)
        return measure_speed(
            prepared,
            folder,
            bundle.path,
            lambda: self._open(name, bundle.name),
            self._work.repeats,
            answer,
        )

    def _open(self, name: str, bundle: str) -> Engine:
        plans = Path(self._work.plans) if self._work.plans else None
        return open_reported(name, bundle, plans)

    def _stream(self, name: str) -> Prepared:
        if self._prepared is None:
            self._prepared = {p.name: p for p in load_prepared(Path(self._work.streams))}
        if name not in self._prepared:
            raise UsageError(f"{self._work.streams} holds no stream {name!r}")
        return self._prepared[name]

    @staticmethod
    def _bundle(prepared: Prepared) -> Bundle:
        return find_bundle(bytes.fromhex(prepared.bundle_digest), prepared.bundle)


def serve(given: str) -> None:
    """Answer on what is standard output now; libraries print to standard error from here on."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(state: str, content: dict[str, Any]) -> None:
        answers.write(json.dumps({"state": state, "content": content}) + "\n")

    worker = Worker(Work(**json.loads(given)))
    answer(READY, device_facts())
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            content = worker.measure(json.loads(line), lambda found: answer(PARTIAL, found))
        except Exception as error:
            # Whatever it is, the next items may work, and the report says it.
            if not isinstance(error, NvcError):
                traceback.print_exc(file=sys.stderr)
            content = {"error": f"{type(error).__name__}: {error}"[:1500]}
        content["item_s"] = round(time.perf_counter() - start, 3)
        answer(DONE, content)
