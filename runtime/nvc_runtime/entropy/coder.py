"""Codes the symbols of a frame: one range coder, one payload, one flush per frame.

The coding steps of a frame's program follow one another in the same payload; encoder and decoder
call the same steps in the same order. Within a step, elements that share a table are coded as one
array, which is what makes this fast. Section 5 of ``docs/bitstream.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from nvc_errors import CalibrationError, EngineError, StreamError
from nvc_runtime.entropy.adaptation import CodedGroups
from nvc_runtime.entropy.digest import FrameDigest
from nvc_runtime.entropy.escape import decode_escapes, encode_escapes
from nvc_runtime.entropy.grouping import groups_from_levels
from nvc_runtime.entropy.payload import shortest_payload, words_from_payload
from nvc_runtime.entropy.tables import SYMBOL_LIMIT, FrequencyTable, Tables

CHECK_BITS = 4
"""Of the digest so far, coded before the symbols of each scale-prior step that has any."""

_half: Any = constriction.stream.model.Uniform(2)
_check: Any = constriction.stream.model.Uniform(1 << CHECK_BITS)


class _FrameCoder:
    """What both sides keep of a frame."""

    def __init__(self) -> None:
        self._digest = FrameDigest()
        self.coded: list[CodedGroups] = []
        """What each step coded that coded anything, for :meth:`StreamTables.learn`."""

    @property
    def digest(self) -> int:
        """Digest of all levels and symbols so far, u32."""
        return self._digest.value

    def _check_of(self, levels_crc: int) -> int:
        """Add a scale-prior step's levels to the digest; return the step's check."""
        self._digest.add_levels(levels_crc)
        return self._digest.value & ((1 << CHECK_BITS) - 1)


class FrameEncoder(_FrameCoder):
    """Writes the entropy payload of one frame."""

    def __init__(self) -> None:
        super().__init__()
        self._coder: Any = constriction.stream.queue.RangeEncoder()

    def encode_scale(
        self,
        symbols: NDArray[np.int32],
        levels: NDArray[np.uint8],
        tables: Tables,
        skip_level: int,
    ) -> None:
        """Code symbols with a scale prior.

        Args:
            symbols: int32, any shape, -2**20..2**20. Where the level is at most `skip_level` the
                symbol is ignored; a decoder gets 0.
            levels: uint8, the same shape.
            tables: one table per level.
            skip_level: -1 (everything is coded)..254.

        Raises:
            ValueError: shapes or types are not as described, or a level has no table.
            EngineError: a symbol is outside its range: no working network produces one.

        """
        if symbols.shape != levels.shape:
            raise ValueError(f"symbols are {symbols.shape}, but levels are {levels.shape}")
        plan = groups_from_levels(levels, skip_level, tables)
        ordered = _checked(symbols).reshape(-1).take(plan.order)
        _check_range(ordered)
        check = self._check_of(plan.crc)
        if not ordered.size:
            return
        self._coder.encode(check, _check)
        self._digest.add_symbols(ordered)
        self.coded.append(CodedGroups(tables, plan.levels, plan.counts, ordered))
        start = 0
        for level, count in zip(plan.levels.tolist(), plan.counts.tolist(), strict=True):
            self._encode_group(ordered[start : start + count], tables[level])
            start += count

    def encode_factorized(self, symbols: NDArray[np.int32], tables: Tables) -> None:
        """Code symbols with a factorised prior.

        Args:
            symbols: int32 (C, H, W), -2**20..2**20.
            tables: C tables, one per channel.

        Raises:
            ValueError: shape or type is not as described.
            EngineError: a symbol is outside its range.

        """
        if symbols.ndim != 3 or symbols.shape[0] != len(tables):
            raise ValueError(f"symbols are {symbols.shape}, expected ({len(tables)}, H, W)")
        channels = np.ascontiguousarray(_checked(symbols)).reshape(symbols.shape[0], -1)
        _check_range(channels)
        self._digest.add_symbols(channels)
        if channels.size:
            groups = _groups_of_channels(channels.shape)
            self.coded.append(CodedGroups(tables, *groups, channels.reshape(-1)))
            for channel, table in zip(channels, tables, strict=True):
                self._encode_group(channel, table)

    def bits_so_far(self) -> float:
        """Information coded so far, in bits; differences give the size of single steps."""
        position, (_, width) = self._coder.pos()
        return float(32 * position + 64 - math.log2(width))

    def finish(self) -> bytes:
        """Return the payload. The encoder stays as it is."""
        position, (lower, width) = self._coder.pos()
        return shortest_payload(self._coder.get_compressed(), position, lower, width)

    def _encode_group(self, symbols: NDArray[np.int32], table: FrequencyTable) -> None:
        """Code one symbol or more with one table."""
        entries = symbols - np.int32(table.offset)
        # Seen as unsigned, symbols below the table are beyond it too.
        unsigned = entries.view(np.uint32)
        if unsigned[unsigned.argmax()] < table.escape:
            self._coder.encode(entries, table.encoding_model)
            return
        escaped = np.flatnonzero(unsigned >= table.escape)
        entries[escaped] = table.escape
        self._coder.encode(entries, table.encoding_model)
        encode_escapes(symbols[escaped], table, self._coder.encode)


class FrameDecoder(_FrameCoder):
    """Reads the entropy payload of one frame.

    Whatever the payload holds, a step returns symbols of the right shape or raises; memory and
    time depend on the shapes asked for, never on the payload.
    """

    def __init__(self, payload: bytes) -> None:
        """Start at the first step.

        Raises:
            StreamError: the payload ends in a zero byte, which no encoder writes.

        """
        if payload[-1:] == b"\0":
            raise StreamError(
                "entropy payload: found a zero byte at its end, expected none; the stream is "
                "damaged or not from a conforming encoder"
            )
        super().__init__()
        self._coder: Any = constriction.stream.queue.RangeDecoder(words_from_payload(payload))
        self._steps = 0
        self._has_levels = False

    def decode_scale(
        self, levels: NDArray[np.uint8], tables: Tables, skip_level: int
    ) -> NDArray[np.int32]:
        """Return the symbols of a scale-prior step: int32, the shape of `levels`.

        Args:
            levels: uint8, any shape.
            tables: one table per level.
            skip_level: -1..254; symbols are 0 where the level is at most this.

        Raises:
            ValueError: an argument is not as described, or a level has no table.
            CalibrationError: the levels are not those of the encoder.

        """
        plan = groups_from_levels(levels, skip_level, tables)
        found = self._check_of(plan.crc)
        symbols = np.zeros(levels.size, dtype=np.int32)
        self._steps += 1
        if not plan.order.size:
            return symbols.reshape(levels.shape)
        self._has_levels = True
        with self._naming_failures():
            expected = int(self._coder.decode(_check))
        if found != expected:
            raise CalibrationError(
                f"coding step {self._steps}: found check {found:#x}, the stream has "
                f"{expected:#x}: this engine drifts by more than the stream's epsilon; "
                "decode with another engine or encode with a larger epsilon"
            )
        ordered = self._decode_groups(tables, plan.levels, plan.counts)
        ordered += tables.offsets[plan.levels].repeat(plan.counts)
        self._digest.add_symbols(ordered)
        self.coded.append(CodedGroups(tables, plan.levels, plan.counts, ordered))
        symbols[plan.order] = ordered
        return symbols.reshape(levels.shape)

    def decode_factorized(self, shape: tuple[int, int, int], tables: Tables) -> NDArray[np.int32]:
        """Return the symbols of a factorised step: int32 (C, H, W).

        Args:
            shape: C, H, W.
            tables: C tables, one per channel.

        Raises:
            ValueError: there are not C tables.
            StreamError: the payload is damaged.
            CalibrationError: levels of a step before are not those of the encoder.

        """
        if len(shape) != 3 or shape[0] != len(tables) or min(shape) < 0:
            raise ValueError(f"shape is {shape}, expected ({len(tables)}, H, W)")
        channels, height, width = shape
        size = height * width
        groups = _groups_of_channels((channels if size else 0, size))
        symbols = self._decode_groups(tables, *groups).reshape(channels, size)
        symbols += tables.offsets[:, np.newaxis]
        self._digest.add_symbols(symbols)
        self.coded.append(CodedGroups(tables, *groups, symbols.reshape(-1)))
        self._steps += 1
        return symbols.reshape(shape)

    def finish(self, *, expected_digest: int | None = None) -> None:
        """Check, after the last step, that the payload ends here too.

        Args:
            expected_digest: the digest in the frame's packet; None to go without.

        Raises:
            CalibrationError: the decoded levels or symbols are not those of the encoder.
            StreamError: the payload goes on.

        """
        if expected_digest is not None and self.digest != expected_digest:
            raise CalibrationError(
                f"frame digest: found {self.digest:#010x}, the stream has {expected_digest:#010x}: "
                "the decoded symbols are not the encoder's; this engine drifts by more than the "
                "stream's epsilon; decode with another engine or encode with a larger epsilon"
            )
        if not self._is_exhausted():
            raise StreamError(
                "entropy payload: found more bytes than the frame's symbols need; the stream is "
                "damaged or was made with another bundle"
            )

    def _decode_groups(
        self, tables: Tables, indices: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Return the symbols of groups, one group after the other, minus their table's offset.

        Args:
            tables: the groups' tables, and maybe others.
            indices: int64 (n,), the table of each group.
            counts: int64 (n,), the symbols of each group, at least 1.

        Returns:
            int32 (sum of `counts`,).

        """
        if not indices.size:
            return np.empty(0, dtype=np.int32)
        chosen, parts, decode = indices.tolist(), [], self._coder.decode
        models = map(tables.decoding_models.__getitem__, chosen)
        escapes = map(tables.escapes.__getitem__, chosen)
        groups = zip(chosen, counts.tolist(), models, escapes, strict=True)
        with self._naming_failures():
            for index, count, model, escape in groups:
                entries = decode(model, count)
                # An escape is the highest entry there is, and argmax is faster than a comparison.
                if entries[entries.argmax()] == escape:
                    table = tables[index]
                    escaped = (entries == table.escape).nonzero()[0]
                    entries[escaped] = decode_escapes(escaped.size, table, decode)
                    entries[escaped] -= table.offset
                parts.append(entries)
        return np.concatenate(parts)

    @contextmanager
    def _naming_failures(self) -> Iterator[None]:
        """Say what it means that the payload cannot be decoded.

        Before the first symbol with a scale prior: damage. Later on it is levels, in a packet
        whose CRC is right.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
            raise
        except BaseException as error:  # a panic in Rust derives from BaseException
            if self._has_levels:
                raise CalibrationError(
                    f"coding step {self._steps}: cannot be decoded ({error}): this engine drifts "
                    "by more than the stream's epsilon; decode with another engine or encode with "
                    "a larger epsilon"
                ) from error
            if isinstance(error, StreamError):
                raise
            raise StreamError(
                f"entropy payload: cannot be decoded ({error}); the stream is damaged or was made "
                "with another bundle"
            ) from error

    def _is_exhausted(self) -> bool:
        """Whether at most one word is unread.

        constriction tells that all words are read only while its state is close to the lower end
        of the interval, and the shortest payload may lie anywhere inside. Halving the interval, on
        a copy, brings the two together before more than one further word is read.
        """
        probe = self._coder.clone()
        for _ in range(33):
            if probe.maybe_exhausted():
                return True
            try:
                probe.decode(_half)
            except AssertionError:
                # The state lies in the sliver of the interval that no further symbol can use.
                return True
        return False


def _groups_of_channels(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Table and symbols of each channel; shape: channels, symbols of each."""
    channels, size = shape
    return np.arange(channels), np.full(channels, size)


def _checked(symbols: NDArray[np.int32]) -> NDArray[np.int32]:
    if symbols.dtype != np.int32:
        raise ValueError(f"symbols are {symbols.dtype}, expected int32")
    return symbols


def _check_range(symbols: NDArray[np.int32]) -> None:
    if symbols.size and not -SYMBOL_LIMIT <= symbols.min() <= symbols.max() <= SYMBOL_LIMIT:
        raise EngineError(
            f"latent: found symbols {int(symbols.min())}..{int(symbols.max())}, expected them "
            f"within {-SYMBOL_LIMIT}..{SYMBOL_LIMIT}; check the engine and the bundle's weights"
        )
