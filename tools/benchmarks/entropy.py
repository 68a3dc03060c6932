"""Time the entropy coder alone, on the symbols of a real stream."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib import LevelDecoder
from nvc_engines import Engine
from nvc_runtime.bundle import Bundle, CodeStep, Program
from nvc_runtime.codec import Decoder
from nvc_runtime.codec.symbols import CodingRules, CodingTables
from nvc_runtime.entropy import FrameDecoder, FrameEncoder
from nvc_runtime.stream import FrameKind, FramePacket, StreamReader

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameWork:
    """A frame's payload, and the levels of its scale-prior steps in coding order."""

    packet: FramePacket
    program: Program
    levels: list[Levels]


@dataclass(frozen=True)
class EntropyWork:
    """All that the entropy coder needs to code a stream's symbols, without a network.

    Frames are decoded, and encoded, in order, as tables learn from frame to frame.
    coded: symbols in the stream. elements: those and the skipped ones.
    """

    bundle: Bundle
    skip_level: int
    padded: tuple[int, int]
    frames: list[FrameWork]
    coded: int
    elements: int
    reading: CodingTables
    writing: CodingTables

    def decode(self, frame: FrameWork) -> list[NDArray[np.int32]]:
        """Decode the next of the frames: a symbol array for each coding step."""
        decoder, levels, found = FrameDecoder(frame.packet.payload), iter(frame.levels), []
        for step in _code_steps(frame.program):
            tables = self.reading.of_step(step, frame.packet.kind)
            if step.has_scale_prior:
                found.append(decoder.decode_scale(next(levels), tables, self.skip_level))
            else:
                shape = self.bundle.manifest.tensors[step.tensor].shape(*self.padded)
                found.append(decoder.decode_factorized((shape[1], shape[2], shape[3]), tables))
        decoder.finish(expected_digest=frame.packet.digest)
        self.reading.accept(frame.packet.kind, decoder.coded)
        return found

    def encode(self, frame: FrameWork, symbols: Sequence[NDArray[np.int32]]) -> bytes:
        """Encode what `decode` returned: the frame's payload."""
        encoder, levels = FrameEncoder(), iter(frame.levels)
        for step, array in zip(_code_steps(frame.program), symbols, strict=True):
            tables = self.writing.of_step(step, frame.packet.kind)
            if step.has_scale_prior:
                encoder.encode_scale(array, next(levels), tables, self.skip_level)
            else:
                encoder.encode_factorized(array, tables)
        self.writing.accept(frame.packet.kind, encoder.coded)
        return encoder.finish()


class _LevelsTap:
    """Resolves the scale indices of a decoder to levels, and keeps them by frame."""

    def __init__(self, stream: bytes, bundle: Bundle) -> None:
        reader = StreamReader(io.BytesIO(stream))
        self.header, self.packets = reader.header, list(reader)
        self.padded = bundle.manifest.padded(self.header.height, self.header.width)
        self.found: list[list[Levels]] = [[] for _ in self.packets]
        self._bundle = bundle
        self._decoder: LevelDecoder | None = None

    def index(self, frame_number: int, tensor: str, index: NDArray[np.float32]) -> None:
        """Keep the levels of one step."""
        del tensor
        found, manifest = self.found[frame_number], self._bundle.manifest
        if not found or self._decoder is None:
            packet = self.packets[frame_number]
            intra = packet.kind is FrameKind.INTRA
            program = manifest.intra if intra else manifest.inter
            rules = CodingRules.of_stream(self._bundle, self.header)
            elements = manifest.scale_elements(program, self.padded)
            self._decoder = rules.level_decoder(packet.calibration, elements)
        found.append(self._decoder.decode(index))

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        """Take no notice of samples."""


def work_from_stream(stream: bytes, bundle: Bundle, engine: Engine) -> EntropyWork:
    """Decode a stream once and keep what the entropy coder needs."""
    manifest = bundle.manifest
    tap = _LevelsTap(stream, bundle)
    for _ in Decoder(io.BytesIO(stream), engine, bundle=bundle, tap=tap):
        pass
    programs = {FrameKind.INTRA: manifest.intra, FrameKind.INTER: manifest.inter}
    frames = [
        FrameWork(packet, programs[packet.kind], levels)
        for packet, levels in zip(tap.packets, tap.found, strict=True)
        if packet.kind in programs
    ]
    padded, skip_level = tap.padded, tap.header.skip_level
    elements = coded = sum(
        int(np.prod(manifest.tensors[step.tensor].shape(*padded)))
        for frame in frames
        for step in _code_steps(frame.program)
        if not step.has_scale_prior
    )
    for levels in (array for frame in frames for array in frame.levels):
        elements += levels.size
        coded += int(np.count_nonzero(levels > skip_level))
    reading, writing = CodingTables(bundle), CodingTables(bundle)
    return EntropyWork(bundle, skip_level, padded, frames, coded, elements, reading, writing)


def time_entropy(work: EntropyWork) -> tuple[float, float]:
    """Seconds to decode, and to encode, all frames once; checks that both are exact.

    Frame by frame, as a codec does: the symbols of a frame are gone when the next one begins.
    """
    decoding = encoding = 0.0
    for frame in work.frames:
        start = time.perf_counter()
        symbols = work.decode(frame)
        decoded = time.perf_counter()
        payload = work.encode(frame, symbols)
        encoding += time.perf_counter() - decoded
        decoding += decoded - start
        if payload != frame.packet.payload:
            raise AssertionError("encoding again gave another payload")
    return decoding, encoding


def _code_steps(program: Program) -> list[CodeStep]:
    return [step for step in program.steps if isinstance(step, CodeStep)]
