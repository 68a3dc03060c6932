"""Points of the neural codec."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from nvc_engines import Engine
from nvc_errors import VerificationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import EncodedFrame, Encoder, EncoderSettings
from nvc_runtime.video import Frame, open_reader
from rate_distortion.curves import Point
from rate_distortion.metrics import Quality


def neural_point(
    bundle: Bundle,
    engine: Engine,
    clip: Path,
    settings: EncoderSettings,
    *,
    frames: int,
    with_ms_ssim: bool,
    on_stream: Callable[[Path], None] = lambda _: None,
) -> Point:
    """Encode a clip to a file; what the encoder reconstructs is what every decoder shows.

    ``on_stream`` receives the file's path while it exists.
    """
    quality = Quality(with_ms_ssim=with_ms_ssim)
    sources: list[Frame] = []

    def source() -> Iterator[Frame]:
        for frame in reader:
            sources.append(frame)
            yield frame

    def compare(coded: EncodedFrame) -> None:
        quality.add(coded.rgb, sources.pop())

    with tempfile.TemporaryDirectory() as folder, open_reader(clip, limit=frames) as reader:
        path = Path(folder) / "stream.nvc"
        with path.open("wb") as file:
            encoder = Encoder(bundle, engine, settings)
            report = encoder.encode(source(), reader.info, file, on_frame=compare)
        size_bytes = path.stat().st_size
        on_stream(path)
    if size_bytes != report.size_bytes:
        raise VerificationError(f"the file has {size_bytes} bytes, not {report.size_bytes}")
    samples = report.frames * report.width * report.height
    return Point(
        setting=float(encoder.quality),
        size_bytes=size_bytes,
        bits_per_pixel=8 * size_bytes / samples,
        psnr_rgb_db=quality.psnr_rgb_db,
        ms_ssim=quality.ms_ssim,
    )
