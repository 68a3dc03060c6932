"""Time encoding and decoding of a clip, by activity.

Loading graphs is taken out of the transform's time and reported on its own. Video work (reading,
rounding and colour conversion, writing) goes on beside the codec, on a second thread, as in
`nvc-run`: only what the codec waits for it is part of the total.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nvc_engines import Engine, Graph, GraphSource, Shape, Tensor
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import (
    DecodedFrame,
    Decoder,
    DecodeReport,
    Elapsed,
    Encoder,
    EncodeReport,
    EncoderSettings,
)
from nvc_runtime.files import write_frame
from nvc_runtime.overlap import read_ahead, write_behind
from nvc_runtime.video import open_reader, open_writer

T = TypeVar("T")

ACTIVITIES = ("transform", "entropy", "calibration", "stream_io", "video", "other", "total")
"""Parts of the total. stream_io: reading or writing packets. video: waiting for pictures to be
read or written."""
BESIDE = "video_beside"
"""What a second thread spends on reading, converting and writing pictures; no part of the total."""


class Clock:
    """Adds up seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._start


class TimedBundle(Bundle):
    """A bundle that knows how long its graphs took to read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.load_clock = Clock()

    def graph(self, name: str) -> GraphSource:
        """Read a graph, by the clock."""
        with self.load_clock:
            return super().graph(name)


class TimedEngine(Engine):
    """An engine that knows how long its graphs took to load; otherwise the inner one."""

    def __init__(self, inner: Engine) -> None:
        self.info, self._inner = inner.info, inner
        self.load_clock = Clock()

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """Load a graph, by the clock."""
        with self.load_clock:
            return self._inner.load(source, shapes)

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        return self._inner.upload(array)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        return self._inner.download(tensor)

    def synchronize(self) -> None:
        """See ``Engine.synchronize``."""
        self._inner.synchronize()

    def close(self) -> None:
        """See ``Engine.close``."""
        self._inner.close()


@dataclass(frozen=True)
class Sample:
    """One run over a clip: mean milliseconds a frame by activity, and seconds to load graphs.

    Activities are ACTIVITIES and BESIDE.
    """

    frames: int
    ms_per_frame: dict[str, float]
    load_s: float

    @property
    def fps(self) -> float:
        """Frames per second without loading; waiting for video included."""
        return 1000 / self.ms_per_frame["total"]

    @property
    def codec_fps(self) -> float:
        """Frames per second without loading and without waiting for video."""
        return 1000 / (self.ms_per_frame["total"] - self.ms_per_frame["video"])


def time_encoding(
    bundle: TimedBundle,
    engine: TimedEngine,
    settings: EncoderSettings,
    clip: Path,
    limit: int | None,
) -> tuple[Sample, EncodeReport, bytes]:
    """Encode a clip into memory; return the stream, too."""
    video, beside, load = Clock(), Clock(), _load_clock(bundle, engine)
    file = io.BytesIO()
    with open_reader(clip, limit=limit) as reader:
        start = time.perf_counter()
        with read_ahead(_timed(reader, beside)) as frames:
            encoder = Encoder(bundle, engine, settings)
            report = encoder.encode(_timed(frames, video), reader.info, file)
        total_s = time.perf_counter() - start
    load_s = _load_clock(bundle, engine) - load
    spent = _seconds(report.elapsed, load_s, video, beside, total_s)
    spent["stream_io"] -= video.seconds
    return _sample(report.frames, spent, load_s), report, file.getvalue()


def time_decoding(
    bundle: TimedBundle, engine: TimedEngine, stream: bytes, output: Path
) -> tuple[Sample, DecodeReport]:
    """Decode a stream from memory to a file that exists afterwards."""
    video, beside, load = Clock(), Clock(), _load_clock(bundle, engine)
    start = time.perf_counter()
    decoder = Decoder(io.BytesIO(stream), engine, bundle=bundle)
    with open_writer(str(output), decoder.info, overwrite=True) as writer:

        def write(frame: DecodedFrame) -> None:
            with beside:
                write_frame(writer, frame)

        with write_behind(write) as put:
            for frame in decoder.frames(yuv=writer.takes_yuv):
                with video:
                    put(frame)
    report = decoder.report()
    total_s = time.perf_counter() - start
    load_s = _load_clock(bundle, engine) - load
    spent = _seconds(report.elapsed, load_s, video, beside, total_s)
    return _sample(report.frames, spent, load_s), report


def _timed(source: Iterable[T], clock: Clock) -> Iterator[T]:
    """Iterate over a source, by the clock."""
    iterator = iter(source)
    while True:
        with clock:
            item = next(iterator, None)
        if item is None:
            return
        yield item


def _load_clock(bundle: TimedBundle, engine: TimedEngine) -> float:
    return bundle.load_clock.seconds + engine.load_clock.seconds


def _seconds(
    elapsed: Elapsed, load_s: float, video: Clock, beside: Clock, total_s: float
) -> dict[str, float]:
    return {
        "transform": elapsed.transform_s - load_s,
        "entropy": elapsed.entropy_s,
        "calibration": elapsed.calibration_s,
        "stream_io": elapsed.io_s,
        "video": video.seconds,
        "total": total_s - load_s,
        BESIDE: beside.seconds,
    }


def _sample(frames: int, seconds: dict[str, float], load_s: float) -> Sample:
    named = sum(seconds[name] for name in ACTIVITIES if name in seconds and name != "total")
    seconds["other"] = seconds["total"] - named
    ms_per_frame = {name: 1000 * seconds[name] / frames for name in (*ACTIVITIES, BESIDE)}
    return Sample(frames, ms_per_frame, load_s)
