"""Encode frames to a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias, TypeVar

import numpy as np

from nvc_calib import PositionCoder
from nvc_engines import Engine
from nvc_errors import UsageError, VideoError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.packet_encoder import (
    EncodedFrame,
    EncodedPacket,
    PacketEncoder,
    SourceFrame,
)
from nvc_runtime.codec.reports import EncodeReport, SymbolsDigest
from nvc_runtime.codec.samples import Frame
from nvc_runtime.codec.scene import SceneCutDetector
from nvc_runtime.stream import ExactMode, StreamHeader, StreamWriter
from nvc_runtime.video import VideoInfo

T = TypeVar("T")

EncodeFrames: TypeAlias = Callable[[Iterator[SourceFrame], Elapsed], Iterator[EncodedPacket]]
"""Turns the frames of a clip into the packets of its stream, in order, and adds the time that it
takes."""


@dataclass(frozen=True)
class EncoderSettings:
    """Choices of an encoder; None takes the bundle's default.

    quality: 0 (smallest) .. 63 (best). intra_offset: by how many qualities intra frames are better,
    as far as there are; all later frames refer to them (None: not where keyint is 1 and none do).
    keyint: frames from one group of pictures to the next at most, 0: no limit; groups start with an
    intra frame. scene_cuts: whether the first frame of a new scene starts one, too, and a frame
    whose quality breaks down otherwise is intra.
    skip_level: levels up to this are not coded, -1: all are. epsilon, pixel_epsilon: bounds of the
    drift that decoders may have, [0, 0.25). exact: whether decoded samples are the same everywhere,
    too. sync: frames from one sync frame to the next, 0: none; a sync frame's samples are exact,
    and what later frames refer to is rebuilt from them, which ends all drift.
    repeats: whether a frame that hardly differs from the one before is sent as its repeat, see
    :mod:`nvc_runtime.codec.repeat`.
    """

    quality: int | None = None
    intra_offset: int | None = None
    keyint: int | None = None
    skip_level: int | None = None
    epsilon: float | None = None
    pixel_epsilon: float | None = None
    calibration: PositionCoder = PositionCoder.RETRIEVAL
    exact: ExactMode = ExactMode.SYMBOLS
    sync: int = 0
    scene_cuts: bool = True
    repeats: bool = True


class Encoder:
    """Encodes frames with a bundle on an engine.

    The engine stays the caller's. One encoder may encode several clips, one after the other.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, settings: EncoderSettings | None = None
    ) -> None:
        """Check the settings against the bundle; raise :class:`UsageError` if they do not fit."""
        self.bundle, self.engine = bundle, engine
        self.settings = settings or EncoderSettings()
        manifest, given = bundle.manifest, self.settings
        defaults = manifest.defaults
        self.quality = _or_default(given.quality, defaults.quality)
        self.keyint = _or_default(given.keyint, defaults.keyint)
        useful_offset = 0 if self.keyint == 1 else defaults.intra_offset
        self.intra_offset = _or_default(given.intra_offset, useful_offset)
        self.skip_level = _or_default(given.skip_level, defaults.skip_level)
        self.epsilon = _or_default(given.epsilon, defaults.epsilon)
        self.pixel_epsilon = _or_default(given.pixel_epsilon, defaults.pixel_epsilon)
        _check_range("quality", self.quality, 0, manifest.qualities - 1)
        _check_range("intra offset", self.intra_offset, 0, manifest.qualities - 1)
        _check_range("keyint", self.keyint, 0, 2**32 - 1)
        _check_range("skip level", self.skip_level, -1, manifest.scale_levels.count - 2)
        for name, value in (("epsilon", self.epsilon), ("pixel epsilon", self.pixel_epsilon)):
            if not 0.0 <= value < 0.25:
                raise UsageError(f"{name} is {value}, expected a number from 0 to below 0.25")
        _check_range("sync", given.sync, 0, 2**32 - 1)
        self.needs_pixels = given.exact is ExactMode.PIXELS or given.sync > 0
        if self.needs_pixels and given.calibration is PositionCoder.NONE:
            raise UsageError("exact pixels need calibration: choose retrieval or rpc")
        if given.sync and manifest.sync is None:
            raise UsageError(f"bundle {bundle.name!r} has no sync program: sync must be 0")

    @property
    def intra_quality(self) -> int:
        """Quality of intra frames."""
        return min(self.quality + self.intra_offset, self.bundle.manifest.qualities - 1)

    def header(self, info: VideoInfo) -> StreamHeader:
        """Return the stream header for a video."""
        exact = self.settings.exact
        return StreamHeader(
            width=info.width,
            height=info.height,
            frame_rate=info.frame_rate,
            color=info.color,
            chroma=info.chroma,
            keyint=self.keyint,
            bundle_digest=self.bundle.digest,
            epsilon=self.epsilon,
            position_coder=self.settings.calibration,
            skip_level=self.skip_level,
            exact=exact,
            pixel_epsilon=self.pixel_epsilon if self.needs_pixels else 0.0,
            sync_interval=self.settings.sync,
            quality=self.quality,
            bundle_name=self.bundle.name,
        )

    def packet_encoder(self, info: VideoInfo, elapsed: Elapsed) -> PacketEncoder:
        """Return what encodes the frames of a video; ``elapsed`` is where time is added."""
        return PacketEncoder(
            self.bundle,
            self.engine,
            self.header(info),
            elapsed,
            intra_quality=self.intra_quality,
            watches_quality=self.settings.scene_cuts,
            repeats=self.settings.repeats,
        )

    def encode(
        self,
        frames: Iterable[Frame],
        info: VideoInfo,
        file: BinaryIO,
        *,
        on_frame: Callable[[EncodedFrame], None] | None = None,
        encode: EncodeFrames | None = None,
    ) -> EncodeReport:
        """Encode ``frames`` (uint8 (H, W, 3) each) and write a whole stream to ``file``.

        Frames are taken one at a time; memory does not grow with their number. ``encode``: encodes
        in place of this encoder's engine, as :mod:`nvc_runtime.groups` does in several processes;
        it takes whole groups of pictures ahead, so a frame's memory must not be used again.

        Raises :class:`VideoError` for a frame of another size, ``EngineError`` and ``OutputError``.
        """
        output = _Output(self.header(info), file)
        sources = self._grouped(frames, info, output.elapsed)
        try:
            if encode is None:
                packets: Iterator[EncodedPacket] = map(
                    self.packet_encoder(info, output.elapsed).encode, sources
                )
            else:
                packets = encode(sources, output.elapsed)
            for encoded in packets:
                output.write(encoded)
                if on_frame is not None:
                    on_frame(encoded.frame)
        finally:
            output.elapsed.stop()
        return output.finish()

    def _grouped(
        self, frames: Iterable[Frame], info: VideoInfo, elapsed: Elapsed
    ) -> Iterator[SourceFrame]:
        """Take frames; number them, and tell where groups of pictures start."""
        cuts = SceneCutDetector() if self.settings.scene_cuts else None
        iterator, number, first = iter(frames), 0, 0
        while True:
            with elapsed.measure("io"):
                frame = next(iterator, None)
            if frame is None:
                return
            if frame.shape != info.shape or frame.dtype != np.uint8:
                raise VideoError(
                    f"frame {number}: found {frame.dtype} {frame.shape}, expected "
                    f"uint8 {info.shape}"
                )
            cut = cuts is not None and cuts.is_cut(frame)
            starts_group = number == 0 or cut or (self.keyint > 0 and number - first == self.keyint)
            first = number if starts_group else first
            yield SourceFrame(number, frame, starts_group)
            number += 1


