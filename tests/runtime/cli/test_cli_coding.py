"""encode, decode and probe when all is well: what they write, print and report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nvc_engines
from nvc_runtime.video import open_reader

FRAMES = 4


def encode(nvc: Callable[..., Any], clip: Path, out: object, *rest: object) -> Any:
    outcome = nvc("encode", "-i", clip, "-o", out, "--bundle", "block", *rest)
    assert outcome.code == 0, outcome.err
    return outcome


def test_encode_reports_what_it_wrote(
    nvc: Callable[..., Any], clip: Path, tmp_path: Path, assert_documented: Any
) -> None:
    out = tmp_path / "a.nvc"
    outcome = encode(nvc, clip, out, "--json")
    data = outcome.json
    assert outcome.err == ""
    assert (data["frames"], data["width"], data["height"]) == (FRAMES, 80, 48)
    assert data["bytes"] == out.stat().st_size
    assert data["bits_per_pixel"] == pytest.approx(8 * data["bytes"] / (FRAMES * 80 * 48), abs=1e-6)
    assert sum(data["bits"].values()) == pytest.approx(8 * data["bytes"], abs=1)
    assert data["psnr_rgb_db"] > 15
    elapsed = data["elapsed_s"]
    assert set(elapsed) == {"total", "transform", "entropy", "calibration", "io"}
    assert elapsed["total"] >= elapsed["transform"] > 0
    assert data["fps"] == pytest.approx(FRAMES / elapsed["total"], rel=0.01)
    assert_documented(data, "flags", "bits")


def test_scene_cuts_can_be_turned_off(nvc: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    for number, flags in enumerate([[], ["--no-scene-cuts"]]):
        data = encode(nvc, clip, tmp_path / f"{number}.nvc", "--json", *flags).json
        assert data["settings"]["scene_cuts"] is (flags == [])


def test_settings_reach_the_stream(nvc: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.nvc"
    encode(
        nvc, clip, out, "--quality", 1, "--keyint", 3, "--skip-level", -1, "--calibration", "rpc",
        "--epsilon", 0.125, "--exact", "pixels", "--pixel-epsilon", 0.0625,
        "--sync", 2, "--limit", 3,
    )  # fmt: skip
    data = nvc("probe", "-i", out, "--json").json
    assert data["settings"] == {
        "quality": 1,
        "keyint": 3,
        "skip_level": -1,
        "calibration": "rpc",
        "epsilon": 0.125,
        "exact": "pixels",
        "pixel_epsilon": 0.0625,
        "sync": 2,
    }
    assert [packet["kind"] for packet in data["packets"]] == ["intra", "inter", "inter"]
    assert [packet["sync"] for packet in data["packets"]] == [False, False, True]
    assert data["bits"]["pixels"] > 0


def test_skip_passes_over_input_frames(nvc: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    tail, whole = tmp_path / "tail.nvc", tmp_path / "whole.nvc"
    encode(nvc, clip, tail, "--skip", 3)
    encode(nvc, clip, whole)
    packets = nvc("probe", "-i", tail, "--json").json["packets"]
    assert len(packets) == 1
    assert packets[0]["digest"] != nvc("probe", "-i", whole, "--json").json["packets"][0]["digest"]


def test_human_summary_is_on_stderr(nvc: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    outcome = encode(nvc, clip, tmp_path / "a.nvc")
    assert outcome.out == ""
    assert outcome.error_line.startswith(f"{tmp_path / 'a.nvc'}: {FRAMES} frames")
    assert encode(nvc, clip, tmp_path / "b.nvc", "--quiet").err == ""


def test_probe_adds_up(nvc: Callable[..., Any], stream: Path, assert_documented: Any) -> None:
    outcome = nvc("probe", "-i", stream, "--json")
    data = outcome.json
    assert outcome.code == 0
    assert data["bytes"] == stream.stat().st_size
    assert sum(data["bits"].values()) == 8 * data["bytes"]
    frames = sum(packet["bytes"] for packet in data["packets"])
    assert 8 * frames == sum(data["bits"].values()) - data["bits"]["header"] - data["bits"]["index"]
    assert (data["frames"], data["intra_frames"], data["damage"]) == (FRAMES, 2, [])
    assert data["bundle"]["name"] == "block"
    assert_documented(data)


def test_probe_for_people(nvc: Callable[..., Any], stream: Path) -> None:
    outcome = nvc("probe", "-i", stream, "--packets")
    assert (outcome.code, outcome.err) == (0, "")
    assert "80x48" in outcome.out
    assert sum("intra" in line and "(" not in line for line in outcome.out.splitlines()) == 2


def test_decode_reports_and_writes(
    nvc: Callable[..., Any], stream: Path, tmp_path: Path, assert_documented: Any
) -> None:
    out = tmp_path / "a.y4m"
    outcome = nvc("decode", "-i", stream, "-o", out, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    data = outcome.json
    assert (data["frames"], data["width"], data["height"], data["damage"]) == (FRAMES, 80, 48, [])
    assert set(data["elapsed_s"]) == {"total", "transform", "entropy", "calibration", "io"}
    assert len(data["symbols_digest"]) == 64
    assert data["fps"] > 0
    with open_reader(out) as reader:
        assert len(list(reader)) == FRAMES
    assert_documented(data, "flags", "bits")


def test_encoder_and_decoder_agree_on_the_digest(
    nvc: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.nvc"
    expected = encode(nvc, clip, out, "--json").json["symbols_digest"]
    found = nvc("decode", "-i", out, "-o", "null", "--json", "--engine", "ort:cpu,opt=none").json
    assert found["symbols_digest"] == expected


def test_json_gives_way_to_data_on_stdout(nvc: Callable[..., Any], stream: Path) -> None:
    outcome = nvc("decode", "-i", stream, "-o", "md5", "--json")
    assert outcome.out.startswith("nvc-md5 1 80x48\n")
    assert '"symbols_digest"' in outcome.err


def test_start_and_limit_choose_frames(
    nvc: Callable[..., Any], stream: Path, tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole.y4m", tmp_path / "part.y4m"
    assert nvc("decode", "-i", stream, "-o", whole).code == 0
    assert nvc("decode", "-i", stream, "-o", part, "--start", 1, "--limit", 2).code == 0
    with open_reader(whole, skip=1, limit=2) as expected, open_reader(part) as found:
        np.testing.assert_array_equal(list(found), list(expected))


def test_overwriting_is_allowed_with_y(
    nvc: Callable[..., Any], clip: Path, stream: Path, tmp_path: Path
) -> None:
    coded, video = tmp_path / "a.nvc", tmp_path / "a.y4m"
    coded.write_bytes(b"old")
    video.write_bytes(b"old")
    encode(nvc, clip, coded, "-y")
    assert nvc("decode", "-i", stream, "-o", video, "-y").code == 0
    assert coded.read_bytes()[1:4] == b"NVC"
    assert video.read_bytes().startswith(b"YUV4MPEG2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nvc", "a.y4m"]


@pytest.mark.parametrize("name", ["encode", "decode", "verify"])
def test_engines_dir_reaches_the_engine(
    name: str, nvc: Callable[..., Any], stream: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    asked = []

    def open_engine(spec: str, *, engines_dir: Path | None = None) -> object:
        asked.append((spec, engines_dir))
        raise nvc_engines_error

    from nvc_errors import EngineUnavailableError

    nvc_engines_error = EngineUnavailableError("not here")
    monkeypatch.setattr(nvc_engines, "open_engine", open_engine)
    which = ["--engines", "ort:cpu"] if name == "verify" else ["-o", tmp_path / "a.y4m"]
    outcome = nvc(name, "-i", stream, *which, "--engines-dir", tmp_path)
    assert (outcome.code, outcome.error_line) == (5, "nvc-run: not here")
    assert asked == [("ort:cpu", tmp_path)]


def test_doctor_names_engines_and_bundles(nvc: Callable[..., Any], assert_documented: Any) -> None:
    outcome = nvc("doctor", "--json")
    assert outcome.code == 0
    data = outcome.json
    available = {engine["engine"]: engine["available"] for engine in data["engines"]}
    assert available["ort:cpu"]
    assert {"openvino:cpu", "torch:cpu", "ort:cuda"} <= set(available)
    assert [b["name"] for b in data["bundles"] if b["name"] == "block"] == ["block"]
    assert_documented(data)


def test_doctor_shows_a_damaged_bundle(
    nvc: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.nvcb").write_bytes(b"no archive")
    monkeypatch.setenv("NVC_BUNDLES", str(tmp_path))
    outcome = nvc("doctor")
    assert outcome.code == 0
    assert any(line.split()[:2] == ["no", "broken"] for line in outcome.out.splitlines())
