"""Compiled plans on disk: what is read back is what was compiled, from the graph meant.

``<graph>.plan`` is the compiler's output and ``<graph>.plan.json`` its record. Without the
record a plan could stand for an older version of its graph and nobody would notice: the
pictures would only be wrong. The export writes both with ``write_plan``.

The plans of one target lie in a folder of their own, such as ``tensorrt-rtx-sm75``, so that one
engines directory serves a mixed fleet. A directory that is such a folder itself works, too.

A plan is machine code. Its digest guards against mix-ups and damage, not against malice:
load plans only from where you would install software from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from nvc_engines.gpus import TENSORRT_RTX, Gpu, gpu_named
from nvc_engines.interface import GraphSource, Shape
from nvc_errors import EngineError, EngineUnavailableError, OutputError, UsageError

RECORD_FORMAT: Final = 1
PLAN_SUFFIX: Final = ".plan"
RECORD_SUFFIX: Final = ".plan.json"

ShapeRange = tuple[Shape, Shape, Shape]
"""Smallest, optimal and largest shape of an input."""


@dataclass(frozen=True)
class PlanRecord:
    """How a plan came to be. Digests are lower-case sha256 hex; ``tf32`` must be False to run.

    ``bundle`` and ``bundle_sha256`` say where the graph came from, for people: what decides is
    ``onnx_sha256``. ``frame_sizes`` are the smallest, optimal and largest frame as "1280x768",
    ``inputs`` the shapes that follow for each input.
    """

    backend: str
    backend_version: str
    gpu: str
    bundle: str
    bundle_sha256: str
    onnx_sha256: str
    plan_sha256: str
    frame_sizes: tuple[str, str, str]
    inputs: Mapping[str, ShapeRange]
    precision: str = "fp32"
    tf32: bool = False
    format: int = RECORD_FORMAT


@dataclass(frozen=True)
class StoredPlan:
    """A plan that fits what was asked for. ``advice`` is the command that compiles it again."""

    path: Path
    content: bytes
    record: PlanRecord
    advice: str


def target_name(backend: str, gpu: Gpu) -> str:
    """Return the name of a target's folder, ``tensorrt-rtx-sm75``."""
    return f"{backend}-sm{gpu.sm}"


def target_folder(engines_dir: Path, backend: str, gpu: Gpu) -> Path:
    """Return where the plans of a target lie: in its folder, or ``engines_dir`` is that folder."""
    folder = engines_dir / target_name(backend, gpu)
    return folder if folder.is_dir() else engines_dir


def plan_path(folder: Path, graph: str) -> Path:
    """Return where the plan of ``graph`` lies in a target's folder."""
    return folder / f"{graph}{PLAN_SUFFIX}"


def record_path(folder: Path, graph: str) -> Path:
    """Return where the record of the plan of ``graph`` lies in a target's folder."""
    return folder / f"{graph}{RECORD_SUFFIX}"


def write_plan(folder: Path, graph: str, plan: bytes, record: PlanRecord) -> None:
    """Write a plan and its record, each by way of a temporary file.

    Raises ``OutputError`` if they cannot be written, ``EngineError`` if the record is of
    another plan.
    """
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise EngineError(f"the record of plan {graph!r} has the digest of another plan")
    text = json.dumps(asdict(record), indent=2, sort_keys=True) + "\n"
    write_whole(plan_path(folder, graph), plan)
    write_whole(record_path(folder, graph), text.encode())


