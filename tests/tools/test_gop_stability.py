"""Errors of the late frame, the change of scene, and the whole tool."""

from __future__ import annotations

import json
from pathlib import Path

import gop_stability
import numpy as np
import pytest
from block_codec import moving_frames, video_info
from gop_stability import edge_steps, late_frame

from nvc_runtime.video import open_writer


def write_clip(path: Path, count: int, size: tuple[int, int] = (64, 48)) -> Path:
    with open_writer(str(path), video_info(*size)) as writer:
        for frame in moving_frames(*size, count):
            writer.write(frame)
    return path


def test_edge_steps_tell_blocks_from_what_is_smooth() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    blocks = ramp // 8 * 8
    assert edge_steps(ramp + ramp.transpose(1, 0, 2)) == pytest.approx(1.0)
    assert edge_steps(ramp + blocks.transpose(1, 0, 2)) > 2.0


def test_mean_error_keeps_colours_apart() -> None:
    source = np.random.default_rng(2).integers(10, 240, (32, 32, 3), np.uint8)
    shifted = source + np.array([3, 0, 0], np.uint8)
    assert late_frame(shifted, source).mean_error == [3.0, 0.0, 0.0]


def test_tool(block_bundle_path: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "waves.mp4", 6)
    output = tmp_path / "results" / "gop"
    given = ["-i", str(clip), "-o", str(output), "--bundle", str(block_bundle_path)]
    given += ["--engine", "ort:cpu,threads=1", "--quality", "2", "--early", "1", "--late", "5"]
    given += ["--crf", "20,40", "--refresh", "3"]
    given += ["--scenes", str(clip), str(clip), "--scene-frames", "2"]
    assert gop_stability.main(given) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    row = result["clips"]["waves"]
    assert (row["long"]["intra_frames"], row["short"]["intra_frames"]) == ([0], [0, 3])
    assert len(row["long"]["psnr_rgb_db"]) == len(row["short"]["bytes"]) == 6
    assert len(result["scenes"]["psnr_rgb_db"]) == 4
    assert row["reference"]["crf"] == 40
    assert 0 < row["reference"]["late_db"] < 60
    assert "| waves | 0 |" in output.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--late", "9", "--early", "1"], "has 6 frames, expected 10"),
        (["--late", "4", "--early", "4"], "expected 0 to 3"),
        (["--late", "2", "--early", "1", "--scenes", "waves.mp4", "wide.mp4"], "not of one size"),
    ],
)
def test_tool_refuses(
    block_bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("waves.mp4"), 6)
    write_clip(Path("wide.mp4"), 2, (96, 48))
    common = ["-i", "waves.mp4", "-o", "out", "--bundle", str(block_bundle_path)]
    common += ["--engine", "ort:cpu,threads=1", "--quality", "2"]
    assert gop_stability.main([*common, *given]) == 2
    assert message in capsys.readouterr().err
