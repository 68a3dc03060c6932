"""Encode frames, one after the other, to the packets of a stream."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib import encode_levels
from nvc_engines import Engine
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.guard import MIN_GAIN_DB, QualityGuard
from nvc_runtime.codec.interpreter import Carried, Interpreter
from nvc_runtime.codec.repeat import RepeatDetector
from nvc_runtime.codec.samples import (
    SAMPLE_LEVELS,
    Frame,
    frame_from_output,
    frame_from_planes,
    input_from_frame,
    psnr_db,
    sample_index,
)
from nvc_runtime.codec.symbols import CodingRules, CodingTables, SymbolWriter
from nvc_runtime.stream import ExactMode, FrameKind, FramePacket, StreamHeader


@dataclass(frozen=True)
class SourceFrame:
    """A frame to encode, uint8 (H, W, 3).

    ``starts_group``: whether a group of pictures starts at it, so that it has to be intra.
    """

    number: int
    rgb: Frame
    starts_group: bool


@dataclass(frozen=True)
class EncodedFrame:
    """One coded frame: its packet's size, quality, and what a decoder will show."""

    number: int
    kind: FrameKind
    size_bytes: int
    psnr_rgb_db: float
    rgb: Frame


@dataclass(frozen=True)
class EncodedPacket:
    """One coded frame and its packet. ``section_bits``: bits of symbols by section."""

    packet: FramePacket
    section_bits: dict[str, float]
    frame: EncodedFrame


@dataclass(frozen=True)
class _Coded:
    """One way to code a frame: its packet, what it carries on, and what it shows."""

    packet: FramePacket
    coder: SymbolWriter
    carried: Carried
    rgb: Frame
    psnr: float


class PacketEncoder:
    """What an encoder carries from frame to frame, on one engine.

    Nothing of it outlives a group of pictures: one that starts with a group's first frame makes
    the same packets of it as one that has seen what is before.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        header: StreamHeader,
        elapsed: Elapsed,
        *,
        intra_quality: int,
        watches_quality: bool,
        repeats: bool,
    ) -> None:
        """Make ready for the frames of a stream with this header.

        ``elapsed``: where time is added. ``watches_quality``: whether inter frames whose quality
        breaks down become intra frames; they start no group of pictures. ``repeats``: whether
        frames like the one before are not coded.
        """
        manifest = bundle.manifest
        self.header, self._manifest, self._elapsed = header, manifest, elapsed
        self._intra_quality = intra_quality
        self._rules = CodingRules.of_stream(bundle, header)
        self._interpreter = Interpreter(
            bundle, engine, manifest.padded(header.height, header.width), elapsed
        )
        self._tables = CodingTables(bundle)
        self._carried: Carried = {}
        self._since_intra = 0
        self._guard = QualityGuard() if watches_quality else None
        self._repeats = RepeatDetector() if repeats else None
        self._last: EncodedPacket | None = None

    def encode(self, source: SourceFrame) -> EncodedPacket:
        """Code the frame that follows the last one, or any that starts a group of pictures."""
        repeated = self._repeated(source)
        if repeated is not None:
            return repeated
        coded = self._code(source, intra=source.starts_group)
        guard = self._guard
        if guard is not None:
            if not source.starts_group and guard.is_breakdown(coded.psnr):
                again = self._code(source, intra=True)
                if again.psnr > coded.psnr + MIN_GAIN_DB:
                    coded = again
            guard.accept(coded.psnr, coded.packet.quality - self.header.quality)
        packet = coded.packet
        self._carried = coded.carried
        self._since_intra = 0 if packet.kind is FrameKind.INTRA else self._since_intra + 1
        with self._elapsed.measure("entropy"):
            self._tables.accept(packet.kind, coded.coder.entropy.coded)
        if self._repeats is not None:
            self._repeats.accept(source.rgb, coded.psnr)
        frame = EncodedFrame(
            packet.frame_number, packet.kind, packet.sizes.total, coded.psnr, coded.rgb
        )
        self._last = EncodedPacket(packet, coded.coder.section_bits, frame)
        return self._last

    def _repeated(self, source: SourceFrame) -> EncodedPacket | None:
        """Return a packet that repeats the frame coded last, if that is good enough."""
        last, detector = self._last, self._repeats
        if last is None or detector is None or source.starts_group or self._syncs(intra=False):
            return None
        if not detector.is_repeat(source.rgb):
            return None
        self._since_intra += 1
        packet = FramePacket(
            kind=FrameKind.REPEAT,
            frame_number=source.number,
            quality=last.packet.quality,
            digest=0,
            calibration=b"",
            payload=b"",
        )
        rgb = last.frame.rgb
        frame = EncodedFrame(
            packet.frame_number, packet.kind, packet.sizes.total, psnr_db(rgb, source.rgb), rgb
        )
        return EncodedPacket(packet, {}, frame)

    def _syncs(self, *, intra: bool) -> bool:
        """Whether the next frame is a sync frame."""
        interval, since_intra = self.header.sync_interval, 0 if intra else self._since_intra + 1
        return bool(interval and since_intra and since_intra % interval == 0)

    def _code(self, source: SourceFrame, *, intra: bool) -> _Coded:
        """Code a frame without any effect on what comes after it."""
        manifest = self._manifest
        quality = self._intra_quality if intra else self.header.quality
        kind = FrameKind.INTRA if intra else FrameKind.INTER
        coder = SymbolWriter(self._tables, kind, self._rules, self._elapsed)
        coded, carried = self._interpreter.run(
            manifest.intra if intra else manifest.inter,
            coder,
            quality,
            self._carried,
            input_from_frame(source.rgb, self._interpreter.padded),
        )
        output = coded.rgb()
        sync = self._syncs(intra=intra)
        size = (self.header.height, self.header.width)
        if sync or self.header.exact is ExactMode.PIXELS:
            decoded, pixels = self._exact_samples(sample_index(output, *size))
        else:
            decoded, pixels = frame_from_output(output, *size), None
        if sync and manifest.sync is not None:
            exact = input_from_frame(decoded, self._interpreter.padded)
            carried = self._interpreter.synchronize(manifest.sync, exact)
        with self._elapsed.measure("entropy"):
            payload = coder.entropy.finish()
        with self._elapsed.measure("calibration"):
            calibration = coder.calibration.finish()
        packet = FramePacket(
            kind=kind,
            frame_number=source.number,
            quality=quality,
            digest=coder.entropy.digest,
            calibration=calibration,
            payload=payload,
            pixels=pixels,
            sync=sync,
        )
        return _Coded(packet, coder, carried, decoded, psnr_db(decoded, source.rgb))

    def _exact_samples(self, index: NDArray[np.float32]) -> tuple[Frame, bytes]:
        """Return what every decoder will show, and the pixel section that makes it so."""
        with self._elapsed.measure("calibration"):
            planes, side_information = encode_levels(
                index,
                levels=SAMPLE_LEVELS,
                skip_level=-1,
                epsilon=self.header.pixel_epsilon,
                coder=self.header.position_coder,
            )
        check = zlib.crc32(planes.tobytes()).to_bytes(4, "little")
        return frame_from_planes(planes), check + side_information
