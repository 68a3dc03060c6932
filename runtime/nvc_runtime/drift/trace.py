"""Traces: what one engine computed while decoding a stream, for comparison elsewhere.

A trace is one safetensors file. It embeds the stream, so that another machine needs nothing but
the trace and the bundle. Of every scale index tensor it keeps a CRC-32 of all elements and evenly
spread samples; of some frames (the first two and every ``full_every``-th) it
keeps the tensors whole. Of the samples before rounding it keeps evenly spread ones.

Arrays: ``stream`` u8; ``F.T.index`` f32 and ``F.T.crc`` u32 for frame F and coding step T;
``F.samples`` f32. The metadata (key ``nvc-trace``) is JSON, see :class:`TraceInfo`.
"""

from __future__ import annotations

import io
import json
import sys
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nvc_engines import Engine, EngineInfo
from nvc_errors import DamagedInputError, StreamError, UsageError, VerificationError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder
from nvc_runtime.video.target import temporary_beside

METADATA_KEY = "nvc-trace"
FORMAT_VERSION = 1
SAMPLED_ELEMENTS = 4096
MAX_STREAM_BYTES = 1 << 28


@dataclass(frozen=True)
class TraceInfo:
    """What a trace was recorded from and on.

    engine: name, library version, device, precision flags. frame_digests: u32 of every frame.
    error: why recording stopped early, or None. full_every: see the module's text.
    """

    format_version: int
    bundle: str
    bundle_digest: str
    engine: Mapping[str, str]
    levels: int
    skip_level: int
    epsilon: float
    full_every: int
    intra_frames: tuple[int, ...]
    frame_digests: tuple[int, ...]
    error: str | None


class Trace:
    """A recorded or loaded trace."""

    def __init__(self, info: TraceInfo, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.info, self._arrays = info, arrays

    @property
    def stream(self) -> bytes:
        """The stream that was decoded."""
        return self._arrays["stream"].tobytes()

    @property
    def frames(self) -> int:
        """How many frames were recorded."""
        return len(self.info.frame_digests)

    def tensors(self, frame: int) -> list[str]:
        """List the coding steps recorded for a frame, in the order of their names."""
        start = f"{frame:06d}."
        return sorted(
            k[len(start) : -len(".index")]
            for k in self._arrays
            if k.startswith(start) and k.endswith(".index")
        )

    def index(self, frame: int, tensor: str) -> NDArray[np.float32]:
        """Return the recorded elements of a scale index tensor, flat float32."""
        found: NDArray[np.float32] = self._arrays[f"{frame:06d}.{tensor}.index"]
        return found

    def crc(self, frame: int, tensor: str) -> int:
        """Return the CRC-32 over every element of a scale index tensor, recorded or not."""
        return int(self._arrays[f"{frame:06d}.{tensor}.crc"][0])

    def samples(self, frame: int) -> NDArray[np.float32]:
        """Return the recorded sample indices 255 x + 1/2, flat float32."""
        found: NDArray[np.float32] = self._arrays[f"{frame:06d}.samples"]
        return found

    def save(self, path: Path) -> None:
        """Write the trace under a fresh temporary name beside ``path``, and rename it."""
        temporary = temporary_beside(path)
        try:
            save_file(
                dict(self._arrays),
                temporary,
                metadata={METADATA_KEY: json.dumps(asdict(self.info))},
            )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load_trace(path: Path) -> Trace:
    """Read a trace; raise :class:`DamagedInputError` if it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        data = json.loads(text or "null")
        if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
            raise DamagedInputError(f"{path} is no trace of format version {FORMAT_VERSION}")
        for key in ("intra_frames", "frame_digests"):
            data[key] = tuple(data[key])
        info = TraceInfo(**data)
        if "stream" not in arrays:
            raise DamagedInputError(f"{path} is no trace: it holds no stream")
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, DamagedInputError):
            raise
        raise DamagedInputError(f"{path} is no readable trace: {error}") from error
    return Trace(info, arrays)


def read_stream(source: str) -> bytes:
    """Read a stream from a file, or from standard input if ``source`` is ``-``."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_STREAM_BYTES + 1)
    except OSError as error:
        raise StreamError(f"{source}: {error.strerror}") from error
    if len(data) > MAX_STREAM_BYTES:
        raise UsageError(f"{source}: a trace embeds at most {MAX_STREAM_BYTES >> 20} MiB of stream")
    return data


def record_trace(
    stream: bytes,
    engine: Engine,
    *,
    bundle: Bundle | None = None,
    full_every: int = 16,
    limit: int | None = None,
) -> Trace:
    """Decode ``stream`` on ``engine`` and record what it computes.

    If the engine drifts by more than the stream's epsilon, recording stops at that frame and the
    trace says why in ``info.error``.
    """
    recorder = _Recorder(full_every)
    decoder = Decoder(io.BytesIO(stream), engine, bundle=bundle, limit=limit, tap=recorder)
    digests: list[int] = []
    intra: list[int] = []
    error: str | None = None
    try:
        for frame in decoder:
            digests.append(frame.digest)
            if frame.kind.name == "INTRA":
                intra.append(frame.number)
    except VerificationError as failure:
        error = str(failure)
    header = decoder.header
    info = TraceInfo(
        format_version=FORMAT_VERSION,
        bundle=decoder.bundle.name,
        bundle_digest=decoder.bundle.digest.hex(),
        engine=describe_engine(engine.info),
        levels=decoder.bundle.manifest.scale_levels.count,
        skip_level=header.skip_level,
        epsilon=header.epsilon,
        full_every=full_every,
        intra_frames=tuple(intra),
        frame_digests=tuple(digests),
        error=error,
    )
    arrays = recorder.arrays
    arrays["stream"] = np.frombuffer(stream, np.uint8)
    return Trace(info, arrays)


def describe_engine(info: EngineInfo) -> dict[str, str]:
    """Plain data about an engine."""
    return {
        "spec": str(info.spec),
        "version": info.backend_version,
        "device": info.device_name,
        "precision": info.precision,
        "threads": str(info.threads),
    } | {f"flag.{key}": value for key, value in info.flags.items()}


class _Recorder:
    """The tap that fills a trace's arrays."""

    def __init__(self, full_every: int) -> None:
        self.full_every = full_every
        self.arrays: dict[str, NDArray[Any]] = {}

    def index(self, frame_number: int, tensor: str, index: NDArray[np.float32]) -> None:
        """Keep the tensor or samples of it, and its CRC-32."""
        name = f"{frame_number:06d}.{tensor}"
        whole = frame_number < 2 or frame_number % self.full_every == 0
        self.arrays[f"{name}.index"] = index.reshape(-1).copy() if whole else spread(index)
        crc = zlib.crc32(np.ascontiguousarray(index).tobytes())
        self.arrays[f"{name}.crc"] = np.array([crc], np.uint32)

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        """Keep evenly spread samples."""
        self.arrays[f"{frame_number:06d}.samples"] = spread(index)


def spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return at most SAMPLED_ELEMENTS evenly spread elements, the same for every engine."""
    flat = values.reshape(-1)
    step = max(1, -(-flat.size // SAMPLED_ELEMENTS))
    return flat[::step].copy()
