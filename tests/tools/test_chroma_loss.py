"""The tool that measures what subsampled chroma costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's clips need nvc[bench]")

import chroma_loss  # noqa: E402 - needs torch
from block_codec import moving_frames, video_info  # noqa: E402 - needs torch

from nvc_runtime.video import open_writer  # noqa: E402 - needs torch


def test_grey_loses_nothing_and_coloured_noise_does() -> None:
    noise = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    found = chroma_loss.losses(noise.expand(2, 3, 16, 16))
    assert found == {"repeated": 0.0, "interpolated": 0.0}
    tinted = torch.cat((noise, noise.flip(3), noise.flip(2)), 1)
    assert min(chroma_loss.losses(tinted).values()) > 100


def test_video_loses_less_where_chroma_is_interpolated(tmp_path: Path) -> None:
    clip, output = tmp_path / "waves.y4m", tmp_path / "results" / "chroma"
    with open_writer(str(clip), video_info(64, 48)) as writer:
        for frame in moving_frames(64, 48, 2):
            writer.write(frame)
    assert chroma_loss.main(["-i", str(clip), "-o", str(output), "--frames", "2"]) == 0
    row = json.loads(output.with_suffix(".json").read_text())["clips"]["waves"]
    assert 0 <= row["interpolated"] < row["repeated"]
    assert "| waves |" in output.with_suffix(".md").read_text()
    assert chroma_loss.main(["-i", str(clip), "-o", str(output), "--frames", "9"]) == 2
