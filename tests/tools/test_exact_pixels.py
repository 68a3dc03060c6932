"""Exact pixels on legs: equal where they must be, and what is not is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import exact_pixels
import numpy as np
import pytest
from drifting_engine import DriftingEngine, Noise, SampleDrift
from platform_legs import REFERENCE, Cache, Leg
from platform_legs.local import leg_from_engine
from platform_trials.pixels import Decode, sample_difference

from nvc_engines import Engine, open_engine

ORT = leg_from_engine(REFERENCE, "ort:cpu,threads=1", "ONNX Runtime", 1.0)
QUALITIES = ["0", "2"]


def noisy(bound: float, cost: float = 1.0) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        del cache
        return DriftingEngine(open_engine("ort:cpu,threads=1"), Noise(bound))

    return Leg("noisy", "ONNX Runtime with noise", cost, open_leg)


def run(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leg: Leg, *options: str
) -> tuple[int, dict[str, Any], str]:
    monkeypatch.setattr(exact_pixels, "all_legs", lambda: [ORT, leg])
    output = tmp_path / "pixels"
    sizes = ["--size", "96", "64", "--frames", "3", "--small-size", "64", "64"]
    arguments = ["--bundle", str(bundle), "-o", str(output), "--cache", str(tmp_path), *sizes]
    code = exact_pixels.main([*arguments, "--small-frames", "2", "--quality", *QUALITIES, *options])
    data = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    return code, data, output.with_suffix(".md").read_text(encoding="utf-8")


def test_samples_differ_on_a_noisy_leg_unless_they_are_exact(
    block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, data, page = run(block_bundle_path, tmp_path, monkeypatch, noisy(1e-6))
    assert (code, data["problems"]) == (0, [])
    assert "the same on every leg" in page
    results = data["legs"][1]["results"]
    assert [r["scene"] for r in results] == ["main"] * len(QUALITIES)
    assert sum(r["plain"]["differing"] for r in results) > 0
    assert all(r["plain"]["largest"] <= 1 for r in results)
    assert all(0 < r["exact"]["before_rounding"] < data["pixel_epsilon"] for r in results)
    assert all(r["exact_is_equal"] and r["exact"]["differing"] == 0 for r in results)
    hashes = {c["quality"]: c["samples_sha256"] for c in data["cost"] if c["scene"] == "main"}
    assert {r["quality"]: r["exact_sha256"] for r in results} == hashes
    assert all(0 < c["pixel_bits_per_frame"] <= c["extra_bits_per_frame"] for c in data["cost"])


def test_noise_beyond_the_pixel_epsilon_is_a_problem(
    block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_leg(cache: Cache) -> Engine:
        del cache
        return DriftingEngine(open_engine("ort:cpu,threads=1"), SampleDrift("decoded", 0.1))

    leg = Leg("noisy", "too noisy", 1.0, open_leg)
    code, data, page = run(block_bundle_path, tmp_path, monkeypatch, leg)
    assert code == 4
    assert "pixel epsilon" in " ".join(data["problems"])
    assert "**Failed.**" in page


def test_drift_beyond_the_bound_is_a_problem_even_if_no_sample_differs(
    block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--pixel-epsilon", "1e-6")
    code, data, _ = run(block_bundle_path, tmp_path, monkeypatch, noisy(3e-8), *options)
    assert code == 4
    lucky = [r for r in data["legs"][1]["results"] if r["exact_is_equal"]]
    assert all(r["exact"]["before_rounding"] > data["pixel_epsilon"] for r in lucky)
    assert len(data["problems"]) == len(QUALITIES)


def test_emulated_legs_get_the_small_scene(
    block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, data, _ = run(block_bundle_path, tmp_path, monkeypatch, noisy(1e-7, cost=100.0))
    assert code == 0
    assert {r["scene"] for r in data["legs"][1]["results"]} == {"small"}
    assert all(r["exact"]["samples"] == 2 * 64 * 64 * 3 for r in data["legs"][1]["results"])


def test_difference_of_two_decodes() -> None:
    one = np.full((4, 5, 3), 100, np.uint8)
    other = one.copy()
    other[0, 0, 0], other[1, 1, 1] = 98, 101
    floats = [one.transpose(2, 0, 1).astype(np.float32)] * 2
    nearby = [floats[0], floats[1] - np.float32(0.25)]
    found = sample_difference(Decode([one, one], floats), Decode([one, other], nearby))
    assert (found["frames"], found["samples"]) == (2, 120)
    assert (found["differing"], found["largest"]) == (2, 2)
    assert found["psnr_db"] == pytest.approx(10 * np.log10(255**2 * 120 / 5))
    assert found["lowest_psnr_db"] == pytest.approx(10 * np.log10(255**2 * 60 / 5))
    assert found["before_rounding"] == 0.25
    assert sample_difference(Decode([one]), Decode([one]))["psnr_db"] is None
