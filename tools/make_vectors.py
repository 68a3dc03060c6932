"""Make the golden streams of tests/golden: streams that must decode for ever, and some that never.

    python tools/make_vectors.py --bundle NAME

Run by hand when a bundle is shipped, never in CI: a golden stream that is made again whenever the
code changes proves nothing. The pictures are computed with integers, so they are the same
everywhere; the streams depend on the engine, and need not be reproducible. ``vectors.json`` holds
what a decoder must find in each of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report_files import run_tool

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_errors import (
    BundleError,
    CalibrationError,
    NvcError,
    StreamError,
    TruncatedStreamError,
    UsageError,
    VerificationError,
)
from nvc_runtime.bundle import Bundle, open_bundle
from nvc_runtime.codec import Decoder, Encoder, EncoderSettings
from nvc_runtime.stream import ExactMode, FramePacket, StreamHeader, StreamReader, StreamWriter
from nvc_runtime.video import ColorSpace, VideoInfo, frame_hash

FORMAT = "nvc-vectors 1"
FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "vectors"
FRAMES = 6
BT709 = ColorSpace(matrix=1, full_range=False, primaries=1, transfer=1)


@dataclass(frozen=True)
class Golden:
    """One stream to make. ``shown``: which of the pattern's pictures its frames are."""

    name: str
    width: int
    height: int
    settings: EncoderSettings
    shown: Sequence[int] = range(FRAMES)


@dataclass(frozen=True)
class Damaged:
    """One stream that must fail: how it is made from the first golden one, and how it fails."""

    name: str
    damage: Callable[[bytes], bytes]
    error: type[NvcError]


def golden_streams(bundle: Bundle) -> list[Golden]:
    """Streams that together use every feature of the format that a bundle allows."""
    best = bundle.manifest.qualities - 1
    pixels = EncoderSettings(exact=ExactMode.PIXELS)
    streams = [
        Golden("default-96x64", 96, 64, EncoderSettings(keyint=3)),
        Golden("pixels-65x49", 65, 49, replace(pixels, keyint=0)),
        Golden(
            "rpc-65x49",
            65,
            49,
            replace(pixels, calibration=PositionCoder.RPC, quality=0, keyint=4),
        ),
        Golden("unskipped-96x64", 96, 64, EncoderSettings(skip_level=-1, quality=best)),
        Golden("repeats-65x49", 65, 49, replace(pixels, keyint=5), (0, 0, 1, 1, 1, 1)),
    ]
    if bundle.manifest.sync is not None:
        streams.append(Golden("sync-65x49", 65, 49, EncoderSettings(sync=2, keyint=0)))
    return streams


