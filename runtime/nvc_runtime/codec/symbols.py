"""The two ways through a coding step: an encoder writes symbols, a decoder reads them.

Both take the scale index from the same graph on their own engine, resolve it to levels with the
calibration side information, and leave the same symbols behind, with 0 where nothing is coded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib import LevelDecoder, LevelEncoder, PositionCoder
from nvc_errors import CalibrationError, DamagedInputError, EngineError, StreamError
from nvc_runtime.bundle import Bundle, CodeStep
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.entropy import (
    SYMBOL_LIMIT,
    CodedGroups,
    FrameDecoder,
    FrameEncoder,
    StreamTables,
    Tables,
)
from nvc_runtime.stream import FrameKind, FramePacket, StreamHeader


@dataclass(frozen=True)
class CodingRules:
    """How levels are resolved: fixed for a whole stream, by its header."""

    levels: int
    skip_level: int
    epsilon: float
    coder: PositionCoder

    @classmethod
    def of_stream(cls, bundle: Bundle, header: StreamHeader) -> CodingRules:
        """Return the rules of a stream with this header, coded with this bundle."""
        levels = bundle.manifest.scale_levels.count
        return cls(levels, header.skip_level, header.epsilon, header.position_coder)

    def level_encoder(self) -> LevelEncoder:
        """Return what resolves the levels of one frame on the encoder's side."""
        return LevelEncoder(
            levels=self.levels,
            skip_level=self.skip_level,
            epsilon=self.epsilon,
            coder=self.coder,
        )

    def level_decoder(self, side_information: bytes, elements: int) -> LevelDecoder:
        """Return what resolves the levels of one frame of so many elements for a decoder."""
        return LevelDecoder(
            side_information,
            elements,
            levels=self.levels,
            skip_level=self.skip_level,
            epsilon=self.epsilon,
            coder=self.coder,
        )


class CodingTables:
    """The tables of a stream: the bundle's in intra frames, those that learn in inter frames."""

    def __init__(self, bundle: Bundle) -> None:
        steps = (step for step in bundle.manifest.inter.steps if isinstance(step, CodeStep))
        self._fixed = bundle.tables
        self._adaptive = StreamTables({step.tensor: self._fixed[step.tables] for step in steps})

    def of_step(self, step: CodeStep, kind: FrameKind) -> Tables:
        """Return the tables of a coding step."""
        if kind is FrameKind.INTRA:
            return self._fixed[step.tables]
        return self._adaptive.of_step(step.tensor)

    def accept(self, kind: FrameKind, coded: Sequence[CodedGroups]) -> None:
        """Go on after a frame that coded this: learn from it, or after an intra frame forget."""
        if kind is FrameKind.INTRA:
            self._adaptive.reset()
        else:
            self._adaptive.learn(coded)


