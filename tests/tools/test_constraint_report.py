"""Counts of coordinates, rates with calibration, and the tool on two checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from block_codec import moving_frames, video_info

from nvc_calib import PositionCoder
from nvc_runtime.video import open_writer

pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import constraint_report
import torch
from model_coding import CodedClip

from nvc_models.swift import Swift, preset
from nvc_models.training import checkpoint

SEED = 1


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint of random weights, after one stage."""
    torch.manual_seed(3)
    model = Swift(preset("swift-s"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path / "trained.safetensors"
    fingerprint = {"seed": SEED, "family": "swift", "config": model.config.to_json()}
    metadata = {"fingerprint": fingerprint, "stage": 1, "step": 0, "total_steps": 5, "elapsed_s": 1}
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    checkpoint.save(path, checkpoint.Checkpoint(tensors, metadata))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Three frames of 64x64."""
    path = tmp_path / "waves.mp4"
    with open_writer(str(path), video_info(64, 64)) as writer:
        for frame in moving_frames(64, 64, 3):
            writer.write(frame)
    return path


def test_count_near() -> None:
    index = np.array([0.0005, 4.9995, 5.0, 5.002, 12.0009, 12.5], np.float32)
    assert constraint_report.count_near(index, -1, 1e-3) == 3
    assert constraint_report.count_near(index, 9, 1e-3) == 1
    assert constraint_report.count_near(index, 9, 1e-4) == 0


def test_calibration_adds_its_bits_to_the_rate() -> None:
    found = constraint_report.Calibrated(CodedClip(4, 0.2, 30.0, 0.001), 1000, 50)
    found.bits[1e-3, PositionCoder.RPC] = 80
    assert found.with_calibration(1e-3, PositionCoder.RPC).bits_per_pixel == pytest.approx(0.28)
    assert found.with_calibration(0.0, PositionCoder.RPC) == found.clip


def test_tool_on_two_checkpoints(trained: Path, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "constraint"
    given = ["--without", str(trained), "--with", str(trained), "-i", str(clip), "--frames", "2"]
    assert constraint_report.main([*given, "-o", str(output)]) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    assert [row["epsilon"] for row in result["rows"]] == [0, 1e-4, 1e-3, 1e-2]
    assert result["elements_per_inter_frame"] == (320 + 9) * 4 * 4
    for row in result["rows"]:
        assert row["with"] == row["without"]
    counts = [row["with"]["coordinates"] for row in result["rows"][1:]]
    assert 0 <= counts[0] < counts[1] < counts[2]
    assert "| no calibration | without |" in output.with_suffix(".md").read_text()


def test_tool_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["-i", "clip.mp4", "-o", str(tmp_path / "x"), "--checkpoint", "a.safetensors"]
    assert constraint_report.main(given) == 2
    assert "give --checkpoint, --data and --work" in capsys.readouterr().err
