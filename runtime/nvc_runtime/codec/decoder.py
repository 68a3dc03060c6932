"""Decode a stream to frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias

from nvc_engines import Engine
from nvc_errors import BundleError, StreamError, UsageError
from nvc_runtime.bundle import Bundle, find_bundle
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.packet_decoder import (
    DecodedFrame,
    DecoderTap,
    PacketDecoder,
    PacketTask,
)
from nvc_runtime.codec.reports import DecodeReport, SymbolsDigest
from nvc_runtime.stream import StreamReader, read_index

DecodePackets: TypeAlias = Callable[[Iterator[PacketTask], Elapsed], Iterator[DecodedFrame]]
"""Turns the packets of a stream into its frames, in order, and adds the time that it takes."""


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
        self._tap = tap
        self._packets = PacketDecoder(self.bundle, engine, self.header, self.elapsed, tap=tap)
        self.info = self._packets.info
        self._digest = SymbolsDigest()
        self._delivered = 0

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Yield frames whose ``rgb`` is the codec's own; see :meth:`frames`."""
        return self.frames()

    def frames(
        self, *, yuv: bool = False, decode: DecodePackets | None = None
    ) -> Iterator[DecodedFrame]:
        """Decode and yield frames in order; a further iteration goes on where the last ended.

        ``yuv``: whether it is their ``yuv`` that will be asked for, which is faster then where the
        codec has planes like those of the video. The other is converted from it, rounded twice.
        ``decode``: decodes in place of this decoder's engine, as :mod:`nvc_runtime.groups` does in
        several processes; it reads ahead, so there is no further iteration if this one is left.
        """
        if decode is not None and self._tap is not None:
            raise UsageError("a tap sees what this decoder's own engine computes, and no other")
        tasks = self._read(yuv=yuv)
        for frame in (
            map(self._packets.decode, tasks) if decode is None else decode(tasks, self.elapsed)
        ):
            if frame.number >= self._start:
                self._digest.add(frame.digest)
                self._delivered += 1
                yield frame
        if self._start and not self._delivered and self._limit != 0:
            if self._reader.damage:
                raise StreamError(f"no frame from {self._start} on: {self._reader.damage[-1]}")
            count = self._reader.index.frame_count
            raise UsageError(f"start is {self._start}, but the stream has {count} frames")

    def _read(self, *, yuv: bool) -> Iterator[PacketTask]:
        """Read the packets of all frames that are delivered, and of those they refer to."""
        wanted = self._limit if self._limit is None else self._limit - self._delivered
        while wanted is None or wanted > 0:
            with self.elapsed.measure("io"):
                packet = self._reader.read()
            if packet is None:
                return
            shown = packet.frame_number >= self._start
            if wanted is not None and shown:
                wanted -= 1
            # Frames on the way to the first that is delivered take what is cheapest.
            yield PacketTask(packet, yuv or not shown, shown)

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
