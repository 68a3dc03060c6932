"""Plans compiled before, by what went into them.

An entry is three files named by the key: ``KEY.plan``, ``KEY.log`` and ``KEY.json``, the last
written last. An entry that is incomplete or damaged is as good as none. The folder may be deleted
at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nvc_engines import gpu_named
from nvc_engines.gpus import TENSORRT_RTX
from nvc_engines.plans import write_whole
from nvc_export.plan_compiler import COMPILER_OPTIONS, CompiledPlan, CompileJob

CACHE_VARIABLE: Final = "NVC_CACHE"
CACHE_FORMAT: Final = 2


def default_cache_folder(
    environment: Mapping[str, str] | None = None, platform: str = sys.platform
) -> Path:
    """Return where plans are kept: below ``NVC_CACHE``, or where the platform keeps caches."""
    env = os.environ if environment is None else environment
    if env.get(CACHE_VARIABLE):
        return Path(env[CACHE_VARIABLE]) / "plans"
    home = Path(env.get("HOME") or Path.home())
    if platform == "win32":
        base = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local")
        return base / "nvc" / "Cache" / "plans"
    if platform == "darwin":
        return home / "Library" / "Caches" / "nvc" / "plans"
    given = env.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else home / ".cache"
    return base / "nvc" / "plans"


def key_of_job(job: CompileJob, backend_version: str) -> str:
    """Return the sha256 of everything that decides a plan's bytes.

    TensorRT for RTX compiles the same for every GPU of a capability; TensorRT's choice of kernels
    depends on the model, too.
    """
    gpu = gpu_named(job.gpu)
    parts = {
        "format": CACHE_FORMAT,
        "backend": job.backend,
        "backend_version": backend_version,
        "target": f"sm{gpu.sm}" if job.backend == TENSORRT_RTX else gpu.name,
        "onnx_sha256": hashlib.sha256(job.onnx).hexdigest(),
        "inputs": {name: [list(shape) for shape in job.inputs[name]] for name in job.inputs},
        "options": COMPILER_OPTIONS,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class PlanCache:
    """The cache in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> CompiledPlan | None:
        """Return the plan of ``key``, None if there is none that is whole."""
        try:
            entry: Any = json.loads(self._file(key, "json").read_bytes())
            plan = self._file(key, "plan").read_bytes()
            log = self._file(key, "log").read_text(encoding="utf-8")
            if hashlib.sha256(plan).hexdigest() != entry["plan_sha256"]:
                return None
            times = float(entry["elapsed_s"]), float(entry["cpu_s"])
            return CompiledPlan(plan, log, *times, fixed=entry["fixed"] is True)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, plan: CompiledPlan) -> None:
        """Keep a plan. Raises ``OutputError`` if it cannot be written."""
        entry = {
            "plan_sha256": hashlib.sha256(plan.content).hexdigest(),
            "elapsed_s": plan.elapsed_s,
            "cpu_s": plan.cpu_s,
            "fixed": plan.fixed,
        }
        write_whole(self._file(key, "plan"), plan.content)
        write_whole(self._file(key, "log"), plan.log.encode())
        write_whole(self._file(key, "json"), json.dumps(entry).encode())

    def _file(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key}.{suffix}"
