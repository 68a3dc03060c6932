"""How far decoded 8-bit samples are apart between legs, and that exact pixels are not."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc_engines import Engine
from nvc_errors import CalibrationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder, Encoder, EncodeReport, EncoderSettings
from nvc_runtime.codec.samples import SAMPLE_LEVELS, psnr_db
from nvc_runtime.stream import ExactMode
from nvc_runtime.video import Frame
from platform_trials.scene import Scene


@dataclass
class Decode:
    """Frames of a stream, uint8 (H, W, 3), and their samples before rounding.

    ``floats``: 255 x + 1/2 limited to 0..256, float32 (3, H, W). ``error``: why decoding ended
    early, or nothing.
    """

    frames: list[Frame] = field(default_factory=list)
    floats: list[NDArray[np.float32]] = field(default_factory=list)
    error: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 over all samples, frame by frame, row by row, RGB."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(np.ascontiguousarray(frame).data)
        return digest.hexdigest()


@dataclass
class _SampleTap:
    found: list[NDArray[np.float32]] = field(default_factory=list)

    def index(self, frame_number: int, tensor: str, index: NDArray[np.float32]) -> None:
        """Take a scale index, which is not of interest here."""

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        """Keep the samples of a frame, limited as calibration does."""
        del frame_number
        self.found.append(np.clip(index, 0, SAMPLE_LEVELS))


@dataclass(frozen=True)
class PixelStreams:
    """A scene at one quality without and with exact pixels, and what the encoder's engine decodes.

    Sync frames are for exact pixels alone.
    """

    scene: Scene
    quality: int
    data: dict[ExactMode, bytes]
    reports: dict[ExactMode, EncodeReport]
    decodes: dict[ExactMode, Decode]

    def cost_json(self) -> dict[str, Any]:
        """Return what exact pixels cost."""
        plain, exact = self.reports[ExactMode.SYMBOLS], self.reports[ExactMode.PIXELS]
        bits = exact.bits["pixels"]
        return {
            "scene": self.scene.name,
            "clip": self.scene.source,
            "width": plain.width,
            "height": plain.height,
            "frames": plain.frames,
            "quality": self.quality,
            "psnr_rgb_db": round(plain.psnr_rgb_db, 4),
            "bits_per_pixel": plain.bits_per_pixel,
            "exact_psnr_rgb_db": round(exact.psnr_rgb_db, 4),
            "bits_per_frame": 8 * plain.size_bytes / plain.frames,
            "pixel_bits_per_frame": bits / exact.frames,
            "extra_bits_per_frame": 8 * (exact.size_bytes - plain.size_bytes) / plain.frames,
            "extra_share": exact.size_bytes / plain.size_bytes - 1,
            "samples_sha256": self.decodes[ExactMode.PIXELS].sha256,
        }


def encode_pixels(
    bundle: Bundle, engine: Engine, scene: Scene, settings: Sequence[EncoderSettings]
) -> list[PixelStreams]:
    """Encode a scene with each of ``settings``, without and with exact pixels."""
    return [_encode(bundle, engine, scene, chosen) for chosen in settings]


def _encode(
    bundle: Bundle, engine: Engine, scene: Scene, settings: EncoderSettings
) -> PixelStreams:
    data, reports, decodes = {}, {}, {}
    for mode in (ExactMode.SYMBOLS, ExactMode.PIXELS):
        file = io.BytesIO()
        sync = settings.sync if mode is ExactMode.PIXELS else 0
        encoder = Encoder(bundle, engine, replace(settings, exact=mode, sync=sync))
        reports[mode] = encoder.encode(scene.frames, scene.info, file)
        data[mode] = file.getvalue()
        decodes[mode] = _decode(bundle, engine, data[mode])
    return PixelStreams(scene, encoder.quality, data, reports, decodes)


def compare_on(bundle: Bundle, engine: Engine, streams: PixelStreams) -> dict[str, Any]:
    """Decode both streams on another engine and compare with the encoder's engine."""
    plain, exact = (
        _decode(bundle, engine, streams.data[m]) for m in (ExactMode.SYMBOLS, ExactMode.PIXELS)
    )
    wanted = streams.decodes
    return {
        "scene": streams.scene.name,
        "quality": streams.quality,
        "error": plain.error or exact.error,
        "plain": sample_difference(wanted[ExactMode.SYMBOLS], plain),
        "exact": sample_difference(wanted[ExactMode.PIXELS], exact),
        "exact_sha256": exact.sha256,
        "exact_is_equal": exact.sha256 == wanted[ExactMode.PIXELS].sha256,
    }


def sample_difference(reference: Decode, other: Decode) -> dict[str, Any]:
    """Return how many samples differ, by how much at most, and the PSNR between two decodes.

    PSNR over all samples, None if they are equal; ``lowest_psnr_db`` is that of the worst frame.
    ``before_rounding`` is the largest difference of unrounded samples, in 8-bit steps.
    """
    pairs = list(zip(reference.frames, other.frames, strict=False))
    floats = zip(reference.floats, other.floats, strict=False)
    samples = sum(a.size for a, _ in pairs)
    squares = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs)
    lowest = min((psnr_db(a, b) for a, b in pairs), default=math.inf)
    return {
        "frames": len(pairs),
        "samples": samples,
        "differing": sum(int(np.count_nonzero(a != b)) for a, b in pairs),
        "largest": max((int(np.abs(a.astype(np.int16) - b).max()) for a, b in pairs), default=0),
        "psnr_db": 10 * math.log10(255.0**2 * samples / squares) if squares else None,
        "lowest_psnr_db": lowest if math.isfinite(lowest) else None,
        "before_rounding": max((float(np.abs(a - b).max()) for a, b in floats), default=0.0),
    }


def _decode(bundle: Bundle, engine: Engine, data: bytes) -> Decode:
    result, tap = Decode(), _SampleTap()
    result.floats = tap.found
    try:
        for frame in Decoder(io.BytesIO(data), engine, bundle=bundle, tap=tap):
            result.frames.append(frame.rgb)
    except CalibrationError as error:
        result.error = str(error)
    return result
