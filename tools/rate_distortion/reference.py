"""Points of x264 and x265, encoded from the clip's own YUV samples.

The file that counts is the raw elementary stream (Annex B) without the encoder's own advertising:
the SEI messages in which it notes its version and options. It is decoded again, and compared in
the same 8-bit RGB as everything else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import av.bitstream
from av.video.frame import PictureType

from nvc_errors import UsageError, VerificationError
from nvc_runtime.video import VideoInfo, open_reader
from rate_distortion.curves import Point
from rate_distortion.metrics import Quality


@dataclass(frozen=True)
class ReferenceCodec:
    """A conventional encoder in one structure.

    remove: FFmpeg bitstream filter that drops SEI messages. restrictions: further parameters.
    """

    name: str
    encoder: str
    muxer: str
    suffix: str
    params_option: str
    endless_gop: str
    remove: str
    tune: str | None
    restrictions: str = ""

    def options(self, crf: float, keyint: int) -> dict[str, str]:
        """FFmpeg options: preset medium, intra frames exactly every `keyint` frames."""
        gop = str(keyint) if keyint else self.endless_gop
        least = str(keyint) if keyint else "1"
        params = [f"keyint={gop}", f"min-keyint={least}", "scenecut=0", "open-gop=0"]
        if self.encoder == "libx265":
            params += ["log-level=none", "info=0", "pools=1", "frame-threads=1"]
        else:
            params += ["threads=1"]
        if self.restrictions:
            params.append(self.restrictions)
        options = {"preset": "medium", "crf": f"{crf:g}", self.params_option: ":".join(params)}
        return options if self.tune is None else options | {"tune": self.tune}


def _x264(name: str, tune: str | None) -> ReferenceCodec:
    remove = "filter_units=remove_types=6"
    return ReferenceCodec(name, "libx264", "h264", ".264", "x264-params", "infinite", remove, tune)


def _x265(name: str, tune: str | None) -> ReferenceCodec:
    remove = "filter_units=remove_types=39|40"
    return ReferenceCodec(name, "libx265", "hevc", ".265", "x265-params", "-1", remove, tune)


REFERENCE_CODECS = (
    _x264("x264 medium", None),
    _x264("x264 zero latency", "zerolatency"),
    _x265("x265 medium", None),
    _x265("x265 zero latency", "zerolatency"),
)
"""Preset medium: with its default structure (B-frames), and without reordering and lookahead."""


def reference_codec(name: str) -> ReferenceCodec:
    """Return one of them by its name."""
    return next(codec for codec in REFERENCE_CODECS if codec.name == name)


def reference_point(
    codec: ReferenceCodec,
    clip: Path,
    crf: float,
    *,
    keyint: int,
    frames: int,
    with_ms_ssim: bool,
    on_stream: Callable[[Path], None] = lambda _: None,
) -> Point:
    """Encode a clip with a conventional codec, decode it, and compare.

    ``on_stream`` receives the file's path while it exists.

    Raises:
        UsageError: the clip's samples are not 8-bit 4:2:0.
        VerificationError: the file decodes to another number of frames.

    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stream{codec.suffix}"
        with open_reader(clip, limit=frames) as source:
            info = source.info
        count = _encode(codec, clip, path, codec.options(crf, keyint), info, frames)
        quality = Quality(with_ms_ssim=with_ms_ssim)
        with open_reader(clip, limit=frames) as source, open_reader(path) as decoded:
            shown = 0
            for frame, original in zip_longest(decoded, source):
                shown += frame is not None
                if frame is not None and original is not None:
                    quality.add(frame, original)
        size_bytes = path.stat().st_size
        on_stream(path)
    if shown != count:
        raise VerificationError(f"{codec.name}: {count} frames in, {shown} frames out")
    return Point(
        setting=crf,
        size_bytes=size_bytes,
        bits_per_pixel=8 * size_bytes / (count * info.width * info.height),
        psnr_rgb_db=quality.psnr_rgb_db,
        ms_ssim=quality.ms_ssim,
    )


def _encode(
    codec: ReferenceCodec,
    clip: Path,
    path: Path,
    options: dict[str, str],
    info: VideoInfo,
    frames: int,
) -> int:
    """Write the elementary stream and return the number of frames."""
    color = info.color
    with av.open(str(path), "w", format=codec.muxer) as container:
        stream: Any = container.add_stream(codec.encoder, rate=info.frame_rate, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, "yuv420p"
        context.time_base = 1 / info.frame_rate
        context.colorspace, context.color_range = color.matrix, 1 + color.full_range
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        container.start_encoding()
        drop = av.bitstream.BitStreamFilterContext(codec.remove, stream)
        count = 0
        for picture in _pictures(clip, frames):
            if (picture.width, picture.height) != (info.width, info.height):
                raise UsageError(f"{clip}: rotated clips cannot be compared; rotate it first")
            picture.pts, picture.time_base = count, 1 / info.frame_rate
            # Else the encoder would take over the picture types of the source.
            picture.pict_type = PictureType.NONE
            for packet in stream.encode(picture):
                container.mux(drop.filter(packet))
            count += 1
        for packet in stream.encode(None):
            container.mux(drop.filter(packet))
        container.mux(drop.filter(None))
    return count


def _pictures(clip: Path, limit: int) -> Iterator[av.VideoFrame]:
    """Decode a clip to YUV pictures."""
    with av.open(str(clip)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            if number >= limit:
                return
            if picture.format.name not in ("yuv420p", "yuvj420p"):
                raise UsageError(
                    f"{clip}: found {picture.format.name}, expected yuv420p; convert the clip"
                )
            yield picture
