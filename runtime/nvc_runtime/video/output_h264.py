"""MP4 and Matroska output: H.264, near-lossless by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from nvc_errors import OutputError, UsageError
from nvc_runtime.video.info import Frame, VideoInfo, plane_shapes
from nvc_runtime.video.target import FileTarget, output_errors
from nvc_runtime.video.writer import FrameWriter

DEFAULT_CRF = 4
MAX_CRF = 51
# tune=psnr: x264's psychovisual default costs 6 dB of chroma in 4:4:4 at this quality.
_OPTIONS = {"preset": "veryfast", "tune": "psnr"}
_MUXERS = {".mp4": "mp4", ".mkv": "matroska"}
SUFFIXES = tuple(_MUXERS)


class H264Writer(FrameWriter):
    """Encodes with x264, with the video's chroma format, colour tags and frame rate.

    H.264 has no odd sizes where chroma is subsampled: such videos are written as 4:4:4, with a
    note. Chroma is left-sited, which is what players assume.
    """

    def __init__(self, path: Path, info: VideoInfo, *, overwrite: bool, crf: int) -> None:
        """Open the encoder.

        Raises:
            UsageError: ``crf`` is outside 0..51, or ``path`` exists and may not be overwritten.
            OutputError: the folder cannot be written, or x264 is missing or refuses the video.

        """
        if not 0 <= crf <= MAX_CRF:
            raise UsageError(f"crf: found {crf}, expected 0 (lossless) to {MAX_CRF}")
        odd = (info.chroma == "420" and (info.width | info.height) & 1) or (
            info.chroma == "422" and info.width & 1
        )
        chroma = "444" if odd else info.chroma
        note = f"H.264 cannot store {info.width}x{info.height} as {info.chroma}; writing 444"
        super().__init__(info, (note,) if odd else (), chroma)
        self._chroma = chroma
        self._container: OutputContainer | None = None
        self._target = FileTarget(path, overwrite=overwrite)
        try:
            self._start(_MUXERS[path.suffix.lower()], crf)
        except BaseException:
            self._discard()
            raise

    def _start(self, muxer: str, crf: int) -> None:
        with _encoder_errors(self._target.path):
            self._container = av.open(self._target.file, "w", format=muxer)
            stream = self._container.add_stream(
                "libx264",
                rate=self.info.frame_rate,
                options={"crf": str(crf), **_OPTIONS},
            )
            color, context = self.info.color, stream.codec_context
            context.width, context.height = self.info.width, self.info.height
            context.pix_fmt = f"yuv{self._chroma}p"
            context.time_base = 1 / self.info.frame_rate
            context.colorspace, context.color_range = color.matrix, 1 + color.full_range
            context.color_primaries, context.color_trc = color.primaries, color.transfer
            self._stream = stream
            self._container.start_encoding()

    def _write(self, samples: tuple[Frame, ...]) -> None:
        info, color = self.info, self.info.color
        picture = av.VideoFrame(info.width, info.height, f"yuv{self._chroma}p")
        shapes = plane_shapes(info.width, info.height, self._chroma)
        for plane, source, (rows, columns) in zip(picture.planes, samples, shapes, strict=True):
            view = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            view[:rows, :columns] = source
        picture.pts, picture.time_base = self.frame_count, 1 / info.frame_rate
        picture.colorspace, picture.color_range = color.matrix, 1 + color.full_range
        picture.color_primaries, picture.color_trc = color.primaries, color.transfer
        with _encoder_errors(self._target.path):
            self._mux(picture)

    def _mux(self, picture: av.VideoFrame | None) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(picture))

    def _commit(self) -> None:
        if self.frame_count == 0:
            raise OutputError(f"{self._target.path}: there are no frames to write; nothing written")
        with _encoder_errors(self._target.path):
            self._mux(None)
            if self._container is not None:
                self._container.close()
                self._container = None
        self._target.commit()

    def _discard(self) -> None:
        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        except (av.FFmpegError, OSError, ValueError):
            pass  # It is removed anyway; the error that brought us here is the one to report.
        finally:
            self._target.discard()


@contextmanager
def _encoder_errors(path: Path) -> Iterator[None]:
    try:
        with output_errors(path):
            yield
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: H.264 cannot be written: {reason}") from None
