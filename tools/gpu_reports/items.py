"""The measurements: golden streams, drift against a CPU, and speed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import ACTIVITIES, BESIDE, TimedBundle, TimedEngine, spread_of
from benchmarks.coding import Sample, time_decoding
from platform_trials.golden import (
    GoldenDecode,
    Vectors,
    decode_failing,
    decode_golden,
    differing_samples,
    largest_drift,
)
from platform_trials.trial import Decoding, Stream, decode_stream, index_names
from platform_trials.wrappers import IndexTrace, RecordingEngine

from gpu_reports.clocks import ClockedEngine, FrameClock, frame_medians
from gpu_reports.engines import forget_memory_peak, memory_facts, open_reported, runtime_facts
from gpu_reports.prepared import Prepared
from nvc_engines import Engine
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder, Elapsed, EncodeReport
from nvc_runtime.drift.trace import describe_engine
from nvc_runtime.stream import StreamReader
from nvc_runtime.video import Frame

NO_OUTPUT = Path("null")
COLD_FRAMES = 2
"""The first intra and the first inter frame of a decoder load graphs."""
Opener = Callable[[], Engine]


class Reference:
    """What another engine makes of the same streams, worked out once."""

    def __init__(self, engine_name: str) -> None:
        self.engine_name = engine_name
        self._golden: dict[tuple[Path, str], GoldenDecode] = {}
        self._streams: dict[str, tuple[IndexTrace, list[Frame]]] = {}

    def golden(self, vectors: Vectors) -> Mapping[str, GoldenDecode]:
        """Decode the golden streams of a folder."""
        with open_reported(self.engine_name, vectors.bundle.name) as engine:
            for name in vectors.streams:
                if (vectors.folder, name) not in self._golden:
                    self._golden[vectors.folder, name] = decode_golden(vectors, name, engine)
        return {name: self._golden[vectors.folder, name] for name in vectors.streams}

    def stream(
        self, prepared: Prepared, bundle: Bundle, data: bytes
    ) -> tuple[IndexTrace, list[Frame]]:
        """Decode a prepared stream; raise what a decoder raises."""
        if prepared.name not in self._streams:
            with open_reported(self.engine_name, bundle.name) as engine:
                recorder = RecordingEngine(engine, index_names(bundle))
                frames = []
                for frame in Decoder(io.BytesIO(data), recorder, bundle=bundle):
                    recorder.number = frame.number + 1
                    frames.append(frame.rgb)
            self._streams[prepared.name] = recorder.trace, frames
        return self._streams[prepared.name]


def measure_golden(vectors: Vectors, engine: Engine, reference: Reference) -> dict[str, Any]:
    """Decode every golden stream, and those that must fail."""
    expected = reference.golden(vectors)
    levels = vectors.bundle.manifest.scale_levels.count
    streams = []
    for name in vectors.streams:
        decode = decode_golden(vectors, name, engine)
        differing, largest = differing_samples(expected[name].frames, decode.frames)
        streams.append(
            {
                "name": name,
                "problem": decode.problem,
                "reference_problem": expected[name].problem,
                "frames": len(decode.frames),
                "samples_are_exact": vectors.streams[name]["frame_md5"] is not None,
                "max_index_difference": largest_drift(expected[name].trace, decode.trace, levels),
                "epsilon": decode.epsilon,
                "samples": sum(frame.size for frame in decode.frames),
                "differing_samples": differing,
                "largest_sample_difference": largest,
                "elapsed_s": round(decode.elapsed_s, 3),
            }
        )
    failing = {name: decode_failing(vectors, name, engine) for name in vectors.failing}
    good = not any(stream["problem"] for stream in streams) and not any(failing.values())
    return {
        "good": good,
        "streams": streams,
        "failing": failing,
        "max_index_difference": max(s["max_index_difference"] for s in streams),
    }


def measure_drift(
    prepared: Prepared, folder: Path, bundle: Bundle, engine: Engine, reference: Reference
) -> dict[str, Any]:
    """Compare all scale indices of a stream with the reference; count frames that come out wrong.

    A frame that fails takes those up to the next intra frame with it.
    """
    data = prepared.stream(folder)
    trace, shown = reference.stream(prepared, bundle, data)
    result = decode_stream(bundle, engine, _stream(prepared, data, trace, shown))
    without = None
    if prepared.has_uncalibrated(folder):
        plain = prepared.stream(folder, calibrated=False)
        stream = _stream(prepared, plain, {}, [])
        without = _failures(prepared, decode_stream(bundle, engine, stream))
    epsilon = prepared.epsilon
    return {
        "epsilon": epsilon,
        "within_epsilon": result.total_drift.max_difference <= epsilon if result.drift else None,
        "max_difference": result.total_drift.max_difference if result.drift else None,
        "tensors": {
            name: {
                "max_difference": drift.max_difference,
                "mean_difference": drift.mean_difference,
                "elements": drift.elements,
                "coded_flips": drift.coded_flips,
            }
            for name, drift in result.drift.items()
        },
        "max_difference_by_frame": [
            result.drift_by_frame[n] for n in sorted(result.drift_by_frame)
        ],
        "calibrated": _failures(prepared, result),
        "uncalibrated": without,
        "samples": result.samples,
        "differing_samples": result.differing,
        "largest_sample_difference": result.largest,
    }


def measure_speed(
    prepared: Prepared,
    folder: Path,
    bundle_path: Path,
    open_it: Opener,
    repeats: int,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Time decoding: the first start, a second one, warm runs, and each graph on its own.

    ``progress`` is shown the result as it grows.
    """
    data = prepared.stream(folder)
    result: dict[str, Any] = {"frames": prepared.frames, "starts": []}
    samples: list[Sample] = []
    forget_memory_peak()
    # The second start finds what the first has saved beside the plans.
    for last in (False, True):
        start = time.perf_counter()
        bundle = TimedBundle(bundle_path)
        inner = open_it()
        opened_s = time.perf_counter() - start
        with inner:
            engine = TimedEngine(inner)
            first, report = time_decoding(bundle, engine, data, NO_OUTPUT)
            started_s = time.perf_counter() - start
            result["starts"].append(
                {
                    "open_s": round(opened_s, 3),
                    "graphs_s": round(first.load_s, 3),
                    "first_run_ms_per_frame": round(first.ms_per_frame["total"], 3),
                    "until_all_decoded_s": round(started_s, 3),
                    "symbols_equal": report.symbols_digest == prepared.symbols_digest,
                }
                | runtime_facts(inner)
            )
            progress(result)
            if not last:
                continue
            for _ in range(repeats):
                sample, report = time_decoding(bundle, engine, data, NO_OUTPUT)
                samples.append(sample)
                result |= _speed_json(samples)
                progress(result)
            clocks: list[FrameClock] = []
            for _ in range(repeats):
                clocks.append(_time_frames(bundle, inner, data))
                result["frame_ms"] = frame_medians(clocks, COLD_FRAMES)
                progress(result)
            clocked = ClockedEngine(inner)
            for frame in Decoder(io.BytesIO(data), clocked, bundle=bundle):
                clocked.end_frame(frame.kind.name.lower())
            result["graphs_ms"] = clocked.graphs_ms()
            result["per_frame"] = clocked.transfers()
            result["memory"] = memory_facts()
            result["opened"] = describe_engine(inner.info)
    return result


