"""The compiler's own process: one graph, nothing else, and the same memory layout every time.

TensorRT for RTX 1.7.1 numbers symbolic dimensions in an order that follows from addresses in
memory, and the numbers end up in the plan. So that a second build gives the same bytes, this file
runs as a program that imports nothing but the compiler, in an environment of its own, with one
builder thread, and on Linux without address randomisation and as a batch job, whose threads do not
take turns at arbitrary moments. It has to work without the rest of the package.

A folder holds the job: ``job.json`` and ``graph.onnx`` go in, ``plan`` and ``result.json`` come
out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

JOB_FILE, GRAPH_FILE, PLAN_FILE, RESULT_FILE = "job.json", "graph.onnx", "plan", "result.json"
RTX = "tensorrt-rtx"
ADDR_NO_RANDOMIZE = 0x0040000
KEEP_PERSONALITY = 0xFFFFFFFF


class RefusalError(Exception):
    """A graph or its shapes cannot be compiled; the message says why."""


def log_of(library: Any) -> Any:
    """Return a logger of the library's kind that keeps everything from INFO up."""
    severity = library.ILogger.Severity
    names = {severity.INTERNAL_ERROR: "error", severity.ERROR: "error"}
    names |= {severity.WARNING: "warning", severity.INFO: "info"}

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in names:
                self.lines.append(f"{names[severity]}: {' '.join(message.split())}")

    return Log()


def errors_in(lines: list[str]) -> str:
    """Return the reasons of a failure, as the tail of a message."""
    reasons = [line for line in lines if line.startswith("error: ")]
    return "".join(f"; {line.removeprefix('error: ')}" for line in dict.fromkeys(reasons))


def build(
    library: Any, log: Any, backend: str, sm: int, onnx: bytes, inputs: Mapping[str, Any]
) -> bytes | None:
    """Compile a graph: FP32, TF32 off, one profile with ``inputs``, one thread.

    Returns None if the library gives no plan. Raises ``RefusalError`` if it cannot read the graph
    or take the shapes, or has switched TF32 on.
    """
    builder = library.Builder(log)
    builder.max_threads = 1
    network = builder.create_network(_network_flags(library, backend))
    parser = library.OnnxParser(network, log)
    if not parser.parse(onnx):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"{e.node_name()}: {e.desc()}" for e in errors)
        raise RefusalError(
            f"it cannot be read: {reasons or 'no reason given'}; export it again, or express "
            "what is missing by other operators"
        )
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    if backend == RTX:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, f"SM{sm}"), 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(name, *(tuple(shape) for shape in inputs[name]))
    if config.add_optimization_profile(profile) < 0:
        raise RefusalError(f"it does not take the shapes {dict(inputs)}{errors_in(log.lines)}")
    plan = builder.build_serialized_network(network, config)
    if config.get_flag(library.BuilderFlag.TF32):
        raise RefusalError("the library has switched TF32 on by itself; use another version")
    return None if plan is None else bytes(plan)


def _network_flags(library: Any, backend: str) -> int:
    """Return flags for a strongly typed network; TensorRT for RTX has no other kind."""
    if backend == RTX:
        return 0
    return 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _fix_addresses() -> bool:
    """Turn address randomisation off for what this process executes next; tell if it worked."""
    import ctypes

    try:
        personality = ctypes.CDLL(None).personality
        current = personality(ctypes.c_ulong(KEEP_PERSONALITY))
        if current < 0 or personality(ctypes.c_ulong(current | ADDR_NO_RANDOMIZE)) < 0:
            return False
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):
        return False
    return True


def _run(fixed: bool) -> None:
    """Compile the job in the current folder."""
    job = json.loads(Path(JOB_FILE).read_bytes())
    sys.path[:] = job["path"]
    onnx = Path(GRAPH_FILE).read_bytes()
    lines: list[str] = []
    plan = error = None
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        library = import_module(job["module"])
        log = log_of(library)
        lines = log.lines
        start, cpu_start = time.perf_counter(), time.process_time()  # Imports do not count.
        plan = build(library, log, job["backend"], job["sm"], onnx, job["inputs"])
    except Exception as failure:
        error = " ".join(str(failure).split()) or type(failure).__name__
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    if plan is not None:
        Path(PLAN_FILE).write_bytes(plan)
    result = {
        "lines": lines,
        "error": error,
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "fixed": fixed,
    }
    Path(RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")


def main() -> None:
    """Run the job; on Linux, first start again at fixed addresses."""
    if sys.argv[1] == "start" and sys.platform == "linux":
        state = "fixed" if _fix_addresses() else "free"
        os.execv(sys.executable, [sys.executable, *PYTHON_OPTIONS, __file__, state])  # noqa: S606
    _run(sys.argv[1] == "fixed")


PYTHON_OPTIONS = ("-s", "-S", "-P")
"""No folders of the user's or the script's, no ``site``: the job says where libraries are."""

if __name__ == "__main__":
    main()
