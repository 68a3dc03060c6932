"""Compiled plans on disk: what is read back is what was compiled, from the graph meant.

``<graph>.plan`` is the compiler's output and ``<graph>.plan.json`` its record. Without the
record a plan could stand for an older version of its graph and nobody would notice: the
pictures would only be wrong. The export writes both with ``write_plan``.

A plan is machine code. Its digest guards against mix-ups and damage, not against malice:
load plans only from where you would install software from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from nvc_errors import EngineError, EngineUnavailableError, OutputError, UsageError

from nvc_engines.gpus import Gpu, gpu_named
from nvc_engines.interface import GraphSource

RECORD_FORMAT: Final = 1


@dataclass(frozen=True)
class PlanRecord:
    """How a plan came to be. Digests are lower-case sha256 hex; ``tf32`` must be False to run."""

    backend: str
    backend_version: str
    gpu: str
    onnx_sha256: str
    plan_sha256: str
    tf32: bool
    format: int = RECORD_FORMAT


def plan_path(engines_dir: Path, graph: str) -> Path:
    """Return where the plan of ``graph`` lies."""
    return engines_dir / f"{graph}.plan"


def record_path(engines_dir: Path, graph: str) -> Path:
    """Return where the record of the plan of ``graph`` lies."""
    return engines_dir / f"{graph}.plan.json"


def write_plan(engines_dir: Path, graph: str, plan: bytes, record: PlanRecord) -> None:
    """Write a plan and its record, each by way of a temporary file.

    Raises ``OutputError`` if they cannot be written, ``EngineError`` if the record is of
    another plan.
    """
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise EngineError(f"the record of plan {graph!r} has the digest of another plan")
    text = json.dumps(asdict(record), indent=2, sort_keys=True) + "\n"
    write_whole(plan_path(engines_dir, graph), plan)
    write_whole(record_path(engines_dir, graph), text.encode())


def read_plan(engines_dir: Path, source: GraphSource, backend: str, gpu: Gpu) -> bytes:
    """Return the plan that was compiled from ``source`` by ``backend`` for ``gpu``.

    Raises ``EngineUnavailableError`` if there is none, ``EngineError`` if it is of another
    graph, backend or compute capability, uses TF32, or is damaged.
    """
    advice = f"compile it with: nvc-export build-engine --gpu {gpu.name}"
    path = plan_path(engines_dir, source.name)
    record_file = record_path(engines_dir, source.name)
    try:
        plan, text = path.read_bytes(), record_file.read_bytes()
    except OSError as error:
        raise EngineUnavailableError(
            f"no plan of graph {source.name!r} for {gpu.name}: {error.filename}: {error.strerror}; "
            f"{advice}"
        ) from error
    record = _record_from_json(record_file, text)
    digest = hashlib.sha256(plan).hexdigest()
    checks = (
        ("backend", record.backend, backend),
        ("compute capability", _sm_of(record_file, record), gpu.sm),
        ("sha256 of the graph", record.onnx_sha256, source.sha256),
        ("sha256 of the plan", record.plan_sha256, digest),
        ("TF32", record.tf32, False),
        ("TF32 inside the plan", b"tf32=1" in plan, False),
    )
    for what, found, expected in checks:
        if found != expected:
            raise EngineError(
                f"{path} does not fit: {what} is {found}, expected {expected}; {advice}"
            )
    return plan


def _record_from_json(path: Path, text: bytes) -> PlanRecord:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise EngineError(f"{path} is not JSON ({error}); compile the engine again") from error
    kinds = {"tf32": bool, "format": int}
    names = {item.name for item in fields(PlanRecord)}
    if (
        not isinstance(values, dict)
        or values.get("format") != RECORD_FORMAT
        or values.keys() != names
        or any(type(value) is not kinds.get(name, str) for name, value in values.items())
    ):
        raise EngineError(
            f"{path} is no plan record of format {RECORD_FORMAT}: expected exactly "
            f"{', '.join(sorted(names))}; compile the engine again"
        )
    return PlanRecord(**values)


def _sm_of(path: Path, record: PlanRecord) -> int:
    try:
        return gpu_named(record.gpu).sm
    except UsageError as error:
        raise EngineError(f"{path} names an {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` by way of a temporary file beside it.

    Raises ``OutputError`` if that fails; the temporary file is removed.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".nvc-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
