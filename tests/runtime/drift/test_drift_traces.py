"""Traces: what they hold, what comparing them finds, and that certification notices drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from block_codec import INDEX_TENSORS
from coding import encode
from drifting_engine import AdversarialDrift, DriftingEngine, Noise, SampleDrift

from nvc_engines import Engine, open_engine
from nvc_errors import DamagedInputError, UsageError, VerificationError
from nvc_runtime import Bundle, EncoderSettings
from nvc_runtime.drift import (
    Trace,
    certify,
    compare_traces,
    junit_from_certificates,
    load_trace,
    record_trace,
)

EPSILON = 2.0**-7
SETTINGS = EncoderSettings(epsilon=EPSILON, skip_level=-1, keyint=4)


@pytest.fixture(scope="module")
def stream(block_bundle: Bundle, reference_engine: Engine) -> bytes:
    return encode(block_bundle, reference_engine, SETTINGS, count=6).data


@pytest.fixture(scope="module")
def reference(stream: bytes, block_bundle: Bundle, reference_engine: Engine) -> Trace:
    return record_trace(stream, reference_engine, bundle=block_bundle, full_every=3)


def test_trace_survives_a_file(reference: Trace, tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    reference.save(path)
    loaded = load_trace(path)
    assert loaded.info == reference.info
    assert loaded.stream == reference.stream
    assert loaded.info.intra_frames == (0, 4)
    for frame in range(loaded.frames):
        assert loaded.tensors(frame) == reference.tensors(frame) != []
        for tensor in loaded.tensors(frame):
            assert np.array_equal(loaded.index(frame, tensor), reference.index(frame, tensor))
            assert loaded.crc(frame, tensor) == reference.crc(frame, tensor)
        assert np.array_equal(loaded.samples(frame), reference.samples(frame))


@pytest.mark.parametrize("keep", [0, 7, 64, -1])
def test_damaged_trace_is_refused(reference: Trace, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.trace"
    reference.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedInputError, match=r"a\.trace"):
        load_trace(path)


def test_same_engine_is_bit_identical(
    reference: Trace, stream: bytes, block_bundle: Bundle, reference_engine: Engine
) -> None:
    again = record_trace(stream, reference_engine, bundle=block_bundle, full_every=3)
    comparison = compare_traces(reference, again)
    assert comparison.symbols_equal
    assert comparison.bit_identical
    assert comparison.total.max_difference == 0.0
    assert all(f.sample_max == 0.0 for f in comparison.frames)
    assert [f.position for f in comparison.frames] == [0, 1, 2, 3, 0, 1]


def test_known_noise_is_measured(
    reference: Trace, stream: bytes, block_bundle: Bundle, reference_engine: Engine
) -> None:
    noisy = DriftingEngine(reference_engine, AdversarialDrift(INDEX_TENSORS, EPSILON / 2))
    trace = record_trace(stream, noisy, bundle=block_bundle, full_every=3)
    comparison = compare_traces(reference, trace, margin=1.0)
    assert comparison.symbols_equal
    assert not comparison.bit_identical
    assert comparison.total.max_difference == pytest.approx(EPSILON / 2, rel=1e-3)
    assert comparison.epsilon is not None
    assert comparison.epsilon >= comparison.total.max_difference
    assert comparison.total.coded_flips > 0


def test_sample_drift_is_measured(
    reference: Trace, stream: bytes, block_bundle: Bundle, reference_engine: Engine
) -> None:
    output = block_bundle.manifest.intra.output
    assert output is not None
    drifting = DriftingEngine(reference_engine, SampleDrift(output, 1e-2))
    trace = record_trace(stream, drifting, bundle=block_bundle, full_every=3)
    first = compare_traces(reference, trace).frames[0]
    assert first.sample_max == pytest.approx(1e-2, rel=1e-2)
    assert first.sample_flips > 0.0


def test_only_common_frames_are_compared(
    reference: Trace, stream: bytes, block_bundle: Bundle, reference_engine: Engine
) -> None:
    short = record_trace(stream, reference_engine, bundle=block_bundle, full_every=3, limit=4)
    for pair in ((reference, short), (short, reference)):
        comparison = compare_traces(*pair)
        assert len(comparison.frames) == 4
        assert comparison.symbols_equal
    digests = (*short.info.frame_digests[:3], 1)
    other = Trace(replace(short.info, frame_digests=digests), short._arrays)
    assert not compare_traces(reference, other).symbols_equal
    stopped = Trace(replace(short.info, error="frame 4 ..."), short._arrays)
    assert not compare_traces(reference, stopped).symbols_equal


def test_traces_of_other_streams_are_refused(
    reference: Trace, block_bundle: Bundle, reference_engine: Engine
) -> None:
    other = encode(block_bundle, reference_engine, SETTINGS, count=2).data
    trace = record_trace(other, reference_engine, bundle=block_bundle)
    with pytest.raises(UsageError, match="different streams"):
        compare_traces(reference, trace)


@pytest.mark.parametrize("spec", ["ort:cpu,opt=none,threads=1", "openvino:cpu,threads=1"])
def test_other_engines_are_certified(reference: Trace, block_bundle: Bundle, spec: str) -> None:
    if spec.startswith("openvino"):
        pytest.importorskip("openvino")
    with open_engine(spec) as engine:
        certificate = certify(engine, reference, bundle=block_bundle)
    assert certificate.passed, certificate.checks
    certificate.check()


def test_drift_beyond_epsilon_fails_even_if_symbols_hold(
    reference: Trace, block_bundle: Bundle, reference_engine: Engine
) -> None:
    noisy = DriftingEngine(reference_engine, AdversarialDrift(INDEX_TENSORS, EPSILON / 2))
    certificate = certify(noisy, reference, EPSILON / 4, bundle=block_bundle)
    assert not certificate.passed
    assert certificate.checks[0].passed
    assert any(not c.passed for c in certificate.checks[1:])
    with pytest.raises(VerificationError, match="not certified") as failure:
        certificate.check()
    assert failure.value.exit_code == 4


def test_broken_engine_ends_in_a_certificate_that_says_where(
    reference: Trace, block_bundle: Bundle, reference_engine: Engine
) -> None:
    broken = DriftingEngine(reference_engine, Noise(0.2))
    certificate = certify(broken, reference, bundle=block_bundle)
    assert not certificate.passed
    assert "frame 0" in certificate.checks[0].detail
    root = ElementTree.fromstring(junit_from_certificates([certificate]))
    suite = root.find("testsuite")
    assert suite is not None
    assert int(suite.attrib["failures"]) == sum(not c.passed for c in certificate.checks) > 0


def test_trace_that_stopped_is_no_reference(
    stream: bytes, block_bundle: Bundle, reference_engine: Engine
) -> None:
    broken = DriftingEngine(reference_engine, Noise(0.2))
    stopped = record_trace(stream, broken, bundle=block_bundle)
    assert stopped.frames < 6
    with pytest.raises(VerificationError, match=rf"stopped after {stopped.frames} frames \(frame"):
        certify(reference_engine, stopped, bundle=block_bundle)


def test_trace_without_frames_is_no_reference(
    reference: Trace, block_bundle: Bundle, reference_engine: Engine
) -> None:
    empty = record_trace(reference.stream, reference_engine, bundle=block_bundle, limit=0)
    with pytest.raises(VerificationError, match="holds 0 frames"):
        certify(reference_engine, empty, bundle=block_bundle)


def test_epsilon_out_of_range(
    reference: Trace, block_bundle: Bundle, reference_engine: Engine
) -> None:
    with pytest.raises(UsageError, match=r"0\.25"):
        certify(reference_engine, reference, 0.3, bundle=block_bundle)