def moving_pattern(width: int, height: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """Ramps that move, a square that moves over them, and a little texture.

    Integer arithmetic only. Yields uint8 (height, width, 3).
    """
    y, x = np.mgrid[:height, :width].astype(np.int64)
    for t in range(count):
        texture = ((x * 73_856_093) ^ (y * 19_349_663)) % 13
        ramps = (5 * x + 3 * y + 6 * t, 7 * y - 2 * x + 400 - 4 * t, 3 * (x + y) + 5 * t + 90)
        planes = [_triangle(ramp) * 13 // 16 + texture for ramp in ramps]
        inside = ((x - 5 * t - 8) // 20 == 0) & ((y - 3 * t - 6) // 20 == 0)
        planes = [np.where(inside, 200 - plane // 3, plane) for plane in planes]
        yield np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def _triangle(ramp: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold a ramp to 0..255 and back."""
    folded: NDArray[np.int64] = 255 - np.abs(ramp % 510 - 255)
    return folded


def _rewritten(
    data: bytes,
    header: Callable[[StreamHeader], StreamHeader],
    packet: Callable[[FramePacket], FramePacket] = lambda p: p,
) -> bytes:
    """Write a stream again, with valid CRCs, and something else in it."""
    reader, file = StreamReader(io.BytesIO(data)), io.BytesIO()
    with StreamWriter(file, header(reader.header)) as writer:
        for found in reader:
            writer.write(packet(found))
    return file.getvalue()


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def _wrong_digest(packet: FramePacket) -> FramePacket:
    if packet.frame_number != 2:
        return packet
    return replace(packet, digest=packet.digest ^ 1)


DAMAGED = (
    Damaged("truncated-in-a-packet", lambda d: d[: len(d) // 2], TruncatedStreamError),
    Damaged("truncated-in-the-header", lambda d: d[:50], TruncatedStreamError),
    Damaged("truncated-in-the-trailer", lambda d: d[:-1], TruncatedStreamError),
    Damaged("flipped-bit-in-a-packet", lambda d: _flipped(d, len(d) // 2), StreamError),
    Damaged("flipped-bit-in-the-header", lambda d: _flipped(d, 20), StreamError),
    Damaged("wrong-version", lambda d: d[:8] + b"\x01" + d[9:], StreamError),
    Damaged("transferred-as-text", lambda d: d.replace(b"\r\n", b"\n"), StreamError),
    Damaged("another-file-type", lambda d: b"\0\0\0\x18ftypmp42" + d[12:], StreamError),
    Damaged(
        "unknown-bundle",
        lambda d: _rewritten(d, lambda h: replace(h, bundle_digest=bytes(32))),
        BundleError,
    ),
    Damaged("wrong-levels", lambda d: _rewritten(d, lambda h: h, _wrong_digest), CalibrationError),
)


def make_golden(golden: Golden, bundle: Bundle, engine: Engine) -> tuple[bytes, dict[str, Any]]:
    """Encode a stream, decode it again, and return it with what a decoder must find."""
    info = VideoInfo(golden.width, golden.height, Fraction(25), BT709, "420")
    file = io.BytesIO()
    pictures = list(moving_pattern(golden.width, golden.height, FRAMES))
    frames = [pictures[number] for number in golden.shown]
    report = Encoder(bundle, engine, golden.settings).encode(frames, info, file)
    file.seek(0)
    decoder = Decoder(file, engine, bundle=bundle)
    decoded = list(decoder)
    if decoder.report().symbols_digest != report.symbols_digest:
        raise VerificationError(f"{golden.name}: the decoder found other symbols")
    exact = golden.settings.exact is ExactMode.PIXELS
    expected = {
        "sha256": hashlib.sha256(file.getvalue()).hexdigest(),
        "width": golden.width,
        "height": golden.height,
        "symbols_digest": report.symbols_digest,
        "frame_digests": [f"{frame.digest:08x}" for frame in decoded],
        "frame_md5": [frame_hash(frame.rgb) for frame in decoded] if exact else None,
    }
    return file.getvalue(), expected


def make_damaged(
    damaged: Damaged, golden: bytes, engine: Engine, bundle: Bundle
) -> tuple[bytes, dict[str, Any]]:
    """Damage a stream, and return it with how a decoder must fail."""
    data = damaged.damage(golden)
    frames = 0
    try:
        for _ in Decoder(io.BytesIO(data), engine, bundle=bundle):
            frames += 1
    except NvcError as error:
        if type(error) is not damaged.error:
            raise VerificationError(
                f"{damaged.name}: found {type(error).__name__} ({error}), expected "
                f"{damaged.error.__name__}"
            ) from error
    else:
        raise VerificationError(f"{damaged.name}: decodes without an error")
    return data, {
        "sha256": hashlib.sha256(data).hexdigest(),
        "error": damaged.error.__name__,
        "frames_before": frames,
    }


def make_all(bundle: Bundle, engine: Engine) -> dict[str, bytes]:
    """Make every file of the folder: name -> content."""
    files: dict[str, bytes] = {}
    streams: dict[str, Any] = {}
    failing: dict[str, Any] = {}
    for golden in golden_streams(bundle):
        name = f"{golden.name}.nvc"
        files[name], streams[name] = make_golden(golden, bundle, engine)
    first = next(iter(files.values()))
    for damaged in DAMAGED:
        name = f"bad-{damaged.name}.nvc"
        files[name], failing[name] = make_damaged(damaged, first, engine, bundle)
    vectors = {
        "format": FORMAT,
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "made_on": {"engine": str(engine.info.spec), "version": engine.info.backend_version},
        "streams": streams,
        "failing": failing,
    }
    files["vectors.json"] = json.dumps(vectors, indent=1).encode() + b"\n"
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", help="name or path; default: the shipped one")
    parser.add_argument("--engine", default="ort:cpu", help="encodes; default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, help="default: the bundle's in tests/golden")
    parser.add_argument("-y", "--overwrite", action="store_true", help="replace old vectors")
    options = parser.parse_args(arguments)

    def work() -> int:
        bundle = open_bundle(options.bundle)
        output: Path = options.output or FOLDER / bundle.name
        if (output / "vectors.json").exists() and not options.overwrite:
            raise UsageError(f"{output} holds vectors; give -y to replace them")
        with open_engine(options.engine) as engine:
            files = make_all(bundle, engine)
        output.mkdir(parents=True, exist_ok=True)
        for old in output.glob("*.nvc"):
            old.unlink()
        for name, data in files.items():
            (output / name).write_bytes(data)
            print(f"{len(data):8} {output / name}")
        return 0

    return run_tool("make_vectors", work)


if __name__ == "__main__":
    sys.exit(main())