class _Output:
    """The stream of one clip, and what its report sums up."""

    def __init__(self, header: StreamHeader, file: BinaryIO) -> None:
        self.elapsed = Elapsed()
        self._header, self._writer = header, StreamWriter(file, header)
        self._bits: dict[str, float] = {"header": 8.0 * self._writer.size_bytes}
        self._digest = SymbolsDigest()
        self._psnr_sum = 0.0

    def write(self, encoded: EncodedPacket) -> None:
        """Write a packet; add it to the bits by section; what coding rounds up is framing."""
        packet = encoded.packet
        with self.elapsed.measure("io"):
            self._writer.write(packet)
        self._digest.add(packet.digest)
        self._psnr_sum += min(encoded.frame.psnr_rgb_db, 100.0)
        sizes, symbol_bits = packet.sizes, sum(encoded.section_bits.values())
        counted = {
            "framing": 8.0 * sizes.framing + 8.0 * sizes.payload - symbol_bits,
            "checks": 8.0 * sizes.checks,
            "calibration": 8.0 * sizes.calibration,
            "pixels": 8.0 * sizes.pixels,
        } | encoded.section_bits
        for section, bits in counted.items():
            self._bits[section] = self._bits.get(section, 0.0) + bits

    def finish(self) -> EncodeReport:
        """Write the index and sum up."""
        before, count = self._writer.size_bytes, self._writer.frame_count
        if count == 0:
            raise VideoError("the input holds no frame; nothing was encoded")
        self._writer.finish()
        self._bits["index"] = 8.0 * (self._writer.size_bytes - before)
        return EncodeReport(
            frames=count,
            width=self._header.width,
            height=self._header.height,
            size_bytes=self._writer.size_bytes,
            bits=self._bits,
            psnr_rgb_db=self._psnr_sum / count,
            symbols_digest=self._digest.hexdigest(),
            elapsed=self.elapsed,
        )


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}, expected {low}..{high}")
