"""The share of skipped elements, means over clips, and the whole tool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from block_codec import moving_frames, video_info

from nvc_runtime.video import open_writer

pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import skip_cost


def test_skipped_share_counts_whole_levels() -> None:
    share = skip_cost.SkippedShare(2)
    share.index(0, "y", np.array([0.0, 2.0, 2.99, 3.0, 7.5], np.float32))
    share.index(1, "y", np.array([3.5], np.float32))
    assert (share.skipped, share.elements) == (3, 6)


def test_mean_row() -> None:
    rows = [
        {"skip_level": 9, "skipped_share": s, "bd_rate_percent": d}
        for s, d in ((0.5, 1.0), (0.7, 2.0))
    ]
    assert skip_cost.mean_row(rows) == {
        "skip_level": 9,
        "skipped_share": pytest.approx(0.6),
        "bd_rate_percent": 1.5,
    }
    rows[0]["bd_rate_percent"] = None  # type: ignore[assignment]
    assert skip_cost.mean_row(rows)["bd_rate_percent"] is None


def test_tool(block_bundle_path: Path, tmp_path: Path) -> None:
    clip, output = tmp_path / "waves.mp4", tmp_path / "skip"
    with open_writer(str(clip), video_info(64, 48)) as writer:
        for frame in moving_frames(64, 48, 3):
            writer.write(frame)
    given = ["-i", str(clip), "-o", str(output), "--bundle", str(block_bundle_path)]
    given += ["--engine", "ort:cpu,threads=1", "--frames", "2", "--qualities", "0,3"]
    assert skip_cost.main([*given, "--levels", "5,2"]) == 0
    rows = json.loads(output.with_suffix(".json").read_text())["clips"]["waves"]
    shares = [row["skipped_share"] for row in rows]
    assert [row["skip_level"] for row in rows] == [-1, 2, 5]
    assert shares[0] == 0 < shares[1] <= shares[2] < 1
    assert rows[2]["points"][0]["size_bytes"] < rows[0]["points"][0]["size_bytes"]
    assert "| off | 0.0 % |" in output.with_suffix(".md").read_text()


def test_tool_refuses_levels_beyond_the_bundle(
    block_bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-i", "clip.mp4", "-o", str(tmp_path / "x"), "--bundle", str(block_bundle_path)]
    assert skip_cost.main([*given, "--levels", "9,9999"]) == 2
    assert "expected different numbers from 0 to" in capsys.readouterr().err
