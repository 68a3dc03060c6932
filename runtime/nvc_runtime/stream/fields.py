"""Varints and a bounded reader of fields, shared by everything that parses stream bytes."""

from __future__ import annotations

from nvc_errors import StreamError


def pack_varint(value: int) -> bytes:
    """Return `value` >= 0 as LEB128, seven bits a byte, least significant first."""
    if value < 0:
        raise ValueError(f"varint: found {value}, expected at least 0")
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


class FieldReader:
    """Takes fields from the front of bytes, and never reads beyond their end.

    Every method raises ``StreamError`` if the field is not all there or not valid.
    """

    def __init__(self, data: bytes, what: str) -> None:
        """Read `data`; `what` names it in messages."""
        self._data = data
        self._what = what
        self._position = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes not yet taken."""
        return len(self._data) - self._position

    def take(self, size: int, field: str) -> bytes:
        """Return the next `size` bytes."""
        if size > self.remaining:
            raise StreamError(
                f"{self._what}: {field} takes {size} bytes, but {self.remaining} are left; "
                "the stream is damaged"
            )
        self._position += size
        return self._data[self._position - size : self._position]

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self.remaining, "rest")

    def integer(self, size: int, field: str) -> int:
        """Return the next `size` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(size, field), "little")

    def varint(self, maximum: int, field: str) -> int:
        """Return the next varint, 0..maximum."""
        value, shift = 0, 0
        while True:
            byte = self.integer(1, field)
            value |= (byte & 0x7F) << shift
            if value > maximum or (byte == 0 and shift > 0):
                raise StreamError(
                    f"{self._what}: {field} is not a shortest varint of at most {maximum}; "
                    "the stream is damaged"
                )
            if byte < 0x80:
                return value
            shift += 7
            if 1 << shift > maximum:
                raise StreamError(
                    f"{self._what}: {field} is longer than a varint of at most {maximum}; "
                    "the stream is damaged"
                )

    def section(self, maximum: int, field: str) -> bytes:
        """Return the bytes of a section: a varint length and its content."""
        return self.take(self.varint(maximum, f"length of {field}"), field)
