"""A breakdown of quality is noticed, and the frame is coded again as an intra frame."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import pytest
from block_codec import moving_frames, video_info

from nvc_engines import Engine
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings
from nvc_runtime.codec import packet_encoder as module
from nvc_runtime.codec.guard import QualityGuard
from nvc_runtime.stream import FrameKind

INTRA, INTER = FrameKind.INTRA, FrameKind.INTER


def test_a_sudden_drop_is_a_breakdown_and_a_slow_one_is_none() -> None:
    guard = QualityGuard()
    assert not guard.is_breakdown(5.0)
    guard.accept(36.0)
    assert not guard.is_breakdown(33.5)
    assert guard.is_breakdown(32.5)
    assert guard.is_breakdown(math.nan)
    guard.accept(33.5)
    assert not guard.is_breakdown(32.5)
    guard.accept(36.0, 20)
    assert not guard.is_breakdown(30.5)
    assert guard.is_breakdown(29.5)


@pytest.mark.parametrize(
    ("psnr", "scene_cuts", "kinds"),
    [
        ([36, 35, 30, 34, 35], True, [INTRA, INTER, INTRA, INTER]),
        ([36, 35, 30, 30.5, 35], True, [INTRA, INTER, INTER, INTER]),
        ([36, 35, 30, 34], False, [INTRA, INTER, INTER, INTER]),
    ],
    ids=["intra is better", "intra is no better", "turned off"],
)
def test_a_breakdown_becomes_an_intra_frame(
    block_bundle: Bundle,
    reference_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    psnr: list[float],
    scene_cuts: bool,
    kinds: list[FrameKind],
) -> None:
    values: Iterator[float] = iter(psnr)
    monkeypatch.setattr(module, "psnr_db", lambda *_: next(values))
    settings = EncoderSettings(keyint=0, scene_cuts=scene_cuts)
    stream = io.BytesIO()
    report = Encoder(block_bundle, reference_engine, settings).encode(
        moving_frames(96, 64, 4), video_info(96, 64), stream
    )
    assert next(values, None) is None
    stream.seek(0)
    decoder = Decoder(stream, reference_engine, bundle=block_bundle)
    assert [frame.kind for frame in decoder] == kinds
    assert decoder.report().symbols_digest == report.symbols_digest
    assert sum(report.bits.values()) == pytest.approx(8 * report.size_bytes)
