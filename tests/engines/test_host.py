"""How many threads an engine may use: the caller's wish, the CPUs, a container's quota."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvc_engines import host

CPUS = 8
UNIFIED = "0::/"
SEPARATE = "4:memory:/\n2:cpu,cpuacct:/"


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of eight CPUs whose control groups lie in a folder of the test."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: set(range(CPUS)), raising=False)
    monkeypatch.setattr(host, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(host, "_GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "threads"),
    [
        (UNIFIED, {}, CPUS),
        (UNIFIED, {"cpu.max": "max 100000\n"}, CPUS),
        (UNIFIED, {"cpu.max": "200000 100000\n"}, 2),
        (UNIFIED, {"cpu.max": "250000 100000\n"}, 3),
        (UNIFIED, {"cpu.max": "10000 100000\n"}, 1),
        (UNIFIED, {"cpu.max": "6400000 100000\n"}, CPUS),
        (UNIFIED, {"cpu.max": "nonsense\n"}, CPUS),
        ("0::/a/b", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/seen/outside", {"cpu.max": "400000 100000\n"}, 4),
        (
            SEPARATE,
            {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (SEPARATE, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CPUS),
    ],
)
def test_a_quota_of_cpu_time_limits_the_threads(
    own: str, files: dict[str, str], threads: int, groups: Path
) -> None:
    write(groups.parent / "own", f"{own}\n")
    for name, text in files.items():
        write(groups / name, text)
    assert host.usable_threads() == threads


def test_a_system_without_control_groups_has_no_quota(groups: Path) -> None:
    assert not groups.exists()
    assert host.usable_threads() == CPUS


@pytest.mark.parametrize(("wish", "threads"), [("5", 5), ("0", 2), ("", 2), ("many", 2)])
def test_a_wish_counts_more_than_a_quota(
    wish: str, threads: int, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(groups.parent / "own", f"{UNIFIED}\n")
    write(groups / "cpu.max", "200000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert host.usable_threads() == threads
