"""x265 with ever fewer of its tools needs more bits."""

from __future__ import annotations

import json
from pathlib import Path

import x265_structures
from block_codec import moving_frames, video_info
from report_files import beside

from nvc_runtime.video import open_writer


def test_tool(tmp_path: Path) -> None:
    clip = tmp_path / "waves.mp4"
    with open_writer(str(clip), video_info(128, 96)) as writer:
        for frame in moving_frames(128, 96, 8):
            writer.write(frame)
    output = tmp_path / "structures"
    given = ["-i", str(clip), "-o", str(output), "--frames", "8", "--keyint", "8"]
    given += ["--cache", str(tmp_path / "cache")]
    assert x265_structures.main([*given, "--crf", "15,22,29,36"]) == 0
    result = json.loads(beside(output, ".json").read_text())
    assert [step["x265_params"] for step in result["steps"]][:2] == [
        "bframes=0",
        "bframes=0:cutree=0:aq-mode=0",
    ]
    assert len(result["steps"]) == len(result["mean"]) == len(x265_structures.STEPS)
    transforms, blocks = result["mean"][-2:]
    assert blocks > transforms
    assert "| mean |" in beside(output, ".md").read_text()


def test_curves_that_do_not_overlap_are_refused(tmp_path: Path) -> None:
    clip = tmp_path / "waves.mp4"
    with open_writer(str(clip), video_info(64, 64)) as writer:
        for frame in moving_frames(64, 64, 3):
            writer.write(frame)
    given = ["-i", str(clip), "-o", str(tmp_path / "x"), "--frames", "3", "--crf", "20,30"]
    assert x265_structures.main(given) == 2
