"""Samples of two traces are compared as they are shown: beyond black and white is no difference."""

from __future__ import annotations

import numpy as np

from nvc_runtime.drift import Trace, TraceInfo, compare_traces


def trace(samples: list[float]) -> Trace:
    info = TraceInfo(
        format_version=1,
        bundle="some",
        bundle_digest="00",
        engine={"spec": "ort:cpu"},
        levels=32,
        skip_level=9,
        epsilon=1e-3,
        full_every=1,
        intra_frames=(0,),
        frame_digests=(1,),
        error=None,
    )
    arrays = {"stream": np.zeros(1, np.uint8), "000000.samples": np.array(samples, np.float32)}
    return Trace(info, arrays)


def test_samples_beyond_black_and_white_do_not_differ() -> None:
    found = compare_traces(trace([-3.0, 300.0, 10.25]), trace([-0.5, 257.0, 10.5])).frames[0]
    assert found.sample_max == 0.25
    assert found.sample_flips == 0.0


def test_samples_that_are_shown_differ() -> None:
    found = compare_traces(trace([-3.0, 10.75, 20.0]), trace([1.5, 11.0, 20.0])).frames[0]
    assert found.sample_max == 1.5
    assert np.isclose(found.sample_flips, 2 / 3)
