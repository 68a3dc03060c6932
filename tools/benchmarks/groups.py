"""Time files with one group of pictures at a time and with several, in turn."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from nvc_engines import Engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Encoder, EncoderSettings
from nvc_runtime.files import decode_file, encode_file


@dataclass
class GroupRates:
    """Frames per second of each run, by jobs: file to file, starting processes included."""

    frames: int
    encode: dict[int, list[float]] = field(default_factory=dict)
    decode: dict[int, list[float]] = field(default_factory=dict)


def time_groups(
    bundle: Bundle,
    engine: Engine,
    settings: EncoderSettings,
    clip: Path,
    *,
    jobs: int,
    repeats: int,
) -> GroupRates:
    """Encode two groups of pictures a job, and decode them, each with one job and with ``jobs``.

    Raises ``UsageError`` if the clip is too short or one job is all there can be, and
    ``AssertionError`` if symbols differ.
    """
    encoder = Encoder(bundle, engine, settings)
    if jobs < 2 or not encoder.keyint:
        raise UsageError(
            "--jobs must be at least 2 and --keyint at least 1 to compare with one job"
        )
    rates = GroupRates(2 * jobs * encoder.keyint)
    choices = (1, jobs)
    with tempfile.TemporaryDirectory() as folder:
        stream, video = str(Path(folder) / "clip.nvc"), str(Path(folder) / "clip.y4m")
        digests = set()
        for _ in range(repeats):
            for number in choices:
                encoded = encode_file(
                    str(clip), stream, encoder, limit=rates.frames, jobs=number, overwrite=True
                )
                if encoded.frames < rates.frames:
                    raise UsageError(
                        f"{clip} has {encoded.frames} frames, expected at least {rates.frames} for "
                        f"two groups of pictures for each of {jobs} jobs"
                    )
                rates.encode.setdefault(number, []).append(encoded.fps)
                digests.add(encoded.symbols_digest)
        for _ in range(repeats):
            for number in choices:
                decoded = decode_file(
                    stream, video, engine, bundle=bundle, jobs=number, overwrite=True
                )
                rates.decode.setdefault(number, []).append(decoded.fps)
                digests.add(decoded.symbols_digest)
        if len(digests) != 1:
            raise AssertionError("one job found other symbols than several")
    return rates
