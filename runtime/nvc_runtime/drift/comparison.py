"""Compare two traces of one stream: how far two engines are apart, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nvc_calib.drift import (
    DEFAULT_MARGIN,
    IndexDrift,
    compare_indices,
    merge_drifts,
    recommend_epsilon,
)
from nvc_errors import CalibrationError, UsageError
from nvc_runtime.codec.samples import SAMPLE_LEVELS
from nvc_runtime.drift.trace import Trace, spread


@dataclass(frozen=True)
class FrameDrift:
    """Drift of one frame. ``position`` counts from the last intra frame (0: the intra frame).

    sample_max: largest difference of a reconstructed sample in 8-bit steps (of those recorded);
    sample_flips: share of the recorded samples that round to another 8-bit value.
    """

    frame: int
    position: int
    latents: dict[str, IndexDrift]
    identical: bool
    sample_max: float
    sample_flips: float


@dataclass(frozen=True)
class Comparison:
    """Two traces side by side."""

    engines: tuple[str, str]
    frames: list[FrameDrift]
    symbols_equal: bool
    bit_identical: bool
    total: IndexDrift
    margin: float
    epsilon: float | None
    errors: tuple[str | None, str | None]

    def to_json(self) -> dict[str, Any]:
        """Plain data: the summary, drift per latent, and drift per frame."""
        return {
            "engines": list(self.engines),
            "frames": len(self.frames),
            "symbols_equal": self.symbols_equal,
            "bit_identical": self.bit_identical,
            "max_difference": self.total.max_difference,
            "mean_difference": self.total.mean_difference,
            "elements": self.total.elements,
            "flips": self.total.flips,
            "coded_flips": self.total.coded_flips,
            "margin": self.margin,
            "supported_epsilon": self.epsilon,
            "errors": list(self.errors),
            "latents": {name: _drift_json(drift) for name, drift in self.latents().items()},
            "per_frame": [
                {
                    "frame": f.frame,
                    "position": f.position,
                    "max_difference": max(
                        (d.max_difference for d in f.latents.values()), default=0
                    ),
                    "mean_difference": merge_drifts(f.latents.values()).mean_difference,
                    "coded_flips": sum(d.coded_flips for d in f.latents.values()),
                    "sample_max": f.sample_max,
                    "sample_flips": f.sample_flips,
                }
                for f in self.frames
            ],
        }

    def latents(self) -> dict[str, IndexDrift]:
        """Drift per latent part, over all frames."""
        names = sorted({name for f in self.frames for name in f.latents})
        return {
            name: merge_drifts(f.latents[name] for f in self.frames if name in f.latents)
            for name in names
        }


def _drift_json(drift: IndexDrift) -> dict[str, float]:
    return {
        "max_difference": drift.max_difference,
        "mean_difference": drift.mean_difference,
        "elements": drift.elements,
        "coded_flips": drift.coded_flips,
    }


def compare_traces(first: Trace, second: Trace, *, margin: float = DEFAULT_MARGIN) -> Comparison:
    """Compare two traces of the same stream; raise :class:`UsageError` if it is not the same.

    Only frames that both recorded are compared; the symbols of a recording that stopped at an error
    are not equal. ``epsilon`` of the result is the recommended one, with ``margin``; None if the
    drift is too large for any.
    """
    a, b = first.info, second.info
    if first.stream != second.stream or a.bundle_digest != b.bundle_digest:
        raise UsageError("the traces are of different streams; record both from the same one")
    count = min(first.frames, second.frames)
    frames = [_compare_frame(first, second, n) for n in range(count)]
    total = merge_drifts(d for f in frames for d in f.latents.values())
    try:
        epsilon: float | None = recommend_epsilon(total, margin=margin)
    except CalibrationError:
        epsilon = None
    stopped = a.error is not None or b.error is not None
    equal = not stopped and a.frame_digests[:count] == b.frame_digests[:count]
    return Comparison(
        engines=(a.engine["spec"], b.engine["spec"]),
        frames=frames,
        symbols_equal=equal,
        bit_identical=all(f.identical for f in frames),
        total=total,
        margin=margin,
        epsilon=epsilon,
        errors=(a.error, b.error),
    )


def _compare_frame(first: Trace, second: Trace, number: int) -> FrameDrift:
    latents: dict[str, IndexDrift] = {}
    identical = True
    for tensor in first.tensors(number):
        one, other = first.index(number, tensor), second.index(number, tensor)
        if one.size != other.size:
            one, other = spread(one), spread(other)
        latents[tensor] = compare_indices(
            one, other, levels=first.info.levels, skip_level=first.info.skip_level
        )
        identical &= first.crc(number, tensor) == second.crc(number, tensor)
    # Beyond black and white there is nothing to see: calibration limits samples likewise.
    a, b = (np.clip(trace.samples(number), 0, SAMPLE_LEVELS) for trace in (first, second))
    start = max((n for n in first.info.intra_frames if n <= number), default=0)
    return FrameDrift(
        frame=number,
        position=number - start,
        latents=latents,
        identical=identical,
        sample_max=float(np.abs(a - b).max(initial=0.0)),
        sample_flips=float(np.mean(np.floor(a) != np.floor(b))) if a.size else 0.0,
    )
