"""Time for calibration: what is measured, and that limits are limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import calibration_speed
import pytest


@pytest.fixture
def options(block_bundle_path: Path, tmp_path: Path) -> list[str]:
    """Arguments for a run of milliseconds."""
    sizes = ["--size", "96", "64", "--frames", "4", "--repeats", "5"]
    output = ["-o", str(tmp_path / "speed")]
    return ["--bundle", str(block_bundle_path), *sizes, *output]


def read(tmp_path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    return data


def test_every_epsilon_is_timed(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_speed, "MAX_MS", {1e-2: 1e6})
    monkeypatch.setattr(calibration_speed, "MAX_SHARE", {1e-4: 1e6})
    assert calibration_speed.main(options) == 0
    data = read(tmp_path)
    assert [row["epsilon"] for row in data["rows"]] == list(calibration_speed.EPSILONS)
    bits = [row["bits_per_frame"] for row in data["rows"]]
    assert bits == sorted(bits)
    assert bits[-1] > data["without_calibration"]["bits_per_frame"] == 0
    assert data["frame_decode_ms"]["median"] > 0
    for row in (data["without_calibration"], *data["rows"]):
        assert row["decode_ms"]["median"] > 0
        assert row["encode_ms"]["median"] > 0
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert page.count("\n| 0.") == len(calibration_speed.EPSILONS)


def test_what_takes_too_long_is_a_problem(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibration_speed, "MAX_MS", {1e-2: 1e-6})
    monkeypatch.setattr(calibration_speed, "MAX_SHARE", {1e-4: -1e6})
    assert calibration_speed.main(options) == 4
    assert len(read(tmp_path)["problems"]) == 3
    assert "ms a frame to decode" in capsys.readouterr().err
