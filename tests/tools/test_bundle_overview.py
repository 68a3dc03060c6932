"""Means over common clips, choice of digests, and the whole tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")
pytest.importorskip("onnx", reason="operations are counted from ONNX graphs")
pytest.importorskip("torch")

import bundle_overview

from nvc_runtime.bundle import open_bundle

PAIRS = ((0.1, 30.0), (0.2, 33.0), (0.4, 36.0), (0.8, 38.5))


def points(factor: float) -> list[dict[str, Any]]:
    return [
        {"setting": n, "size_bytes": 1, "bits_per_pixel": factor * rate, "psnr_rgb_db": quality}
        for n, (rate, quality) in enumerate(PAIRS)
    ]


def curve_file(name: str, digest: str, factors: dict[str, float]) -> dict[str, Any]:
    """What `rd_curves.py` writes: the bundle needs so many times the bits of x265 on each clip."""
    clips = {
        clip: {"curves": {name: points(f), "x265 medium": points(1), "x264 medium": points(1.25)}}
        for clip, f in factors.items()
    }
    return {"bundles": [{"name": name, "digest": digest}], "clips": clips | {"mean": clips["a"]}}


def speed_file(name: str, digest: str) -> dict[str, Any]:
    return {
        "bundle": {"name": name, "digest": digest},
        "height": 720,
        "width": 1280,
        "decode": {"fps": {"median": 12.5}},
        "engine": {"name": "ort:cpu", "threads": 2},
        "machine": {"cpu": "some"},
    }


def write(folder: Path, **files: dict[str, Any]) -> None:
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))


def test_tool(block_bundle_path: Path, tmp_path: Path) -> None:
    name, digest = "block", open_bundle(block_bundle_path).digest.hex()
    results, output = tmp_path / "results", tmp_path / "out"
    write(
        results,
        rate_distortion=curve_file(name, digest, {"a": 2.0, "b": 3.0}),
        rate_distortion_old=curve_file(name, "00", {"a": 9.0, "b": 9.0, "c": 9.0}),
        benchmark=speed_file(name, digest),
    )
    given = ["--bundle", str(block_bundle_path), "--results", str(results), "-o", str(output)]
    assert bundle_overview.main(given) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    row = result["bundles"][name]
    assert result["clips"] == ["a", "b"]
    assert row["bd_rate_percent"] == pytest.approx(150, abs=0.01)
    assert row["curves_of_digest"] == digest
    assert row["decoder_kmac_per_pixel"]["inter"] > 0
    assert result["lines"] == {"x265 medium": 0, "x264 medium": pytest.approx(25, abs=0.01)}
    table = output.with_suffix(".md").read_text()
    assert "| block | +150.0 % |" in table
    assert "12.5 at 1280x720" in table
    assert "earlier digest" not in table
    assert output.with_suffix(".svg").read_text().startswith("<?xml")


def test_figures_of_an_earlier_digest_are_marked(block_bundle_path: Path, tmp_path: Path) -> None:
    results, output = tmp_path / "results", tmp_path / "out"
    write(results, rate_distortion=curve_file("block", "00", {"a": 2.0}))
    given = ["--bundle", str(block_bundle_path), "--results", str(results), "-o", str(output)]
    assert bundle_overview.main(given) == 0
    table = output.with_suffix(".md").read_text()
    assert "| block * | +100.0 % |" in table
    assert "measured on an earlier digest" in table


def test_tool_without_curves(
    block_bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--bundle", str(block_bundle_path), "--results", str(tmp_path)]
    assert bundle_overview.main([*given, "-o", str(tmp_path / "out")]) == 2
    assert "run tools/rd_curves.py first" in capsys.readouterr().err
