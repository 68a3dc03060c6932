"""Decode the packets of a stream, one after the other, to frames."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nvc_calib import decode_levels
from nvc_engines import Engine
from nvc_errors import CalibrationError, DamagedInputError, StreamError
from nvc_runtime.bundle import Bundle, CodeStep
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.interpreter import Carried, Interpreter, Reconstruction
from nvc_runtime.codec.planes import converter_for
from nvc_runtime.codec.samples import (
    SAMPLE_LEVELS,
    Frame,
    frame_from_output,
    frame_from_planes,
    input_from_frame,
    sample_index,
)
from nvc_runtime.codec.symbols import CodingRules, CodingTables, SymbolCoder, SymbolReader
from nvc_runtime.stream import FrameKind, FramePacket, StreamHeader
from nvc_runtime.video import Planes, VideoInfo
from nvc_runtime.video.yuv import YuvConverter

CHECK_SIZE = 4
"""Bytes of the CRC-32 at the start of a pixel section."""


class PacketTask(NamedTuple):
    """A packet to decode.

    ``yuv``: whether the frame's ``yuv`` will be asked for, as in :meth:`Decoder.frames`. ``shown``:
    whether any samples will be; those on the way to the first frame that is delivered are not.
    """

    packet: FramePacket
    yuv: bool
    shown: bool = True


class DecodedFrame:
    """One decoded frame; ``digest`` covers its levels and symbols (u32).

    Samples are worked out when first asked for, by the thread that asks.
    """

    def __init__(
        self,
        number: int,
        kind: FrameKind,
        digest: int,
        info: VideoInfo,
        *,
        rgb: Callable[[], Frame] | None = None,
        yuv: Callable[[], Planes] | None = None,
    ) -> None:
        """Keep what is known of the frame, and a function that makes one kind of its samples."""
        self.number, self.kind, self.digest = number, kind, digest
        self._info, self._make_rgb, self._make_yuv = info, rgb, yuv

    @cached_property
    def rgb(self) -> Frame:
        """The samples, uint8 (H, W, 3); a repeat may share them with the frame it repeats."""
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

    def without_samples(self) -> DecodedFrame:
        """Return the frame for somebody who asks for none."""
        return DecodedFrame(self.number, self.kind, self.digest, self._info)

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the samples that the codec made, worked out here."""
        if self._make_rgb is not None:
            _ = self.rgb
        elif self._make_yuv is not None:
            _ = self.yuv
        return self.__dict__ | {"_make_rgb": None, "_make_yuv": None}

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


@dataclass
class _State:
    """What a decoded frame leaves behind.

    ``carried``: for the next inter frame. ``coded``: its picture, and ``exact`` its samples if they
    are the encoder's. ``frame``: as it was shown first, from planes if ``is_yuv``.
    """

    carried: Carried
    coded: Reconstruction
    exact: Frame | None = None
    frame: DecodedFrame | None = None
    is_yuv: bool = False


