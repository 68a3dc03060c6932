"""What this machine is: CPU name and the threads an engine may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")


def cpu_name() -> str:
    """Return the CPU's model name, or its architecture where the system names no model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "CPU"


def usable_threads() -> int:
    """Return ``OMP_NUM_THREADS`` if it is a positive integer, else the CPUs we may keep busy.

    These are the CPUs we may run on, or fewer where a container has a quota of CPU time: threads
    beyond it only wait for each other.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isascii() and wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return min([_runnable_cpus(), *_quotas()])


def _runnable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Yield the CPUs, rounded up, that each control group around us may keep busy (Linux)."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _GROUPS / "cpu" if controllers else _GROUPS
        # A container sees its own group as the root, whatever its name is outside.
        for folder in (root / group.lstrip("/"), *(root / group.lstrip("/")).parents):
            if folder.is_relative_to(root):
                yield from _quota_of(folder)


def _quota_of(folder: Path) -> Iterator[int]:
    """Yield the quota of a control group of version 2, or 1, if it has one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip()
                for name in ("quota", "period")
            )
        if quota.isdigit():
            yield max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return
