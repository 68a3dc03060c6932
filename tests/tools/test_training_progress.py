"""BD-rate over hours: order, gains an hour, the cache, and the whole tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from block_codec import moving_frames, video_info

from nvc_runtime.video import open_writer

pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import torch
import training_progress
from training_progress import ANCHORS, gain_per_hour

from nvc_models.swift import Swift, preset
from nvc_models.training import checkpoint


def row(codec: str, hours: float, delta: float | None) -> dict[str, Any]:
    return {"codec": codec, "hours": hours, "bd_rate_percent": {ANCHORS[0]: delta}}


def test_gain_per_hour() -> None:
    before = row("a", 1.0, 120.0)
    assert gain_per_hour(before, row("a", 3.0, 100.0), ANCHORS[0]) == pytest.approx(-10)
    assert gain_per_hour(before, row("b", 3.0, 100.0), ANCHORS[0]) is None
    assert gain_per_hour(before, row("a", 1.0, 100.0), ANCHORS[0]) is None
    assert gain_per_hour(before, row("a", 3.0, None), ANCHORS[0]) is None


def save(path: Path, hours: float) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(3)
    model = Swift(preset("swift-s"))
    metadata = {
        "fingerprint": {"seed": 1, "family": "swift", "config": model.config.to_json()},
        "stage": 1,
        "step": 0,
        "total_steps": round(100 * hours),
        "elapsed_s": 3600 * hours,
        "stages": [{"name": "first"}, {"name": "second"}],
    }
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    checkpoint.save(path, checkpoint.Checkpoint(tensors, metadata))
    return path


def test_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, output = tmp_path / "waves.mp4", tmp_path / "progress"
    with open_writer(str(clip), video_info(64, 64)) as writer:
        for frame in moving_frames(64, 64, 2):
            writer.write(frame)
    late, early = save(tmp_path / "late.safetensors", 2.5), save(tmp_path / "early.safetensors", 1)
    given = ["--checkpoint", str(late), str(early), "-i", str(clip), "-o", str(output)]
    given += ["--frames", "2", "--qualities", "0,20,40,63", "--crf", "18,24,30,36"]
    given += ["--cache", str(tmp_path / "cache")]
    assert training_progress.main(given) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    assert [r["file"] for r in result["checkpoints"]] == ["early.safetensors", "late.safetensors"]
    assert [r["hours"] for r in result["checkpoints"]] == [1, 2.5]
    first = result["checkpoints"][0]
    assert first["stage"] == "second"
    assert [p["quality"] for p in first["mean_points"]] == [0, 20, 40, 63]
    assert "| swift-s | 2.50 | 250 | second |" in output.with_suffix(".md").read_text()
    assert output.with_suffix(".svg").read_text().startswith("<?xml")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the points are in the cache")

    monkeypatch.setattr(training_progress, "code_clip", refuse)
    assert training_progress.main(given) == 0
    again = json.loads(output.with_suffix(".json").read_text())
    assert again["checkpoints"] == result["checkpoints"]