def _time_frames(bundle: Bundle, engine: Engine, data: bytes) -> FrameClock:
    decoder = Decoder(io.BytesIO(data), engine, bundle=bundle)
    clock = FrameClock(decoder.elapsed)
    for frame in decoder:
        clock.end_frame(frame.kind.name.lower())
    return clock


def _speed_json(samples: list[Sample]) -> dict[str, Any]:
    return {
        "repeats": len(samples),
        "ms_per_frame": {
            name: spread_of([s.ms_per_frame[name] for s in samples]).to_json()
            for name in (*ACTIVITIES, BESIDE)
        },
        "fps": spread_of([s.fps for s in samples]).to_json(),
        "codec_fps": spread_of([s.codec_fps for s in samples]).to_json(),
    }


def _failures(prepared: Prepared, result: Decoding) -> dict[str, Any]:
    return {
        "frames": prepared.frames,
        "wrong_frames": len(result.failed),
        "first_wrong": result.failed[0] if result.failed else None,
        "first_error": result.first_error[:300],
    }


def _stream(prepared: Prepared, data: bytes, trace: IndexTrace, shown: list[Frame]) -> Stream:
    """Return ``data`` as the platform trials know streams; what is not compared stays empty."""
    header = StreamReader(io.BytesIO(data)).header
    report = EncodeReport(
        frames=prepared.frames,
        width=prepared.width,
        height=prepared.height,
        size_bytes=len(data),
        bits={},
        psnr_rgb_db=prepared.psnr_rgb_db,
        symbols_digest=prepared.symbols_digest,
        elapsed=Elapsed(),
    )
    return Stream(
        encoder=prepared.encoded_on,
        scene=prepared.name,
        gop=prepared.keyint,
        coder=header.position_coder,
        data=data,
        skip_level=header.skip_level,
        report=report,
        trace=trace,
        shown=shown,
    )
