"""Engines that drift: within epsilon nothing changes, beyond it nothing wrong is ever shown."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from block_codec import INDEX_TENSORS, moving_frames
from coding import Decoded, Encoded, decode, encode
from drifting_engine import (
    AdversarialDrift,
    Array,
    Drift,
    DriftingEngine,
    Noise,
    Poison,
    SampleDrift,
    moved_towards_boundary,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import PositionCoder
from nvc_engines import Engine
from nvc_errors import CalibrationError, EngineError, StreamError
from nvc_runtime import Bundle, Decoder, EncoderSettings
from nvc_runtime.bundle import CodeStep
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.symbols import CodingRules, SymbolReader
from nvc_runtime.stream import ExactMode, FrameKind, FramePacket

EPSILON = 2.0**-7
ALL_CODED = EncoderSettings(epsilon=EPSILON, skip_level=-1)
PROTECTING = [PositionCoder.RETRIEVAL, PositionCoder.RPC]


def decode_drifting(
    encoded: Encoded, bundle: Bundle, engine: Engine, drift: Drift, **options: object
) -> Decoded:
    return decode(encoded.data, bundle, DriftingEngine(engine, drift), **options)


@given(
    st.lists(st.floats(0, 31.5, width=32), min_size=1, max_size=20),
    st.sampled_from([2.0**-20, 1e-4, EPSILON, 0.2]),
)
def test_adversary_keeps_its_bound(values: list[float], bound: float) -> None:
    array = np.array(values, np.float32)
    moved = moved_towards_boundary(array, bound)
    assert moved.dtype == np.float32
    assert np.abs(moved.astype(np.float64) - array).max() <= bound


@pytest.mark.parametrize("coder", PROTECTING)
@pytest.mark.parametrize("skip_level", [-1, 8, 14])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_drift_within_epsilon_changes_nothing(
    block_bundle: Bundle,
    reference_engine: Engine,
    coder: PositionCoder,
    skip_level: int,
    share: float,
) -> None:
    choice = replace(ALL_CODED, calibration=coder, skip_level=skip_level)
    encoded = encode(block_bundle, reference_engine, choice)
    drift = AdversarialDrift(INDEX_TENSORS, EPSILON * share)
    decoded = decode_drifting(encoded, block_bundle, reference_engine, drift)
    assert decoded.equals(encoded)
    # Without protection each of these would have been a wrong level.
    assert drift.crossed > (20 if share == 1.0 else 0)


def test_drift_without_protection_is_noticed(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    choice = replace(ALL_CODED, calibration=PositionCoder.NONE)
    encoded = encode(block_bundle, reference_engine, choice)
    drift = AdversarialDrift(INDEX_TENSORS, EPSILON)
    with pytest.raises(CalibrationError, match="calibration none"):
        decode_drifting(encoded, block_bundle, reference_engine, drift)


@pytest.mark.parametrize("coder", PROTECTING)
@pytest.mark.parametrize("latent", [0, 1])
def test_drift_beyond_epsilon_names_frame_latent_engine_and_epsilon(
    block_bundle: Bundle, reference_engine: Engine, coder: PositionCoder, latent: int
) -> None:
    encoded = encode(block_bundle, reference_engine, replace(ALL_CODED, calibration=coder))
    drift = AdversarialDrift([f"index_{latent}"], 8 * EPSILON)
    with pytest.raises(CalibrationError) as caught:
        decode_drifting(encoded, block_bundle, reference_engine, drift)
    message = str(caught.value)
    assert "frame 0" in message
    assert f"'part_{latent}'" in message
    assert "ort:cpu,threads=1" in message
    assert f"{EPSILON:.3g}" in message


def test_a_calibration_error_keeps_its_cause(reference_engine: Engine) -> None:
    """A larger epsilon does not help against every one of them."""
    packet = FramePacket(FrameKind.INTRA, 7, 0, 0, b"", b"")
    rules = CodingRules(levels=32, skip_level=-1, epsilon=EPSILON, coder=PositionCoder.NONE)
    bad = np.full((1, 2, 2), np.nan, np.float32)
    step = CodeStep("part_0", "section", "tables", "index_0")
    name = str(reference_engine.info.spec)
    tables: Any = None
    reader = SymbolReader(tables, rules, packet, bad.size, name, Elapsed())
    with pytest.raises(CalibrationError) as caught:
        reader.code(step, bad, None, (1, 2, 2))
    message = str(caught.value)
    assert message.startswith(f"frame 7, latent 'part_0', engine {name} (epsilon {EPSILON:.3g}")
    assert "is nan" in message
    assert "precision settings" in message
    assert "larger" not in message


@pytest.mark.parametrize("coder", PROTECTING)
def test_drift_error_says_what_was_found(
    block_bundle: Bundle, reference_engine: Engine, coder: PositionCoder
) -> None:
    encoded = encode(block_bundle, reference_engine, replace(ALL_CODED, calibration=coder))
    drift = AdversarialDrift(["index_0"], 8 * EPSILON)
    with pytest.raises(CalibrationError) as caught:
        decode_drifting(encoded, block_bundle, reference_engine, drift)
    assert str(caught.value).endswith(str(caught.value.__cause__))
    assert "larger epsilon" in str(caught.value)


def test_drift_that_begins_late_is_noticed_there(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    encoded = encode(block_bundle, reference_engine, ALL_CODED)
    inner, runs = AdversarialDrift(INDEX_TENSORS, 8 * EPSILON), 0

    def late(name: str, values: Array) -> Array:
        nonlocal runs
        runs += name == "index_0"
        return inner(name, values) if runs > 3 else values

    with pytest.raises(CalibrationError, match="frame 3, latent 'part_0'"):
        decode_drifting(encoded, block_bundle, reference_engine, late)


@pytest.mark.parametrize("exact", list(ExactMode))
def test_nothing_refers_to_a_frame_that_failed(
    block_bundle: Bundle, reference_engine: Engine, exact: ExactMode
) -> None:
    """A caller that goes on after an error gets further errors until the next intra frame."""
    choice = replace(ALL_CODED, keyint=3, exact=exact)
    encoded = encode(block_bundle, reference_engine, choice, count=6)
    inner, runs = AdversarialDrift(INDEX_TENSORS, 8 * EPSILON), 0

    def in_frame_1(name: str, values: Array) -> Array:
        nonlocal runs
        runs += name == "index_0"
        return inner(name, values) if runs == 2 else values

    engine = DriftingEngine(reference_engine, in_frame_1)
    decoder = Decoder(io.BytesIO(encoded.data), engine, bundle=block_bundle)
    assert next(iter(decoder)).number == 0
    with pytest.raises(CalibrationError, match="frame 1"):
        next(iter(decoder))
    with pytest.raises(StreamError, match="frame 2 refers"):
        next(iter(decoder))
    for frame, expected in zip(decoder, encoded.frames[3:], strict=True):
        assert frame.number == expected.number
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


@settings(max_examples=60, deadline=None)
@given(
    factor=st.floats(0.5, 200),
    seed=st.integers(0, 1000),
    coder=st.sampled_from(list(PositionCoder)),
    skip_level=st.sampled_from([-1, 10, 16]),
    pixels=st.booleans(),
)
def test_any_drift_gives_the_encoders_frames_or_an_error(
    block_bundle: Bundle,
    reference_engine: Engine,
    factor: float,
    seed: int,
    coder: PositionCoder,
    skip_level: int,
    pixels: bool,
) -> None:
    exact = ExactMode.PIXELS if pixels and coder is not PositionCoder.NONE else ExactMode.SYMBOLS
    choice = replace(ALL_CODED, calibration=coder, skip_level=skip_level, exact=exact)
    encoded = encode(block_bundle, reference_engine, choice, size=(48, 32), count=3)
    noise = Noise(EPSILON * factor, seed)

    def drift(name: str, values: Array) -> Array:
        return noise(name, values) if name in INDEX_TENSORS else values

    try:
        decoded = decode_drifting(encoded, block_bundle, reference_engine, drift)
    except CalibrationError:
        # An error is only right where the contract was broken. A step check has four bits: now and
        # then wrong levels pass it, and what is decoded with them is no symbol at all.
        if factor <= 1 and coder is not PositionCoder.NONE:
            raise
        return
    assert decoded.equals(encoded)


@pytest.mark.parametrize("coder", PROTECTING)
def test_samples_drifting_within_pixel_epsilon_are_bit_identical(
    block_bundle: Bundle, reference_engine: Engine, coder: PositionCoder
) -> None:
    """Adversarial noise on everything that is brought back from the device."""
    choice = EncoderSettings(
        epsilon=EPSILON, pixel_epsilon=0.05, exact=ExactMode.PIXELS, calibration=coder, keyint=1
    )
    encoded = encode(block_bundle, reference_engine, choice)
    # 1/1000 less than epsilon: the float32 arithmetic of 255 x + 1/2 has its own rounding.
    samples = SampleDrift("decoded", 0.05 * 0.999)
    index = AdversarialDrift(INDEX_TENSORS, EPSILON)
    decoded = decode_drifting(
        encoded, block_bundle, reference_engine, lambda n, v: samples(n, index(n, v))
    )
    assert decoded.equals(encoded)
    assert samples.crossed > 1000


def test_samples_drifting_beyond_pixel_epsilon_are_noticed(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    choice = EncoderSettings(exact=ExactMode.PIXELS, pixel_epsilon=0.01)
    encoded = encode(block_bundle, reference_engine, choice)
    for bound in (0.04, 0.4, 20.0):
        with pytest.raises(CalibrationError, match=r"frame 0, samples, engine ort:cpu.*0\.01"):
            decode_drifting(encoded, block_bundle, reference_engine, SampleDrift("decoded", bound))


def test_drifting_samples_differ_without_exact_pixels(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    """What exact pixels are for: the symbols are the same, the pictures are not."""
    encoded = encode(block_bundle, reference_engine, EncoderSettings(keyint=1))
    decoded = decode_drifting(encoded, block_bundle, reference_engine, SampleDrift("decoded", 0.05))
    assert decoded.report.symbols_digest == encoded.report.symbols_digest
    assert not decoded.equals(encoded)


def test_noise_that_travels_through_references_is_covered_by_epsilon(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    """Noise in every tensor of every graph, so that each frame starts from a worse reference."""
    choice = EncoderSettings(
        epsilon=1e-2, pixel_epsilon=0.1, exact=ExactMode.PIXELS, keyint=0, skip_level=-1
    )
    encoded = encode(block_bundle, reference_engine, choice, count=12)
    decoded = decode_drifting(encoded, block_bundle, reference_engine, Noise(2e-6))
    assert decoded.equals(encoded)


def largest_reference_error(bundle: Bundle, engine: Engine, sync: int, count: int) -> list[float]:
    """Largest error of the decoder's samples in each frame, with noise in frame 0 only."""
    choice = EncoderSettings(
        epsilon=0.1, pixel_epsilon=0.2, keyint=0, sync=sync, quality=3, skip_level=-1
    )
    encoded = encode(bundle, engine, choice, count=count)
    seen: dict[str, list[Array]] = {"clean": [], "noisy": []}

    class Tap:
        def __init__(self, name: str) -> None:
            self.found = seen[name]

        def index(self, frame_number: int, tensor: str, index: Array) -> None: ...

        def samples(self, frame_number: int, index: Array) -> None:
            assert frame_number == len(self.found)
            self.found.append(index.copy())

    noise, runs = Noise(1e-4), 0

    def first_frame_only(name: str, values: Array) -> Array:
        nonlocal runs
        runs += name == "decoded"
        return noise(name, values) if name == "decoded" and runs == 1 else values

    decode(encoded.data, bundle, engine, tap=Tap("clean"))
    decode_drifting(encoded, bundle, engine, first_frame_only, tap=Tap("noisy"))
    pairs = zip(seen["clean"], seen["noisy"], strict=True)
    return [float(np.abs(a - b).max()) for a, b in pairs]


