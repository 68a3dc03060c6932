"""Encode and decode in processes: what they open, and what takes the codec's place here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from nvc_errors import BundleError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import (
    DecodedFrame,
    Decoder,
    Elapsed,
    EncodedPacket,
    Encoder,
    EncoderSettings,
    PacketDecoder,
    PacketTask,
    SourceFrame,
)
from nvc_runtime.codec.decoder import DecodePackets
from nvc_runtime.codec.encoder import EncodeFrames
from nvc_runtime.groups.jobs import EngineOfJob
from nvc_runtime.groups.pool import GroupPool
from nvc_runtime.stream import FrameKind, StreamHeader
from nvc_runtime.video import VideoInfo

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def decoding_in_processes(decoder: Decoder, jobs: int) -> Iterator[DecodePackets]:
    """Give what :meth:`Decoder.frames` takes to decode so many groups of pictures side by side.

    A decoder may start at any intra frame, so here each begins a group. A frame's samples are
    worked out before it arrives. What opening and running engines raises comes out of the frames.
    """
    engine = EngineOfJob.like(decoder.engine, jobs)
    open_work = partial(_open_decoding, engine, _SameBundle.of(decoder.bundle), decoder.header)
    with GroupPool(jobs, open_work, _is_intra) as pool:
        yield partial(_timed, pool)


@contextmanager
def encoding_in_processes(encoder: Encoder, info: VideoInfo, jobs: int) -> Iterator[EncodeFrames]:
    """Give what :meth:`Encoder.encode` takes to encode so many groups of pictures side by side.

    The stream is that of one job, if the engine's results do not depend on its threads.
    """
    engine = EngineOfJob.like(encoder.engine, jobs)
    bundle = _SameBundle.of(encoder.bundle)
    open_work = partial(_open_encoding, engine, bundle, encoder.settings, info)
    with GroupPool(jobs, open_work, _starts_group) as pool:
        yield partial(_timed, pool)


class _SameBundle(NamedTuple):
    """Where a bundle lies, and that it is still the one that was opened."""

    path: Path
    digest: bytes

    @classmethod
    def of(cls, bundle: Bundle) -> _SameBundle:
        return cls(bundle.path, bundle.digest)

    def open(self) -> Bundle:
        """Open the bundle again; raise ``BundleError`` if it has been replaced."""
        bundle = Bundle(self.path)
        if bundle.digest != self.digest:
            raise BundleError(f"{self.path}: has been replaced since it was opened; open it again")
        return bundle


def _timed(
    pool: GroupPool[Item, tuple[Result, Elapsed]], items: Iterable[Item], elapsed: Elapsed
) -> Iterator[Result]:
    for result, spent in pool(items):
        elapsed.add(spent)
        yield result


def _is_intra(task: PacketTask) -> bool:
    return task.packet.kind is FrameKind.INTRA


def _starts_group(source: SourceFrame) -> bool:
    return source.starts_group


@contextmanager
def _open_decoding(
    engine_of_job: EngineOfJob, bundle: _SameBundle, header: StreamHeader
) -> Iterator[Callable[[PacketTask], tuple[DecodedFrame, Elapsed]]]:
    with engine_of_job.open() as engine:
        elapsed = Elapsed()
        decoder = PacketDecoder(bundle.open(), engine, header, elapsed)

        def decode(task: PacketTask) -> tuple[DecodedFrame, Elapsed]:
            frame = decoder.decode(task)
            return frame if task.shown else frame.without_samples(), elapsed.take()

        yield decode


@contextmanager
def _open_encoding(
    engine_of_job: EngineOfJob, bundle: _SameBundle, settings: EncoderSettings, info: VideoInfo
) -> Iterator[Callable[[SourceFrame], tuple[EncodedPacket, Elapsed]]]:
    with engine_of_job.open() as engine:
        elapsed = Elapsed()
        encoder = Encoder(bundle.open(), engine, settings).packet_encoder(info, elapsed)

        def encode(source: SourceFrame) -> tuple[EncodedPacket, Elapsed]:
            encoded = encoder.encode(source)
            return encoded, elapsed.take()

        yield encode
