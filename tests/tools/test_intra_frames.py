"""Groups of pictures are as long as the tools say, also in clips whose scene changes."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_codec import moving_frames, video_info
from drifting_engine import AdversarialDrift, DriftingEngine
from numpy.typing import NDArray
from platform_legs import REFERENCE, Cache
from platform_legs.local import leg_from_engine
from platform_trials.scene import Scene
from platform_trials.trial import decode_stream, encode_scene, intra_frames, settings_for

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_errors import UsageError, VerificationError
from nvc_runtime import Bundle, Encoder, EncoderSettings
from nvc_runtime.video import Frame, open_writer

pytest.importorskip("bjontegaard", reason="the tools' curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tools' plots need nvc[bench]")

import calibration_cost
import calibration_speed
import drift_curve
import exact_pixels
import rd_curves
import side_by_side
import skip_cost

SIZE, FRAMES, CUT = (96, 64), 7, 3
ORT = leg_from_engine(REFERENCE, "ort:cpu,threads=1", "ONNX Runtime", 1.0)

Encoded = list[list[int]]


@pytest.fixture
def engine() -> Any:
    with open_engine("ort:cpu,threads=1") as opened:
        yield opened


@pytest.fixture
def bundle(block_bundle_path: Path) -> Bundle:
    return Bundle(block_bundle_path)


@pytest.fixture
def scene() -> Scene:
    return Scene("main", "cut", video_info(*SIZE), cut_frames())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "cut.mp4"
    with open_writer(str(path), video_info(*SIZE)) as writer:
        for frame in cut_frames():
            writer.write(frame)
    return path


def cut_frames() -> list[Frame]:
    """Frames of one scene, then of another."""
    second = moving_frames(*SIZE, FRAMES - CUT, seed=11)
    return [*moving_frames(*SIZE, CUT), *(255 - frame[::-1] // 2 for frame in second)]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """Intra frames of everything that is encoded, stream by stream."""
    found: Encoded = []
    encode = Encoder.encode

    def watch(self: Encoder, frames: Any, info: Any, file: Any, **more: Any) -> Any:
        stream = io.BytesIO()
        report = encode(self, frames, info, stream, **more)
        file.write(stream.getvalue())
        found.append(intra_frames(stream.getvalue()))
        return report

    monkeypatch.setattr(Encoder, "encode", watch)
    return found


def test_the_scene_is_one_that_encoders_cut(bundle: Bundle, engine: Engine, scene: Scene) -> None:
    settings = EncoderSettings(keyint=0)
    stream = encode_scene(bundle, engine, "ort", scene, settings, keep=False)
    assert intra_frames(stream.data) == [0, CUT]
    settings = settings_for(settings, 4, PositionCoder.RETRIEVAL)
    stream = encode_scene(bundle, engine, "ort", scene, settings, keep=False)
    assert intra_frames(stream.data) == [0, 4]


def test_failure_lasts_until_the_intra_frame_of_a_scene(
    bundle: Bundle, engine: Engine, scene: Scene
) -> None:
    class FrameOne:
        frame = -1

        def __call__(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
            self.frame += name == "index_0"
            drifts = name == "index_0" and self.frame == 1
            return AdversarialDrift(("index_0",), 0.2)(name, values) if drifts else values

    settings = EncoderSettings(keyint=0, calibration=PositionCoder.NONE)
    stream = encode_scene(bundle, engine, "ort", scene, settings, keep=False)
    decoding = decode_stream(bundle, DriftingEngine(engine, FrameOne()), stream)
    assert decoding.failed == list(range(1, CUT))


Main = Callable[[list[str]], int]


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (calibration_cost.main, ["--frames", "7", "--keyint", "0", "--quality", "1"]),
        (rd_curves.main, ["--frames", "7", "--keyint", "7", "--qualities", "1", "--crf", "30"]),
        (skip_cost.main, ["--frames", "7", "--qualities", "1", "--levels", "2"]),
        (side_by_side.main, ["--frames", "7", "--quality", "1", "--shown", "2", "--size", "32x32"]),
        (calibration_speed.main, ["--frames", "7", "--repeats", "1", "--size", "96", "64"]),
    ],
    ids=["calibration_cost", "rd_curves", "skip_cost", "side_by_side", "calibration_speed"],
)
def test_tools_code_one_group(
    main: Main,
    options: list[str],
    clip: Path,
    block_bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoded: Encoded,
) -> None:
    monkeypatch.setattr(calibration_speed, "MAX_MS", {})
    monkeypatch.setattr(calibration_speed, "MAX_SHARE", {})
    given = ["-i", str(clip), "-o", str(tmp_path / "out"), "--bundle", str(block_bundle_path)]
    assert main([*given, *options]) == 0
    assert encoded
    assert all(found == [0] for found in encoded)


@pytest.mark.parametrize(
    ("tool", "more"),
    [(drift_curve, []), (exact_pixels, ["--small-frames", "7"])],
    ids=["drift_curve", "exact_pixels"],
)
def test_tools_of_legs_code_one_group(
    tool: Any,
    more: list[str],
    clip: Path,
    block_bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoded: Encoded,
) -> None:
    monkeypatch.setattr(tool, "all_legs", lambda: [ORT])
    given = ["-i", str(clip), "-o", str(tmp_path / "out"), "--bundle", str(block_bundle_path)]
    given += ["--frames", "7", "--size", "96", "64", "--quality", "1", "--cache", str(tmp_path)]
    assert tool.main([*given, *more]) == 0
    assert len(encoded) >= 2
    assert all(found == [0] for found in encoded)


def test_a_drift_curve_of_two_groups_is_refused(
    bundle: Bundle, tmp_path: Path, scene: Scene
) -> None:
    with pytest.raises(VerificationError, match=r"main: intra frames \[0, 3\], expected one"):
        drift_curve.measure(
            bundle, [ORT], [scene], FRAMES, EncoderSettings(keyint=0), Cache(tmp_path)
        )


def test_calibration_cost_needs_an_inter_frame(bundle: Bundle, clip: Path) -> None:
    with pytest.raises(UsageError, match="--keyint 1: 7 frames hold no inter frame"):
        calibration_cost.run(bundle, clip, FRAMES, 1, 1)


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({"scene_cuts": False, "repeats": True}, 1),
        ({"scene_cuts": True, "repeats": True}, 0),
        ({"scene_cuts": False}, 0),
        ({}, 0),
    ],
)
def test_points_of_other_settings_are_not_known(
    settings: dict[str, bool], points: int, tmp_path: Path
) -> None:
    point = {"setting": 1, "size_bytes": 1, "bits_per_pixel": 1.0, "psnr_rgb_db": 30.0}
    report = {
        "frames": FRAMES,
        "keyint": 7,
        "bundles": [{"name": "block", "digest": "00"}],
        "clips": {"cut": {"curves": {"block": [point]}}},
    }
    path = tmp_path / "known.json"
    path.write_text(json.dumps(report | settings))
    options = argparse.Namespace(known=[path], frames=FRAMES, keyint=7, ms_ssim=False)
    assert len(rd_curves._known_points(options)) == points