class PacketDecoder:
    """What a decoder carries from frame to frame, on one engine.

    One that has seen nothing of a stream can start at any intra frame.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        header: StreamHeader,
        elapsed: Elapsed,
        *,
        tap: DecoderTap | None = None,
    ) -> None:
        """Make ready for the packets of a stream with this header; the bundle is the one it names.

        ``elapsed``: where time is added. ``tap``: see :class:`Decoder`.
        """
        self.bundle, self.engine, self.header = bundle, engine, header
        self.info = VideoInfo(
            width=header.width,
            height=header.height,
            frame_rate=header.frame_rate,
            color=header.color,
            chroma=header.chroma,
        )
        manifest = bundle.manifest
        self._rules = CodingRules.of_stream(bundle, header)
        self._elapsed = elapsed
        self._interpreter = Interpreter(
            bundle, engine, manifest.padded(header.height, header.width), elapsed
        )
        self._tables = CodingTables(bundle)
        self._plane_converter = converter_for(self.info)
        self._tap = tap
        self._size = (header.height, header.width)
        self._state: _State | None = None

    def decode(self, task: PacketTask) -> DecodedFrame:
        """Decode the packet that follows the last one, or any of an intra frame.

        Raises ``StreamError``, ``CalibrationError`` and ``EngineError``.
        """
        packet = task.packet
        self._check_quality(packet)
        # Until this frame has proved right there is nothing that the next one may refer to.
        state, self._state = self._state, None
        if packet.kind is FrameKind.REPEAT:
            state = _known(state, packet)
        else:
            intra = packet.kind is FrameKind.INTRA
            carried = {} if intra else _known(state, packet).carried
            state = None  # What was shown before it takes memory for nothing.
            state = self._code(packet, carried)
        frame = self._show(task, state)
        self._state = state
        return frame

    def _code(self, packet: FramePacket, carried: Carried) -> _State:
        """Decode a packet's symbols and the picture they make."""
        manifest = self.bundle.manifest
        program = manifest.intra if packet.kind is FrameKind.INTRA else manifest.inter
        reader = SymbolReader(
            self._tables,
            self._rules,
            packet,
            manifest.scale_elements(program, self._interpreter.padded),
            str(self.engine.info.spec),
            self._elapsed,
        )
        coder = reader if self._tap is None else _TappedReader(reader, self._tap, packet)
        coded, carried = self._interpreter.run(program, coder, packet.quality, carried)
        reader.finish()
        if packet.pixels is None:
            return _State(carried, coded)
        index = sample_index(coded.rgb(), *self._size)
        if self._tap is not None:
            self._tap.samples(packet.frame_number, index)
        exact = self._exact_samples(index, packet.frame_number, packet.pixels)
        if packet.sync and manifest.sync is not None:
            samples = input_from_frame(exact, self._interpreter.padded)
            carried = self._interpreter.synchronize(manifest.sync, samples)
        return _State(carried, coded, exact)

    def _show(self, task: PacketTask, state: _State) -> DecodedFrame:
        """Make a packet's frame of a picture: the one it has decoded, or that before."""
        packet, coded, last = task.packet, state.coded, state.frame
        in_rgb = not task.yuv or state.exact is not None or self._tap is not None
        converter = None if in_rgb or not coded.has_planes else self._plane_converter
        is_yuv = converter is not None
        if last is not None and state.is_yuv is is_yuv and self._tap is None:
            if is_yuv:
                return self._frame(packet, yuv=lambda: last.yuv)
            return self._frame(packet, rgb=lambda: last.rgb)
        if converter is None:
            frame = self._frame(packet, rgb=self._make_rgb(packet, state))
        else:
            frame = self._frame(packet, yuv=partial(converter.convert, *coded.planes()))
        state.frame, state.is_yuv = frame, is_yuv
        return frame

    def _make_rgb(self, packet: FramePacket, state: _State) -> Callable[[], Frame]:
        """Return what makes a frame's samples; a tap is shown those it has not seen yet."""
        tap, exact = self._tap, state.exact
        is_seen = tap is None or packet.pixels is not None
        if exact is not None and is_seen:
            return lambda: exact
        output = state.coded.rgb()
        if tap is not None and not is_seen:
            tap.samples(packet.frame_number, sample_index(output, *self._size))
        return partial(frame_from_output, output, *self._size) if exact is None else lambda: exact

    def _frame(
        self,
        packet: FramePacket,
        *,
        rgb: Callable[[], Frame] | None = None,
        yuv: Callable[[], Planes] | None = None,
    ) -> DecodedFrame:
        number, kind, digest = packet.frame_number, packet.kind, packet.digest
        return DecodedFrame(number, kind, digest, self.info, rgb=rgb, yuv=yuv)

    def _exact_samples(self, index: NDArray[np.float32], number: int, section: bytes) -> Frame:
        """Round samples as the encoder did, with the help of the packet's pixel section."""
        check, side_information = section[:CHECK_SIZE], section[CHECK_SIZE:]
        try:
            with self._elapsed.measure("calibration"):
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


def _known(state: _State | None, packet: FramePacket) -> _State:
    """Return what a packet refers to; raise :class:`StreamError` if it is not there."""
    if state is None:
        raise StreamError(
            f"frame {packet.frame_number} refers to one that could not be decoded; go on at the "
            "next intra frame"
        )
    return state
