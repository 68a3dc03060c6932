"""Decode the golden streams of ``tests/golden`` on a leg: each must give what is written down."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nvc_calib import compare_indices
from nvc_engines import Engine
from nvc_errors import NvcError, UsageError
from nvc_runtime.bundle import Bundle, find_bundle
from nvc_runtime.codec import Decoder
from nvc_runtime.video import Frame, frame_hash
from platform_trials.trial import index_names
from platform_trials.wrappers import IndexTrace, RecordingEngine, digest_of_trace


@dataclass(frozen=True)
class Vectors:
    """The golden streams, what a decoder must find in them, and those that must fail."""

    folder: Path
    bundle: Bundle
    made_on: Mapping[str, str]
    streams: Mapping[str, Mapping[str, Any]]
    failing: Mapping[str, Mapping[str, Any]]

    def read(self, name: str) -> bytes:
        """Read a stream."""
        return (self.folder / name).read_bytes()


@dataclass
class GoldenDecode:
    """What came of one golden stream on one leg.

    Attributes:
        problem: what is not as it must be; empty if all is.
        frames: decoded RGB frames, uint8 (H, W, 3).
        trace: scale indices by frame.
        epsilon: the stream's bound of drift.
        elapsed_s: time to decode, loading of graphs included.

    """

    name: str
    problem: str = ""
    frames: list[Frame] = field(default_factory=list, repr=False)
    trace: IndexTrace = field(default_factory=dict, repr=False)
    epsilon: float = 0.0
    elapsed_s: float = 0.0

    @property
    def samples_sha256(self) -> str:
        """SHA-256 over all decoded samples."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(np.ascontiguousarray(frame).data)
        return digest.hexdigest()

    @property
    def index_sha256(self) -> str:
        """SHA-256 over the bits of all scale indices."""
        return digest_of_trace(self.trace)


def load_vectors(folder: Path) -> Vectors:
    """Read ``vectors.json`` and find its bundle; raise ``UsageError`` if there is none."""
    try:
        data = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
        named = data["bundle"]
        bundle = find_bundle(bytes.fromhex(named["digest"]), named["name"])
        return Vectors(folder, bundle, data["made_on"], data["streams"], data["failing"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{folder} holds no golden streams: {error}") from error


def decode_golden(vectors: Vectors, name: str, engine: Engine) -> GoldenDecode:
    """Decode one stream and compare digests, and hashes of samples where they are exact."""
    expected = vectors.streams[name]
    recorder = RecordingEngine(engine, index_names(vectors.bundle))
    result = GoldenDecode(name)
    digests = []
    start = time.perf_counter()
    try:
        decoder = Decoder(io.BytesIO(vectors.read(name)), recorder, bundle=vectors.bundle)
        result.epsilon = decoder.header.epsilon
        for frame in decoder:
            recorder.number = frame.number + 1
            digests.append(f"{frame.digest:08x}")
            result.frames.append(frame.rgb)
        symbols_digest = decoder.report().symbols_digest
    except NvcError as error:
        result.problem = f"{type(error).__name__}: {error}"
        return result
    finally:
        result.elapsed_s = time.perf_counter() - start
        result.trace = recorder.trace
    hashes = [frame_hash(frame) for frame in result.frames]
    if digests != expected["frame_digests"] or symbols_digest != expected["symbols_digest"]:
        result.problem = "other symbols than written down"
    elif expected["frame_md5"] not in (None, hashes):
        result.problem = "other samples than written down, although they are exact"
    return result


def decode_failing(vectors: Vectors, name: str, engine: Engine) -> str:
    """Decode a stream that must fail; return what is not as written down, or nothing."""
    expected = vectors.failing[name]
    frames, found = 0, "no error"
    try:
        for _ in Decoder(io.BytesIO(vectors.read(name)), engine, bundle=vectors.bundle):
            frames += 1
    except NvcError as error:
        found = type(error).__name__
    if (found, frames) == (expected["error"], expected["frames_before"]):
        return ""
    return (
        f"{found} after {frames} frames, expected {expected['error']} after "
        f"{expected['frames_before']}"
    )


def largest_drift(one: IndexTrace, other: IndexTrace, levels: int) -> float:
    """Return the largest difference of any scale index that both traces hold."""
    return max(
        (
            compare_indices(
                one[number][name], other[number][name], levels=levels, skip_level=-1
            ).max_difference
            for number in one.keys() & other.keys()
            for name in one[number].keys() & other[number].keys()
        ),
        default=0.0,
    )


def differing_samples(one: list[Frame], other: list[Frame]) -> tuple[int, int]:
    """Return how many samples differ between two decodes, and by how much at most."""
    pairs = list(zip(one, other, strict=False))
    count = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    return count, max((int(np.abs(a.astype(np.int16) - b).max()) for a, b in pairs), default=0)
