"""Encode frames to a stream."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from nvc_calib import PositionCoder, encode_levels
from nvc_engines import Engine
from nvc_errors import UsageError, VideoError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.guard import MIN_GAIN_DB, QualityGuard
from nvc_runtime.codec.interpreter import Carried, Interpreter
from nvc_runtime.codec.reports import EncodeReport, SymbolsDigest
from nvc_runtime.codec.samples import (
    SAMPLE_LEVELS,
    Frame,
    frame_from_output,
    frame_from_planes,
    input_from_frame,
    psnr_db,
    sample_index,
)
from nvc_runtime.codec.scene import SceneCutDetector
from nvc_runtime.codec.symbols import CodingRules, CodingTables, SymbolWriter
from nvc_runtime.stream import ExactMode, FrameKind, FramePacket, StreamHeader, StreamWriter
from nvc_runtime.video import VideoInfo

T = TypeVar("T")


@dataclass(frozen=True)
class EncoderSettings:
    """Choices of an encoder; None takes the bundle's default.

    quality: 0 (smallest) .. 63 (best). intra_offset: by how many qualities intra frames are better,
    as far as there are; all later frames refer to them (None: not where keyint is 1 and none do).
    keyint: frames from one intra frame to the next at most, 0: no limit. scene_cuts: whether the
    first frame of a new scene is intra, too, and one whose quality breaks down otherwise.
    skip_level: levels up to this are not coded, -1: all are. epsilon, pixel_epsilon: bounds of the
    drift that decoders may have, [0, 0.25). exact: whether decoded samples are the same everywhere,
    too. sync: frames from one sync frame to the next, 0: none; a sync frame's samples are exact,
    and what later frames refer to is rebuilt from them, which ends all drift.
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


@dataclass(frozen=True)
class EncodedFrame:
    """One coded frame: its packet's size, quality, and what a decoder will show."""

    number: int
    kind: FrameKind
    size_bytes: int
    psnr_rgb_db: float
    rgb: Frame


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

    def encode(
        self,
        frames: Iterable[Frame],
        info: VideoInfo,
        file: BinaryIO,
        *,
        on_frame: Callable[[EncodedFrame], None] | None = None,
    ) -> EncodeReport:
        """Encode ``frames`` (uint8 (H, W, 3) each) and write a whole stream to ``file``.

        Frames are taken one at a time; memory does not grow with their number. Raises
        :class:`VideoError` for a frame of another size, ``EngineError`` and ``OutputError``.
        """
        session = _Session(self, info, file)
        try:
            iterator = iter(frames)
            while True:
                with session.elapsed.measure("io"):
                    frame = next(iterator, None)
                if frame is None:
                    break
                coded = session.encode(frame)
                if on_frame is not None:
                    on_frame(coded)
        finally:
            session.elapsed.stop()
        return session.finish()


@dataclass(frozen=True)
class _Coded:
    """One way to code a frame: its packet, what it carries on, and what it shows."""

    packet: FramePacket
    coder: SymbolWriter
    carried: Carried
    rgb: Frame
    psnr: float