def read_plan(
    engines_dir: Path, source: GraphSource, backend: str, gpu: Gpu, backend_version: str
) -> StoredPlan:
    """Return the plan that was compiled from ``source`` by ``backend`` for ``gpu``.

    Raises ``EngineUnavailableError`` if there is none, ``EngineError`` if it is of another
    graph, backend, version or compute capability, is not FP32 without TF32, or is damaged.
    """
    advice = _advice(engines_dir, backend, gpu)
    folder = target_folder(engines_dir, backend, gpu)
    path, record_file = plan_path(folder, source.name), record_path(folder, source.name)
    try:
        plan, text = path.read_bytes(), record_file.read_bytes()
    except OSError as error:
        others = sorted(p.name for p in engines_dir.glob("*-sm*") if p.is_dir() and p != folder)
        held = f"; {engines_dir} holds plans for {', '.join(others)}" if others else ""
        raise EngineUnavailableError(
            f"no plan of graph {source.name!r} for {gpu.name}: {error.filename}: {error.strerror}"
            f"{held}; {advice}"
        ) from error
    record = record_from_json(record_file, text)
    if record.onnx_sha256 != source.sha256:
        raise EngineError(
            f"{path} does not fit: sha256 of the graph is {record.onnx_sha256}, expected "
            f"{source.sha256}: it was compiled from bundle {record.bundle!r} "
            f"({record.bundle_sha256[:16]}); {advice} --bundle with the bundle in use"
        )
    digest = hashlib.sha256(plan).hexdigest()
    checks = (
        ("backend", record.backend, backend),
        ("compute capability", _sm_of(record_file, record), gpu.sm),
        ("library version", record.backend_version, backend_version),
        ("precision", record.precision, "fp32"),
        ("sha256 of the plan", record.plan_sha256, digest),
        ("TF32", record.tf32, False),
        ("TF32 inside the plan", b"tf32=1" in plan, False),
    )
    for what, found, expected in checks:
        if found != expected:
            raise EngineError(
                f"{path} does not fit: {what} is {found}, expected {expected}; {advice}"
            )
    return StoredPlan(path, plan, record, advice)


def check_plan_shapes(plan: StoredPlan, shapes: Mapping[str, Shape]) -> None:
    """Raise ``EngineError`` if the plan was not compiled for inputs of ``shapes``."""
    for name, (low, _, high) in plan.record.inputs.items():
        shape = shapes.get(name, low)
        fits = len(shape) == len(low) and all(
            a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
        )
        if not fits:
            smallest, _, largest = plan.record.frame_sizes
            raise EngineError(
                f"{plan.path} takes input {name!r} from {low} to {high}, not {shape}: it was "
                f"compiled for frames from {smallest} to {largest}; {plan.advice}, with "
                "--min-size and --max-size that include the video's size"
            )


def record_from_json(path: Path, text: bytes) -> PlanRecord:
    """Return the record that ``text``, read from ``path``, holds.

    Raises ``EngineError`` unless it has exactly the fields of format 1.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise EngineError(f"{path} is not JSON ({error}); compile the engine again") from error
    names = {item.name for item in fields(PlanRecord)}
    if (
        not isinstance(values, dict)
        or values.get("format") != RECORD_FORMAT
        or values.keys() != names
        or not all(_is_valid(name, value) for name, value in values.items())
    ):
        raise EngineError(
            f"{path} is no plan record of format {RECORD_FORMAT}: expected exactly "
            f"{', '.join(sorted(names))}; compile the engine again"
        )
    values["frame_sizes"] = tuple(values["frame_sizes"])
    values["inputs"] = {
        name: tuple(tuple(shape) for shape in shapes) for name, shapes in values["inputs"].items()
    }
    return PlanRecord(**values)


def _is_valid(name: str, value: Any) -> bool:
    if name == "frame_sizes":
        return _is_triple(value) and all(type(size) is str for size in value)
    if name == "inputs":
        return isinstance(value, dict) and all(
            _is_triple(shapes)
            and all(type(s) is list and all(type(dim) is int for dim in s) for s in shapes)
            and len({len(shape) for shape in shapes}) == 1
            for shapes in value.values()
        )
    return type(value) is {"tf32": bool, "format": int}.get(name, str)


def _is_triple(value: Any) -> bool:
    return type(value) is list and len(value) == 3


def _advice(engines_dir: Path, backend: str, gpu: Gpu) -> str:
    choice = "" if backend == TENSORRT_RTX else f" --backend {backend}"
    folder = engines_dir.parent if engines_dir.name == target_name(backend, gpu) else engines_dir
    return f"compile it with: nvc-export build-engine --gpu {gpu.name}{choice} -y -o {folder}"


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
