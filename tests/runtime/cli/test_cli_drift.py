"""trace, compare and certify as commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coding import encode
from drifting_engine import DriftingEngine, Noise

import nvc_engines
from nvc_engines import Engine
from nvc_runtime import Bundle, EncoderSettings
from nvc_runtime.drift import Trace, load_trace


@pytest.fixture
def stream_file(tmp_path: Path, block_bundle: Bundle, reference_engine: Engine) -> Path:
    path = tmp_path / "clip.nvc"
    path.write_bytes(encode(block_bundle, reference_engine, EncoderSettings(), count=3).data)
    return path


def test_trace_compare_certify(nvc, stream_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, second = tmp_path / "a.trace", tmp_path / "b.trace"
    for path, engine in ((first, "ort:cpu,threads=1"), (second, "ort:cpu,opt=none,threads=1")):
        done = nvc("trace", "-i", stream_file, "-o", path, "--engine", engine)
        assert (done.code, done.out) == (0, ""), done.err
    compared = nvc("compare", first, second, "--json")
    assert compared.code == 0
    assert compared.json["symbols_equal"] is True
    assert compared.json["frames"] == 3
    assert compared.json["latents"]
    assert len(compared.json["per_frame"]) == 3
    junit = tmp_path / "report.xml"
    passed = nvc("certify", "--against", first, "--engine", "ort:cpu,threads=1", "--junit", junit)
    assert passed.code == 0
    assert "certified" in passed.out
    assert junit.read_text().startswith("<?xml")


def test_certify_exits_with_4(nvc, stream_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.trace"
    assert nvc("trace", "-i", stream_file, "-o", path).code == 0
    recorded = load_trace(path)
    digests = tuple(d ^ (n == 1) for n, d in enumerate(recorded.info.frame_digests))
    arrays = {
        f"{n:06d}.{t}.{kind}": value
        for n in range(recorded.frames)
        for t in recorded.tensors(n)
        for kind, value in (
            ("index", recorded.index(n, t)),
            ("crc", np.array([recorded.crc(n, t)], np.uint32)),
        )
    }
    arrays |= {f"{n:06d}.samples": recorded.samples(n) for n in range(recorded.frames)}
    arrays["stream"] = np.frombuffer(recorded.stream, np.uint8)
    Trace(replace(recorded.info, frame_digests=digests), arrays).save(path)
    refused = nvc("certify", "--against", path)
    assert refused.code == 4
    assert "not certified" in refused.error_line
    assert "frame 1" in refused.error_line


def test_trace_that_stops_exits_with_4_and_is_no_reference(  # type: ignore[no-untyped-def]
    nvc, stream_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nvc_engines.open_engine
    with monkeypatch.context() as patch:
        patch.setattr(
            nvc_engines, "open_engine", lambda *a, **k: DriftingEngine(real(*a, **k), Noise(0.2))
        )
        stopped = nvc("trace", "-i", stream_file, "-o", tmp_path / "a.trace")
    assert (stopped.code, stopped.out) == (4, "")
    assert "recording stopped: frame 0" in stopped.error_line
    assert load_trace(tmp_path / "a.trace").info.error
    refused = nvc("certify", "--against", tmp_path / "a.trace")
    assert (refused.code, refused.out) == (4, "")
    assert "stopped after 0 frames" in refused.error_line


def test_trace_refuses_to_overwrite_and_what_is_no_trace(  # type: ignore[no-untyped-def]
    nvc, stream_file: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "a.trace"
    trace.write_bytes(b"none")
    assert nvc("trace", "-i", stream_file, "-o", trace).code == 2
    damaged = nvc("certify", "--against", trace)
    assert damaged.code == 3
    assert "a.trace" in damaged.error_line


def test_trace_is_written_beside_other_files(  # type: ignore[no-untyped-def]
    nvc, stream_file: Path, tmp_path: Path
) -> None:
    neighbour = tmp_path / "a.trace.tmp"
    neighbour.write_bytes(b"mine")
    assert nvc("trace", "-i", stream_file, "-o", tmp_path / "a.trace").code == 0
    assert neighbour.read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.trace", "a.trace.tmp", "clip.nvc"]


def test_trace_is_no_pipe(  # type: ignore[no-untyped-def]
    nvc, stream_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = nvc("trace", "-i", stream_file, "-o", "-")
    assert (refused.code, refused.out) == (2, "")
    assert "expected a file" in refused.error_line
    assert sorted(tmp_path.iterdir()) == [stream_file]


def test_verify_writes_a_page(nvc, stream_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "r.html"
    done = nvc(
        "verify", "-i", stream_file, "--engines", "ort:cpu,ort:cpu,opt=none", "--report", page
    )
    assert done.code == 0, done.err
    assert page.read_text().startswith("<!doctype html>")


def test_verify_against_a_trace(nvc, stream_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    trace, junit = tmp_path / "a.trace", tmp_path / "r.xml"
    assert nvc("trace", "-i", stream_file, "-o", trace).code == 0
    engines = "ort:cpu,ort:cpu,opt=none"
    done = nvc("verify", "--against", trace, "--engines", engines, "--junit", junit, "--json")
    assert done.code == 0, done.err
    assert [c["passed"] for c in done.json["certificates"]] == [True, True]
    assert junit.read_text().count("<testsuite ") == 2
    assert nvc("verify", "--engines", engines).code == 2


def test_reports_and_traces_that_cannot_be_written(  # type: ignore[no-untyped-def]
    nvc, stream_file: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "a.trace"
    assert nvc("trace", "-i", stream_file, "-o", trace).code == 0
    before = sorted(tmp_path.iterdir())
    for command in (
        ["trace", "-i", stream_file, "-o"],
        ["certify", "--against", trace, "--junit"],
        ["verify", "--against", trace, "--engines", "ort:cpu", "--junit"],
        ["verify", "-i", stream_file, "--engines", "ort:cpu", "--report"],
    ):
        missing = nvc(*command, tmp_path / "gone" / "x")
        assert (missing.code, missing.out) == (1, "")
        assert "gone" in missing.error_line
        for wrong in (tmp_path, stream_file if "-i" in command else trace):
            refused = nvc(*command, wrong)
            assert (refused.code, refused.out) == (2, "")
            assert str(wrong) in refused.error_line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_report_on_a_full_disk(process, stream_file: Path) -> None:  # type: ignore[no-untyped-def]
    arguments = ["verify", "-i", stream_file, "--engines", "ort:cpu", "--report", "-"]
    with Path("/dev/full").open("wb") as full:
        done = process(*arguments, stdout=full)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"standard output" in done.stderr


def test_a_page_about_a_video_is_refused_before_it_is_encoded(  # type: ignore[no-untyped-def]
    nvc, clip: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    done = nvc("verify", "-i", clip, "--engines", "ort:cpu", "--report", page)
    assert done.code == 2
    assert "only to --input with a stream" in done.error_line
    assert not page.exists()