class _Session:
    """The state of encoding one clip."""

    def __init__(self, encoder: Encoder, info: VideoInfo, file: BinaryIO) -> None:
        self.encoder, self.info = encoder, info
        self.elapsed = Elapsed()
        manifest = encoder.bundle.manifest
        self.header = encoder.header(info)
        self.rules = CodingRules(
            manifest.scale_levels.count,
            self.header.skip_level,
            self.header.epsilon,
            self.header.position_coder,
        )
        self.interpreter = Interpreter(
            encoder.bundle,
            encoder.engine,
            manifest.padded(info.height, info.width),
            self.elapsed,
        )
        self.writer = StreamWriter(file, self.header)
        self.bits: dict[str, float] = {"header": 8.0 * self.writer.size_bytes}
        self.digest = SymbolsDigest()
        self.psnr_sum = 0.0
        self.carried: Carried = {}
        self.tables = CodingTables(encoder.bundle)
        self.since_intra = 0
        self.scene_cuts = SceneCutDetector() if encoder.settings.scene_cuts else None
        self.guard = QualityGuard() if encoder.settings.scene_cuts else None

    def encode(self, frame: Frame) -> EncodedFrame:
        """Code the next frame and write its packet."""
        if frame.shape != self.info.shape or frame.dtype != np.uint8:
            raise VideoError(
                f"frame {self.writer.frame_count}: found {frame.dtype} {frame.shape}, expected "
                f"uint8 {self.info.shape}"
            )
        number, keyint = self.writer.frame_count, self.encoder.keyint
        cut = self.scene_cuts is not None and self.scene_cuts.is_cut(frame)
        intra = number == 0 or cut or (keyint > 0 and self.since_intra + 1 == keyint)
        quality = self.encoder.intra_quality if intra else self.encoder.quality
        coded = self._code(frame, number, quality, intra=intra)
        if not intra and self.guard is not None and self.guard.is_breakdown(coded.psnr):
            again = self._code(frame, number, quality, intra=True)
            if again.psnr > coded.psnr + MIN_GAIN_DB:
                coded = again
        if self.guard is not None:
            self.guard.accept(coded.psnr, coded.packet.quality - self.encoder.quality)
        packet = coded.packet
        self.carried = coded.carried
        self.since_intra = 0 if packet.kind is FrameKind.INTRA else self.since_intra + 1
        with self.elapsed.measure("entropy"):
            self.tables.accept(packet.kind, coded.coder.entropy.coded)
        with self.elapsed.measure("io"):
            self.writer.write(packet)
        self._count(packet, coded.coder)
        self.psnr_sum += min(coded.psnr, 100.0)
        return EncodedFrame(number, packet.kind, packet.sizes.total, coded.psnr, coded.rgb)

    def _code(self, frame: Frame, number: int, quality: int, *, intra: bool) -> _Coded:
        """Code a frame without any effect on what comes after it."""
        manifest = self.encoder.bundle.manifest
        kind = FrameKind.INTRA if intra else FrameKind.INTER
        coder = SymbolWriter(self.tables, kind, self.rules, self.elapsed)
        coded = self.interpreter.run(
            manifest.intra if intra else manifest.inter,
            coder,
            quality,
            self.carried,
            input_from_frame(frame, self.interpreter.padded),
        )
        output, carried = coded.rgb(), coded.carried
        interval, since_intra = self.header.sync_interval, 0 if intra else self.since_intra + 1
        sync = bool(interval and since_intra and since_intra % interval == 0)
        size = (self.info.height, self.info.width)
        if sync or self.header.exact is ExactMode.PIXELS:
            decoded, pixels = self._exact_samples(sample_index(output, *size))
        else:
            decoded, pixels = frame_from_output(output, *size), None
        if sync and manifest.sync is not None:
            exact = input_from_frame(decoded, self.interpreter.padded)
            carried = self.interpreter.synchronize(manifest.sync, exact)
        with self.elapsed.measure("entropy"):
            payload = coder.entropy.finish()
        with self.elapsed.measure("calibration"):
            calibration = coder.calibration.finish()
        packet = FramePacket(
            kind=kind,
            frame_number=number,
            quality=quality,
            digest=coder.entropy.digest,
            calibration=calibration,
            payload=payload,
            pixels=pixels,
            sync=sync,
        )
        return _Coded(packet, coder, carried, decoded, psnr_db(decoded, frame))

    def finish(self) -> EncodeReport:
        """Write the index and sum up."""
        before = self.writer.size_bytes
        count = self.writer.frame_count
        if count == 0:
            raise VideoError("the input holds no frame; nothing was encoded")
        self.writer.finish()
        self.bits["index"] = 8.0 * (self.writer.size_bytes - before)
        return EncodeReport(
            frames=count,
            width=self.info.width,
            height=self.info.height,
            size_bytes=self.writer.size_bytes,
            bits=self.bits,
            psnr_rgb_db=self.psnr_sum / count,
            symbols_digest=self.digest.hexdigest(),
            elapsed=self.elapsed,
        )

    def _exact_samples(self, index: NDArray[np.float32]) -> tuple[Frame, bytes]:
        """Return what every decoder will show, and the pixel section that makes it so."""
        with self.elapsed.measure("calibration"):
            planes, side_information = encode_levels(
                index,
                levels=SAMPLE_LEVELS,
                skip_level=-1,
                epsilon=self.header.pixel_epsilon,
                coder=self.header.position_coder,
            )
        check = zlib.crc32(planes.tobytes()).to_bytes(4, "little")
        return frame_from_planes(planes), check + side_information

    def _count(self, packet: FramePacket, coder: SymbolWriter) -> None:
        """Add a packet to the bits by section; what coding rounds up counts as framing."""
        self.digest.add(packet.digest)
        sizes = packet.sizes
        counted = {
            "framing": 8.0 * sizes.framing + 8.0 * sizes.payload - sum(coder.section_bits.values()),
            "checks": 8.0 * sizes.checks,
            "calibration": 8.0 * sizes.calibration,
            "pixels": 8.0 * sizes.pixels,
        } | coder.section_bits
        for section, bits in counted.items():
            self.bits[section] = self.bits.get(section, 0.0) + bits


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}, expected {low}..{high}")
