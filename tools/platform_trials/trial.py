"""One trial: encode a scene on one engine; decode the stream on another and count what fails."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nvc_calib import IndexDrift, PositionCoder, compare_indices, merge_drifts
from nvc_engines import Engine
from nvc_errors import CalibrationError, StreamError
from nvc_runtime.bundle import Bundle
from nvc_runtime.codec import Decoder, EncodedFrame, Encoder, EncodeReport, EncoderSettings
from nvc_runtime.stream import ExactMode, read_index
from nvc_runtime.video import Frame
from platform_trials.scene import Scene
from platform_trials.wrappers import IndexTrace, RecordingEngine


@dataclass(frozen=True)
class Stream:
    """A scene coded by one leg. ``trace`` and ``shown`` are empty where nothing is compared."""

    encoder: str
    scene: str
    gop: int
    coder: PositionCoder
    data: bytes = field(repr=False)
    skip_level: int
    report: EncodeReport
    trace: IndexTrace = field(repr=False)
    shown: list[Frame] = field(repr=False)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.report.frames

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        bits = self.report.bits
        return {
            "encoder": self.encoder,
            "scene": self.scene,
            "gop": self.gop,
            "calibration": self.coder.value,
            "frames": self.frames,
            "bytes": len(self.data),
            "bits_per_pixel": round(self.report.bits_per_pixel, 6),
            "calibration_bits_per_frame": round(bits["calibration"] / self.frames, 2),
            "pixel_bits_per_frame": round(bits["pixels"] / self.frames, 2),
            "psnr_rgb_db": round(self.report.psnr_rgb_db, 4),
            "symbols_digest": self.report.symbols_digest,
        }


@dataclass
class Decoding:
    """What came of decoding a stream on a leg.

    ``drift``: by index tensor; ``drift_by_frame``: the largest difference, by frame number;
    both only cover frames that both sides have.
    """

    failed: list[int] = field(default_factory=list)
    first_error: str = ""
    drift: dict[str, IndexDrift] = field(default_factory=dict)
    drift_by_frame: dict[int, float] = field(default_factory=dict)
    samples: int = 0
    differing: int = 0
    largest: int = 0

    @property
    def total_drift(self) -> IndexDrift:
        """Drift over all index tensors."""
        return merge_drifts(self.drift.values())


def intra_frames(data: bytes) -> list[int]:
    """Return the numbers of a stream's intra frames."""
    return [entry.frame_number for entry in read_index(io.BytesIO(data)).intra]


def index_names(bundle: Bundle) -> list[str]:
    """Return the names of the tensors that hold scale indices."""
    programs = (bundle.manifest.intra, bundle.manifest.inter)
    return sorted({step.index for p in programs for step in p.scale_steps if step.index})


def encode_scene(
    bundle: Bundle,
    engine: Engine,
    leg: str,
    scene: Scene,
    settings: EncoderSettings,
    *,
    keep: bool,
) -> Stream:
    """Encode a scene; with ``keep`` the stream carries the indices and the frames shown."""
    recorder = RecordingEngine(engine, index_names(bundle) if keep else [])
    shown: list[Frame] = []

    def on_frame(frame: EncodedFrame) -> None:
        recorder.number = frame.number + 1
        if keep:
            shown.append(frame.rgb)

    file = io.BytesIO()
    encoder = Encoder(bundle, recorder, settings)
    report = encoder.encode(scene.frames, scene.info, file, on_frame=on_frame)
    return Stream(
        encoder=leg,
        scene=scene.name,
        gop=encoder.keyint,
        coder=settings.calibration,
        data=file.getvalue(),
        skip_level=encoder.skip_level,
        report=report,
        trace=recorder.trace,
        shown=shown,
    )


def decode_stream(bundle: Bundle, engine: Engine, stream: Stream) -> Decoding:
    """Decode a stream as far as it goes, starting again at the next intra frame after a failure.

    A frame fails if its levels or symbols are not the encoder's, and so do all that follow it up
    to the next intra frame, wherever the encoder has put that.
    """
    groups = [*intra_frames(stream.data), stream.frames]
    recorder = RecordingEngine(engine, index_names(bundle) if stream.trace else [])
    result = Decoding()
    start = 0
    while start < stream.frames:
        recorder.number = start
        try:
            decoder = Decoder(io.BytesIO(stream.data), recorder, bundle=bundle, start=start)
            for frame in decoder:
                recorder.number = frame.number + 1
                if stream.shown:
                    _compare_samples(result, frame.rgb, stream.shown[frame.number])
            break
        except (CalibrationError, StreamError) as error:
            failed = recorder.number
            start = next((number for number in groups if number > failed), stream.frames)
            result.failed += range(failed, start)
            result.first_error = result.first_error or str(error)
    _compare_traces(result, bundle, stream, recorder.trace)
    return result


def settings_for(settings: EncoderSettings, gop: int, coder: PositionCoder) -> EncoderSettings:
    """Return ``settings`` with another GOP, as long as it says everywhere, and position coder.

    Samples cannot be made exact without calibration: such streams go without that.
    """
    if coder is PositionCoder.NONE:
        settings = replace(settings, exact=ExactMode.SYMBOLS, sync=0)
    return replace(settings, keyint=gop, calibration=coder, scene_cuts=False, repeats=False)


def _compare_samples(result: Decoding, frame: Frame, shown: Frame) -> None:
    difference = np.maximum(frame, shown) - np.minimum(frame, shown)
    result.samples += frame.size
    result.differing += int(np.count_nonzero(difference))
    result.largest = max(result.largest, int(difference.max()))


def _compare_traces(result: Decoding, bundle: Bundle, stream: Stream, trace: IndexTrace) -> None:
    levels = bundle.manifest.scale_levels.count
    for number in sorted(trace.keys() & stream.trace.keys()):
        largest = 0.0
        for name, index in trace[number].items():
            drift = compare_indices(
                stream.trace[number][name], index, levels=levels, skip_level=stream.skip_level
            )
            known = result.drift.get(name)
            result.drift[name] = drift if known is None else merge_drifts([known, drift])
            largest = max(largest, drift.max_difference)
        result.drift_by_frame[number] = largest
