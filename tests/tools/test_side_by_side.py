"""The search for equal bits, crops, the size of pictures, and the whole tool."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from block_codec import moving_frames, video_info

from nvc_errors import UsageError
from nvc_runtime.video import open_writer

pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's pictures need nvc[bench]")

import side_by_side
from PIL import Image
from rate_distortion import Point
from side_by_side import GAP, STRIP, crop_slices, nearest_in_size, picture_within


@pytest.mark.parametrize(("wanted", "crf"), [(1000, 20.0), (1600, 13.2), (10, 51.0), (99999, 5.0)])
def test_nearest_in_size(wanted: int, crf: float) -> None:
    tried: list[float] = []

    def point_at(setting: float) -> Point:
        tried.append(setting)
        return Point(setting, round(1000 * 2 ** ((20 - setting) / 10)), 0.0, 0.0)

    found = nearest_in_size(point_at, wanted)
    assert found.setting == pytest.approx(crf, abs=0.15)
    assert len(tried) < 12


def test_crops_lie_within_the_frame() -> None:
    assert crop_slices((100, 200, 3), (20, 40), (0.5, 0.5)) == (slice(40, 60), slice(80, 120))
    assert crop_slices((100, 200, 3), (20, 40), (0.0, 1.0)) == (slice(0, 20), slice(160, 200))
    assert crop_slices((100, 200, 3), (500, 40), (0.5, 0.5))[0] == slice(0, 100)


def test_pictures_are_lossless_where_the_limit_allows() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    parts = [(noise, "one"), (255 - noise, "two")]
    data = picture_within(parts, 100_000)
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert picture.shape == (48 + STRIP, 2 * 64 + GAP, 3)
    assert np.array_equal(picture[STRIP:, :64], noise)
    assert np.array_equal(picture[STRIP:, 64 + GAP :], 255 - noise)
    assert len(picture_within(parts, len(data))) < len(data)
    with pytest.raises(UsageError, match="no picture below 100 bytes"):
        picture_within(parts, 100)


def test_tool(block_bundle_path: Path, tmp_path: Path) -> None:
    clip, output = tmp_path / "waves.mp4", tmp_path / "results" / "beside"
    with open_writer(str(clip), video_info(64, 48)) as writer:
        for frame in moving_frames(64, 48, 3):
            writer.write(frame)
    given = ["-i", str(clip), "-o", str(output), "--bundle", str(block_bundle_path)]
    given += ["--engine", "ort:cpu,threads=1", "--quality", "1", "--frames", "3", "--shown", "2"]
    assert side_by_side.main([*given, "--size", "32x32"]) == 0
    (row,) = json.loads(output.with_suffix(".json").read_text())["pictures"]
    assert row["picture"] == "beside-block-waves.webp"
    with Image.open(output.with_name(row["picture"])) as picture:
        assert picture.size == (3 * 32 + 2 * GAP, 32 + STRIP)
    assert row["x265"]["size_bytes"] > 0
    assert "![block, waves.mp4](beside-block-waves.webp)" in output.with_suffix(".md").read_text()


def test_tool_refuses_a_frame_that_is_not_coded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-i", "clip.mp4", "-o", str(tmp_path / "x"), "--frames", "4", "--shown", "4"]
    assert side_by_side.main(given) == 2
    assert "expected 0 to 3" in capsys.readouterr().err
