"""Drift along a GOP: measured frame by frame, held by sync frames, and an error beyond epsilon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drifting_engine import AdversarialDrift, Drift, DriftingEngine, Noise
from platform_legs import REFERENCE, Cache, Leg
from platform_legs.local import leg_from_engine

from nvc_engines import Engine, open_engine

pytest.importorskip("matplotlib", reason="the tool's plot needs nvc[bench]")

import drift_curve

ORT = leg_from_engine(REFERENCE, "ort:cpu,threads=1", "ONNX Runtime", 1.0)
EPSILON = 1e-3
FRAMES = 7

Run = Callable[..., tuple[int, dict[str, Any], str]]


def drifting(make: Callable[[], Drift], cost: float = 1.0) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        del cache
        return DriftingEngine(open_engine("ort:cpu,threads=1"), make())

    return Leg("drifting", "ONNX Runtime with injected drift", cost, open_leg)


@pytest.fixture
def run(block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the tool on the reference and another leg: exit code, JSON, Markdown."""

    def run_tool(leg: Leg, *options: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(drift_curve, "all_legs", lambda: [ORT, leg])
        output = tmp_path / "drift"
        arguments = [
            "--bundle",
            str(block_bundle_path),
            "-o",
            str(output),
            "--epsilon",
            str(EPSILON),
        ]
        arguments += ["--size", "96", "64", "--frames", str(FRAMES), *options]
        code = drift_curve.main([*arguments, "--cache", str(tmp_path)])
        assert output.with_suffix(".svg").read_text(encoding="utf-8").count("<svg") == 1
        data = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
        return code, data, output.with_suffix(".md").read_text(encoding="utf-8")

    return run_tool


def test_drift_is_measured_in_every_frame(run: Run) -> None:
    code, data, page = run(drifting(lambda: AdversarialDrift(("index_0", "index_1"), EPSILON / 2)))
    assert (code, data["problems"]) == (0, [])
    assert [leg["name"] for leg in data["legs"]] == ["ort", "drifting"]
    assert not any(data["legs"][0]["max_by_frame"])
    found = data["legs"][1]
    assert found["symbols_equal"]
    assert data["streams"]["main"]["intra_frames"] == [0]
    assert len(found["max_by_frame"]) == len(found["coded_flips_by_frame"]) == FRAMES
    assert all(0 < drift <= EPSILON for drift in found["max_by_frame"])
    assert sum(found["coded_flips_by_frame"]) == found["coded_flips"] > 0
    assert f"frame {FRAMES - 1}" in page
    assert "Every leg found the same symbols, within it." in page


def test_drift_beyond_epsilon_is_a_problem(run: Run) -> None:
    code, data, page = run(drifting(lambda: AdversarialDrift(("index_0", "index_1"), 4 * EPSILON)))
    assert code == 4
    assert "epsilon" in data["problems"][0]
    assert "**Failed.**" in page


def test_drift_beyond_epsilon_is_a_problem_even_if_symbols_are_equal(run: Run) -> None:
    code, data, _ = run(drifting(lambda: Noise(1e-7)), "--epsilon", "1e-9")
    lucky = [leg for leg in data["legs"][1:] if leg["symbols_equal"]]
    assert code == 4
    assert len(data["problems"]) == 1
    assert ("by luck" in data["problems"][0]) == bool(lucky)


@pytest.mark.parametrize(
    ("drifts", "first"), [([0.0, 2e-3, 3e-3], 1), ([0.0, 9.99e-4, 5e-4], 1), ([1e-3], 0)]
)
def test_first_frame_beyond_epsilon_is_named_though_drifts_are_rounded(
    drifts: list[float], first: int
) -> None:
    assert drift_curve.first_beyond(drifts, EPSILON) == first


def test_sync_frames_cost_bits_and_are_named(run: Run) -> None:
    code, data, page = run(drifting(lambda: Noise(1e-7)), "--sync", "3")
    assert code == 0
    assert data["sync"] == 3
    assert data["streams"]["main"]["sample_bits_per_frame"] > 0
    assert "every 3 frames" in page


def test_emulated_legs_get_the_small_scene(run: Run) -> None:
    _, data, _ = run(drifting(lambda: Noise(1e-8), cost=100.0), "--small-size", "64", "64")
    assert [leg["scene"] for leg in data["legs"]] == ["main", "small"]
    assert data["legs"][1]["elements"] < data["legs"][0]["elements"]


def test_a_short_clip_is_played_back_and_forth() -> None:
    frames = [np.full((1, 1, 3), value, np.uint8) for value in range(3)]
    played = [int(frame[0, 0, 0]) for frame in drift_curve.back_and_forth(frames, 8)]
    assert played == [0, 1, 2, 1, 0, 1, 2, 1]
    assert len(list(drift_curve.back_and_forth(frames[:1], 4))) == 4
