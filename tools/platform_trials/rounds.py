"""One task on every leg, one leg after the other: what this machine cannot run is listed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from platform_legs import REFERENCE, Cache, Leg

from nvc_engines import Engine
from nvc_errors import EngineError, EngineUnavailableError

Task = Callable[[Leg, Engine], dict[str, Any]]


def run_on_legs(
    legs: Iterable[Leg], cache: Cache, task: Task
) -> tuple[list[dict[str, Any]], list[str]]:
    """Open each leg and let ``task`` do its work; return a record for each, and what broke.

    A record holds the leg's name and title, whether it is ``available``, then either the
    ``reason`` or the engine's description and what ``task`` returned. Raises ``EngineError`` if
    the reference cannot do it.
    """
    records: list[dict[str, Any]] = []
    problems = []
    for leg in legs:
        data: dict[str, Any] = {"name": leg.name, "title": leg.title, "available": False}
        start = time.perf_counter()
        try:
            with leg.open(cache) as engine:
                result = task(leg, engine)
                data |= {"available": True} | describe_engine(engine) | result
        except EngineError as error:
            if leg.name == REFERENCE:
                raise
            data["reason"] = str(error)
            if not isinstance(error, EngineUnavailableError):
                problems.append(f"{leg.name} breaks down: {error}")
        records.append(data)
        verdict = data.get("reason", f"{time.perf_counter() - start:.1f} s")
        print(f"{leg.name}: {verdict}", file=sys.stderr, flush=True)
    return records, problems


def describe_engine(engine: Engine) -> dict[str, Any]:
    """Return what an engine says about itself, as plain data."""
    info = engine.info
    return {
        "engine": str(info.spec),
        "version": info.backend_version,
        "device": info.device_name,
        "precision": info.precision,
        "flags": dict(info.flags),
    }
