"""Encode and decode whole clips in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from block_codec import moving_frames, video_info
from numpy.typing import NDArray

from nvc_engines import Engine
from nvc_runtime import (
    Bundle,
    DecodedFrame,
    Decoder,
    DecodeReport,
    EncodedFrame,
    Encoder,
    EncodeReport,
    EncoderSettings,
)

CPU_ENGINES = [
    "ort:cpu,threads=1",
    "ort:cpu,opt=basic,threads=1",
    "ort:cpu,opt=none,threads=1",
    "openvino:cpu,threads=1",
    "torch:cpu,threads=1",
    "torch:cpu,channels_last=1,threads=1",
]


@dataclass(frozen=True)
class Encoded:
    """A stream, and what its encoder said of it."""

    data: bytes
    report: EncodeReport
    frames: list[EncodedFrame]


@dataclass(frozen=True)
class Decoded:
    """All frames of a stream, and what the decoder said of it."""

    report: DecodeReport
    frames: list[DecodedFrame]

    def equals(self, encoded: Encoded) -> bool:
        """Whether symbols and pictures are the encoder's."""
        same = len(self.frames) == len(encoded.frames)
        pictures = zip(self.frames, encoded.frames, strict=False)
        return (
            same
            and self.report.symbols_digest == encoded.report.symbols_digest
            and all(np.array_equal(d.rgb, e.rgb) for d, e in pictures)
        )


def encode(
    bundle: Bundle,
    engine: Engine,
    settings: EncoderSettings | None = None,
    *,
    size: tuple[int, int] = (96, 64),
    count: int = 5,
    frames: Iterable[NDArray[Any]] | None = None,
) -> Encoded:
    """Encode a clip; by default the moving one."""
    file = io.BytesIO()
    coded: list[EncodedFrame] = []
    source = moving_frames(*size, count) if frames is None else frames
    encoder = Encoder(bundle, engine, settings)
    report = encoder.encode(source, video_info(*size), file, on_frame=coded.append)
    return Encoded(file.getvalue(), report, coded)


def decode(data: bytes, bundle: Bundle, engine: Engine, **options: Any) -> Decoded:
    """Decode a whole stream."""
    decoder = Decoder(io.BytesIO(data), engine, bundle=bundle, **options)
    frames = list(decoder)
    return Decoded(decoder.report(), frames)
