"""Decode a stream to frames."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from nvc_calib import decode_levels
from nvc_engines import Engine
from nvc_errors import BundleError, CalibrationError, DamagedInputError, StreamError, UsageError
from nvc_runtime.bundle import Bundle, CodeStep, find_bundle
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.interpreter import Carried, Interpreter, Reconstruction
from nvc_runtime.codec.planes import converter_for
from nvc_runtime.codec.reports import DecodeReport, SymbolsDigest
from nvc_runtime.codec.samples import (
    SAMPLE_LEVELS,
    Frame,
    frame_from_output,
    frame_from_planes,
    input_from_frame,
    sample_index,
)
from nvc_runtime.codec.symbols import CodingRules, CodingTables, SymbolCoder, SymbolReader
from nvc_runtime.stream import FrameKind, FramePacket, StreamReader, read_index
from nvc_runtime.video import Planes, VideoInfo
from nvc_runtime.video.yuv import YuvConverter

CHECK_SIZE = 4
"""Bytes of the CRC-32 at the start of a pixel section."""


class DecodedFrame:
    """One decoded frame; ``digest`` covers its levels and symbols (u32).

    Samples are worked out when first asked for, by the thread that asks.
    """

    def __init__(
        self,
        packet: FramePacket,
        info: VideoInfo,
        *,
        rgb: Callable[[], Frame] | None = None,
        yuv: Callable[[], Planes] | None = None,
    ) -> None:
        """Keep what is known of the frame, and a function that makes one kind of its samples."""
        self.number, self.kind, self.digest = packet.frame_number, packet.kind, packet.digest
        self._info, self._make_rgb, self._make_yuv = info, rgb, yuv

    @cached_property
    def rgb(self) -> Frame:
        """The samples, uint8 (H, W, 3)."""
        if self._make_rgb is not None:
            return self._make_rgb()
        return self._converter().rgb_from_yuv(self.yuv)

    @cached_property
    def yuv(self) -> Planes:
        """The samples as Y, U and V of the video, uint8.

        Raises ``VideoError`` if no conversion is known for the video's matrix.
        """
        if self._make_yuv is not None:
            return self._make_yuv()
        return self._converter().yuv_from_rgb(self.rgb)

    def _converter(self) -> YuvConverter:
        info = self._info
        return YuvConverter(info.width, info.height, info.chroma, info.color)


class DecoderTap(Protocol):
    """Sees what an engine computed, before calibration resolves it. Arrays must not be changed."""

    def index(self, frame_number: int, tensor: str, index: NDArray[np.float32]) -> None:
        """Take the scale index (C, H, W), float32, of one coding step."""

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        """Take the sample index 255 x + 1/2, float32 (3, H, W), of one frame."""


class _TappedReader(SymbolCoder):
    """Shows a reader's scale indices to a tap."""

    needs_symbols = False

    def __init__(self, reader: SymbolReader, tap: DecoderTap, packet: FramePacket) -> None:
        self._reader, self._tap, self._number = reader, tap, packet.frame_number

    def code(
        self,
        step: CodeStep,
        index: NDArray[np.float32] | None,
        symbols: NDArray[np.float32] | None,
        shape: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        """Pass a step on to the reader."""
        if index is not None:
            self._tap.index(self._number, step.tensor, index)
        return self._reader.code(step, index, symbols, shape)


class Decoder:
    """Decodes a stream on an engine; iterate over it to get :class:`DecodedFrame` objects.

    The file and the engine stay the caller's. Frames come one at a time; memory does not grow
    with their number.
    """

    def __init__(
        self,
        file: BinaryIO,
        engine: Engine,
        *,
        bundle: Bundle | None = None,
        start: int = 0,
        limit: int | None = None,
        resume_at_intra: bool = False,
        tap: DecoderTap | None = None,
    ) -> None:
        """Read the header and find the bundle it names.

        ``start``: number of the first frame to deliver; a seekable file is entered at the intra
        frame before it. ``limit``: deliver at most so many. ``resume_at_intra``: pass over damaged
        packets and go on at the next intra frame; see :attr:`DecodeReport.damage`. ``tap``: is
        shown the scale indices and samples before they are resolved; for measuring drift.

        Raises ``StreamError``, ``BundleError``, ``UsageError``.
        """
        if start < 0 or (limit is not None and limit < 0):
            raise UsageError(f"start {start} and limit {limit} must not be negative")
        self.elapsed = Elapsed()
        self.engine, self._start, self._limit = engine, start, limit
        entry = None
        if start and file.seekable():
            position = file.tell()
            entry = max(
                (e for e in read_index(file).intra if e.frame_number <= start),
                key=lambda e: e.frame_number,
                default=None,
            )
            file.seek(position)
        self._reader = StreamReader(file, resume_at_intra=resume_at_intra)
        self.header = self._reader.header
        self.bundle = bundle or find_bundle(self.header.bundle_digest, self.header.bundle_name)
        self._check_bundle()
        if entry is not None:
            self._reader.seek(entry)
        self.info = VideoInfo(
            width=self.header.width,
            height=self.header.height,
            frame_rate=self.header.frame_rate,
            color=self.header.color,
            chroma=self.header.chroma,
        )
        manifest = self.bundle.manifest
        self._rules = CodingRules(
            manifest.scale_levels.count,
            self.header.skip_level,
            self.header.epsilon,
            self.header.position_coder,
        )
        self._interpreter = Interpreter(
            self.bundle,
            engine,
            manifest.padded(self.header.height, self.header.width),
            self.elapsed,
        )
        self._tables = CodingTables(self.bundle)
        self._plane_converter = converter_for(self.info)
        self._tap = tap
        self._digest = SymbolsDigest()
        self._delivered = 0
        self._carried: Carried | None = None

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Yield frames whose ``rgb`` is the codec's own; see :meth:`frames`."""
        return self.frames()

    def frames(self, *, yuv: bool = False) -> Iterator[DecodedFrame]:
        """Decode and yield frames in order; a further iteration goes on where the last ended.

        ``yuv``: whether it is their ``yuv`` that will be asked for, which is faster then where the
        codec has planes like those of the video. The other is converted from it, rounded twice.
        """
        while self._limit is None or self._delivered < self._limit:
            with self.elapsed.measure("io"):
                packet = self._reader.read()
            if packet is None:
                break
            frame = self._decode(packet, yuv=yuv)
            if packet.frame_number >= self._start:
                self._digest.add(frame.digest)
                self._delivered += 1
                yield frame
        if self._start and not self._delivered and self._limit != 0:
            count = self._reader.index.frame_count
            raise UsageError(f"start is {self._start}, but the stream has {count} frames")

    def report(self) -> DecodeReport:
        """Sum up what has been delivered so far."""
        self.elapsed.stop()
        return DecodeReport(
            frames=self._delivered,
            width=self.header.width,
            height=self.header.height,
            symbols_digest=self._digest.hexdigest(),
            elapsed=self.elapsed,
            damage=list(self._reader.damage),
        )

    def _decode(self, packet: FramePacket, *, yuv: bool) -> DecodedFrame:
        manifest = self.bundle.manifest
        self._check_quality(packet)
        program = manifest.intra if packet.kind is FrameKind.INTRA else manifest.inter
        reader = SymbolReader(
            self._tables,
            self._rules,
            packet,
            self.bundle.manifest.scale_elements(program, self._interpreter.padded),
            str(self.engine.info.spec),
            self.elapsed,
        )
        coder = reader if self._tap is None else _TappedReader(reader, self._tap, packet)
        # Until this frame has proved right there is nothing that the next one may refer to.
        carried, self._carried = self._carried, None
        if carried is None and packet.kind is FrameKind.INTER:
            raise StreamError(
                f"frame {packet.frame_number} refers to one that could not be decoded; go on at "
                "the next intra frame"
            )
        coded = self._interpreter.run(program, coder, packet.quality, carried or {})
        reader.finish()
        # Frames on the way to the first that is delivered take what is cheapest.
        wants_yuv = yuv or packet.frame_number < self._start
        is_plain = packet.pixels is None and self._tap is None
        if wants_yuv and is_plain and coded.has_planes and self._plane_converter is not None:
            make_yuv = partial(self._plane_converter.convert, *coded.planes())
            self._carried = coded.carried
            return DecodedFrame(packet, self.info, yuv=make_yuv)
        return self._decode_rgb(packet, coded)

    def _decode_rgb(self, packet: FramePacket, coded: Reconstruction) -> DecodedFrame:
        output, size = coded.rgb(), (self.header.height, self.header.width)
        if self._tap is not None:
            self._tap.samples(packet.frame_number, sample_index(output, *size))
        self._carried = coded.carried
        if packet.pixels is None:
            make_rgb = partial(frame_from_output, output, *size)
            return DecodedFrame(packet, self.info, rgb=make_rgb)
        exact = self._exact_samples(sample_index(output, *size), packet.frame_number, packet.pixels)
        sync = self.bundle.manifest.sync
        if packet.sync and sync is not None:
            samples = input_from_frame(exact, self._interpreter.padded)
            self._carried = self._interpreter.synchronize(sync, samples)
        return DecodedFrame(packet, self.info, rgb=lambda: exact)

    def _exact_samples(self, index: NDArray[np.float32], number: int, section: bytes) -> Frame:
        """Round samples as the encoder did, with the help of the packet's pixel section."""
        check, side_information = section[:CHECK_SIZE], section[CHECK_SIZE:]
        try:
            with self.elapsed.measure("calibration"):
                planes = decode_levels(
                    index,
                    side_information,
                    levels=SAMPLE_LEVELS,
                    skip_level=-1,
                    epsilon=self.header.pixel_epsilon,
                    coder=self.header.position_coder,
                )
        except DamagedInputError as error:
            raise StreamError(f"frame {number}, samples: {error}") from error
        except CalibrationError as error:
            raise self._pixel_drift(number) from error
        if zlib.crc32(planes.tobytes()).to_bytes(CHECK_SIZE, "little") != check:
            raise self._pixel_drift(number)
        return frame_from_planes(planes)

    def _pixel_drift(self, number: int) -> CalibrationError:
        return CalibrationError(
            f"frame {number}, samples, engine {self.engine.info.spec}: they are not the encoder's, "
            f"so their drift exceeds the stream's pixel epsilon {self.header.pixel_epsilon:.3g}; "
            "encode with a larger --pixel-epsilon, or decode with an engine closer to the encoder's"
        )

    def _check_quality(self, packet: FramePacket) -> None:
        if packet.quality >= self.bundle.manifest.qualities:
            raise StreamError(
                f"frame {packet.frame_number} has quality {packet.quality}, the bundle "
                f"{self.bundle.manifest.qualities}"
            )

    def _check_bundle(self) -> None:
        if self.bundle.digest != self.header.bundle_digest:
            raise BundleError(
                f"the stream was made with bundle {self.header.bundle_name!r}, digest "
                f"{self.header.bundle_digest.hex()[:16]}..., not with {self.bundle.path} "
                f"({self.bundle.name!r}, {self.bundle.digest.hex()[:16]}...)"
            )
        if self.header.sync_interval and self.bundle.manifest.sync is None:
            raise StreamError("the stream has sync frames, but its bundle no sync program")
        if self.header.skip_level > self.bundle.manifest.scale_levels.count - 2:
            raise StreamError(
                f"skip level {self.header.skip_level} is beyond the bundle's "
                f"{self.bundle.manifest.scale_levels.count} scale levels"
            )
