"""What an encoder or decoder reports when it is done."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

from nvc_runtime.codec.elapsed import Elapsed


class SymbolsDigest:
    """One digest over all levels and symbols of a stream: SHA-256 of the frames' digests."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, frame_digest: int) -> None:
        """Add a frame's digest (u32)."""
        self._hash.update(frame_digest.to_bytes(4, "little"))

    def hexdigest(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()


@dataclass(frozen=True)
class EncodeReport:
    """Result of encoding a whole clip.

    ``psnr_rgb_db``: mean of the frames' PSNR. ``jobs``: groups of pictures coded at a time.
    """

    frames: int
    width: int
    height: int
    size_bytes: int
    bits: dict[str, float]
    psnr_rgb_db: float
    symbols_digest: str
    elapsed: Elapsed
    jobs: int = 1

    @property
    def bits_per_pixel(self) -> float:
        """All bits of the stream over all displayed pixels."""
        return 8 * self.size_bytes / max(1, self.frames * self.width * self.height)

    @property
    def fps(self) -> float:
        """Frames per second, input and output included."""
        return self.frames / self.elapsed.total_s if self.elapsed.total_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data; bits are rounded to 1/100."""
        return {
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "bytes": self.size_bytes,
            "bits_per_pixel": round(self.bits_per_pixel, 6),
            "bits": {k: round(v, 2) for k, v in self.bits.items()},
            "psnr_rgb_db": round(self.psnr_rgb_db, 4) if math.isfinite(self.psnr_rgb_db) else None,
            "symbols_digest": self.symbols_digest,
            "jobs": self.jobs,
            "elapsed_s": self.elapsed.to_json(),
            "fps": round(self.fps, 3),
        }


@dataclass(frozen=True)
class DecodeReport:
    """Result of decoding.

    ``damage``: what was wrong with the stream and passed over. ``jobs``: groups of pictures decoded
    at a time.
    """

    frames: int
    width: int
    height: int
    symbols_digest: str
    elapsed: Elapsed
    damage: list[str] = field(default_factory=list)
    jobs: int = 1

    @property
    def fps(self) -> float:
        """Frames per second, input and output included."""
        return self.frames / self.elapsed.total_s if self.elapsed.total_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "symbols_digest": self.symbols_digest,
            "jobs": self.jobs,
            "elapsed_s": self.elapsed.to_json(),
            "fps": round(self.fps, 3),
            "damage": self.damage,
        }
