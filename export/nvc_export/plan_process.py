"""Compile graphs in processes of their own, see :mod:`nvc_export.plan_worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nvc_engines import gpu_named
from nvc_engines.gpus import TENSORRT
from nvc_errors import EngineError, OutputError
from nvc_export import plan_worker as worker
from nvc_export.plan_compiler import (
    MODULES,
    CompiledPlan,
    CompileJob,
    check_inputs,
    checked_plan,
    load_library,
)

_KEPT_VARIABLES: Final = (
    *("LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"),
    *(("PATH", "SYSTEMROOT") if sys.platform == "win32" else ()),
)
STDERR_FILE: Final = "stderr"
ATTEMPTS: Final = 6
_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")


class CompilerProcesses:
    """Runs compilers, each in a process, and can end all of them. Safe to use from threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def compile(self, job: CompileJob) -> CompiledPlan:
        """Compile a graph until two attempts give the same bytes; times are those of all of them.

        On a busy machine the threads of a compiler now and then take turns in another order, which
        can show in a plan. After :data:`ATTEMPTS`, or where addresses cannot be fixed, the plan is
        one whose ``fixed`` is false. Raises what :meth:`compile_once` does.
        """
        seen: dict[bytes, CompiledPlan] = {}
        elapsed_s = cpu_s = 0.0
        for _ in range(ATTEMPTS):
            plan = self.compile_once(job)
            elapsed_s, cpu_s = elapsed_s + plan.elapsed_s, cpu_s + plan.cpu_s
            again = plan.content in seen
            seen.setdefault(plan.content, plan)
            if again or not plan.fixed or job.backend == TENSORRT:
                break
        agreed = again and plan.fixed
        return replace(plan, elapsed_s=elapsed_s, cpu_s=cpu_s, fixed=agreed)

    def compile_once(self, job: CompileJob) -> CompiledPlan:
        """Compile a graph; raises what :func:`nvc_export.plan_compiler.checked_plan` raises.

        Also ``EngineError`` if the compiler dies, with its last words, and ``OutputError`` if no
        temporary file can be written.
        """
        load_library(job.backend)
        check_inputs(job)
        try:
            with tempfile.TemporaryDirectory(prefix="nvc-compile-") as name:
                folder = Path(name)
                _write_job(folder, job)
                code = self._run(folder)
                result, plan = _read_result(folder)
                end = "" if result is not None else _end_of(code, folder)
        except OSError as error:
            raise OutputError(
                f"cannot compile in {tempfile.gettempdir()}: {error.strerror or error}"
            ) from error
        if result is None:
            raise EngineError(
                f"{job.backend} died while it compiled graph {job.graph!r} for {job.gpu}: {end}"
            )
        return checked_plan(job, plan, **result)

    def stop(self) -> None:
        """End every compiler that runs, and start no more: it cannot be asked to stop."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _run(self, folder: Path) -> int | None:
        """Return the compiler's exit code, None if it was not started."""
        environment = {k: os.environ[k] for k in _KEPT_VARIABLES if k in os.environ}
        with (folder / STDERR_FILE).open("wb") as stderr, self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, *worker.PYTHON_OPTIONS, worker.__file__, "start"],
                cwd=folder,
                env=environment | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)


def _end_of(code: int | None, folder: Path) -> str:
    """Say how a compiler ended that left no result."""
    if code is None:
        return "it was stopped before it began"
    how = f"exit code {code}" if code >= 0 else _signal_name(-code)
    lines = (folder / STDERR_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    said = [" ".join(line.split()) for line in lines if line.strip()]
    memory = ["out of memory? Use a smaller --jobs"] if how == "SIGKILL" else []
    return "; ".join([how, *said[-1:], *memory])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _write_job(folder: Path, job: CompileJob) -> None:
    fields = {
        "backend": job.backend,
        "module": MODULES[job.backend],
        "sm": gpu_named(job.gpu).sm,
        "inputs": {name: [list(shape) for shape in job.inputs[name]] for name in job.inputs},
        "path": _library_path(job.backend),
    }
    (folder / worker.JOB_FILE).write_text(json.dumps(fields), encoding="utf-8")
    (folder / worker.GRAPH_FILE).write_bytes(job.onnx)


def _library_path(backend: str) -> list[str]:
    """Return where the compiler and the standard library lie, whoever asks.

    What else a program has in ``sys.path`` would move the compiler's addresses.
    """
    own = Path(str(load_library(backend).__file__)).parent
    own = own.parent if own.name == MODULES[backend] else own
    standard = Path(os.__file__).parent
    folders = [str(Path(entry).resolve()) for entry in sys.path if entry]
    kept = [
        entry
        for entry in folders
        if Path(entry).name in _PACKAGE_FOLDERS
        or Path(entry) in (standard.resolve(), standard.resolve() / "lib-dynload")
        or entry.endswith(".zip")
    ]
    return list(dict.fromkeys([str(own.resolve()), *kept]))


def _read_result(folder: Path) -> tuple[dict[str, Any] | None, bytes | None]:
    """Return what the compiler left: None if it left no result."""
    path = folder / worker.RESULT_FILE
    if not path.exists():
        return None, None
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError:
        return None, None
    plan = folder / worker.PLAN_FILE
    return result, plan.read_bytes() if plan.exists() else None