class SymbolCoder(ABC):
    """Carries out the coding steps of one frame.

    ``index`` is float32 (C, H, W) or None (factorised prior); ``symbols`` float32 (C, H, W), whole
    numbers, on the encoder's side only. Returns float32 (C, H, W), the same on both sides.
    """

    needs_symbols: bool

    @abstractmethod
    def code(
        self,
        step: CodeStep,
        index: NDArray[np.float32] | None,
        symbols: NDArray[np.float32] | None,
        shape: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        """Code one latent part."""


class SymbolWriter(SymbolCoder):
    """The encoder's side; collects what a :class:`FramePacket` needs."""

    needs_symbols = True

    def __init__(
        self, tables: CodingTables, kind: FrameKind, rules: CodingRules, elapsed: Elapsed
    ) -> None:
        self._tables, self._kind, self._rules, self._elapsed = tables, kind, rules, elapsed
        self.entropy = FrameEncoder()
        self.calibration = rules.level_encoder()
        self.section_bits: dict[str, float] = {}

    def code(
        self,
        step: CodeStep,
        index: NDArray[np.float32] | None,
        symbols: NDArray[np.float32] | None,
        shape: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        """Write the symbols of one latent part."""
        if symbols is None or symbols.shape != shape:
            raise EngineError(f"latent {step.tensor!r}: the encoder's graphs gave no {shape}")
        whole = _whole_numbers(symbols)
        before = self.entropy.bits_so_far()
        if index is None:
            with self._elapsed.measure("entropy"):
                tables = self._tables.of_step(step, self._kind)
                self.entropy.encode_factorized(whole, tables)
        else:
            whole = self._code_scale(step, index, whole)
        used = self.entropy.bits_so_far() - before
        self.section_bits[step.section] = self.section_bits.get(step.section, 0.0) + used
        return whole.astype(np.float32)

    def _code_scale(
        self, step: CodeStep, index: NDArray[np.float32], whole: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        rules = self._rules
        with self._elapsed.measure("calibration"):
            levels = self.calibration.encode(index)
        with self._elapsed.measure("entropy"):
            tables = self._tables.of_step(step, self._kind)
            self.entropy.encode_scale(whole, levels, tables, rules.skip_level)
            if rules.skip_level >= 0:
                whole[levels <= rules.skip_level] = 0
        return whole


class SymbolReader(SymbolCoder):
    """The decoder's side; every mismatch names frame, latent, engine and epsilon."""

    needs_symbols = False

    def __init__(
        self,
        tables: CodingTables,
        rules: CodingRules,
        packet: FramePacket,
        scale_elements: int,
        engine_name: str,
        elapsed: Elapsed,
    ) -> None:
        """``scale_elements``: of all latent parts with a scale prior together."""
        self._tables, self._rules, self._packet = tables, rules, packet
        self._engine_name, self._elapsed = engine_name, elapsed
        with self._naming("all"):
            self.entropy = FrameDecoder(packet.payload)
            self._calibration = rules.level_decoder(packet.calibration, scale_elements)

    def code(
        self,
        step: CodeStep,
        index: NDArray[np.float32] | None,
        symbols: NDArray[np.float32] | None,
        shape: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        """Read the symbols of one latent part."""
        del symbols
        with self._naming(step.tensor):
            if index is None:
                with self._elapsed.measure("entropy"):
                    tables = self._tables.of_step(step, self._packet.kind)
                    whole = self.entropy.decode_factorized(shape, tables)
            else:
                whole = self._code_scale(step, index)
        return whole.astype(np.float32)

    def finish(self) -> None:
        """Compare the frame's digest; raise :class:`CalibrationError` if symbols differ.

        The stream's tables then learn from the frame.
        """
        with self._naming("all"), self._elapsed.measure("entropy"):
            self.entropy.finish(expected_digest=self._packet.digest)
            self._tables.accept(self._packet.kind, self.entropy.coded)

    def _code_scale(self, step: CodeStep, index: NDArray[np.float32]) -> NDArray[np.int32]:
        with self._elapsed.measure("calibration"):
            levels = self._calibration.decode(index)
        with self._elapsed.measure("entropy"):
            tables = self._tables.of_step(step, self._packet.kind)
            return self.entropy.decode_scale(levels, tables, self._rules.skip_level)

    def _naming(self, latent: str) -> _Naming:
        return _Naming(self._packet.frame_number, latent, self._engine_name, self._rules)


class _Naming:
    """Adds frame, latent, engine and epsilon to an error, which says the cause, on its way out."""

    def __init__(self, frame: int, latent: str, engine: str, rules: CodingRules) -> None:
        self._frame, self._latent, self._engine, self._rules = frame, latent, engine, rules

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CalibrationError):
            raise CalibrationError(
                f"frame {self._frame}, latent {self._latent!r}, engine {self._engine} (epsilon "
                f"{self._rules.epsilon:.3g}, calibration {self._rules.coder.value}): {error}"
            ) from error
        if isinstance(error, DamagedInputError):
            raise StreamError(f"frame {self._frame}, latent {self._latent!r}: {error}") from error


def _whole_numbers(symbols: NDArray[np.float32]) -> NDArray[np.int32]:
    """Convert; what is far out of range stays so, and the entropy coder refuses it."""
    limit = np.float32(2 * SYMBOL_LIMIT)
    return np.clip(symbols, -limit, limit).astype(np.int32)