def test_drift_ends_at_a_sync_frame(block_bundle: Bundle, reference_engine: Engine) -> None:
    without = largest_reference_error(block_bundle, reference_engine, 0, 5)
    assert all(error > 1e-3 for error in without)
    synced = largest_reference_error(block_bundle, reference_engine, 2, 5)
    assert [error > 1e-3 for error in synced] == [True, True, True, False, False]
    assert synced[3:] == [0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", [*INDEX_TENSORS, "decoded", "mean_0", "hyper"])
@pytest.mark.parametrize("exact", list(ExactMode))
def test_numbers_that_are_not_finite_are_refused(
    block_bundle: Bundle,
    reference_engine: Engine,
    value: float,
    tensor: str,
    exact: ExactMode,
) -> None:
    """An infinite 'hyper' may be limited to finite indices; then the symbols tell."""
    encoded = encode(block_bundle, reference_engine, EncoderSettings(exact=exact), count=3)
    for after in (0, 1):
        poison = Poison(tensor, value, after)
        with pytest.raises((EngineError, CalibrationError)):
            decode_drifting(encoded, block_bundle, reference_engine, poison)


@pytest.mark.parametrize("tensor", ["y", "z", "part_1", "index_0", "decoded"])
def test_encoder_refuses_numbers_that_are_not_finite(
    block_bundle: Bundle, reference_engine: Engine, tensor: str
) -> None:
    for value in (np.nan, np.inf):
        engine = DriftingEngine(reference_engine, Poison(tensor, value))
        with pytest.raises(EngineError, match="not finite"):
            encode(block_bundle, engine)


@pytest.mark.parametrize("value", [2.0**20 + 1, -1e9, 1e38])
def test_encoder_refuses_symbols_out_of_range(
    block_bundle: Bundle, reference_engine: Engine, value: float
) -> None:
    engine = DriftingEngine(reference_engine, Poison("part_0", value))
    with pytest.raises(EngineError, match="symbols"):
        encode(block_bundle, engine, EncoderSettings(skip_level=-1))


@pytest.mark.parametrize("value", [2.0**20, -(2.0**20)])
def test_encoder_codes_symbols_at_the_limit(
    block_bundle: Bundle, reference_engine: Engine, value: float
) -> None:
    engine = DriftingEngine(reference_engine, Poison("part_0", value))
    encoded = encode(block_bundle, engine, EncoderSettings(skip_level=-1), count=1)
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)


@pytest.mark.parametrize("tensor", ["index_0", "part_0", "decoded"])
def test_tensor_of_another_shape_is_refused(
    block_bundle: Bundle, reference_engine: Engine, tensor: str
) -> None:
    def cut(name: str, values: Array) -> Array:
        return values[:, :, 1:] if name == tensor else values

    frames = moving_frames(96, 64, 2)
    with pytest.raises(EngineError, match=tensor):
        encode(block_bundle, DriftingEngine(reference_engine, cut), frames=frames)
