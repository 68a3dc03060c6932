"""The short platform matrix of CI: the shipped bundle on every engine that a test environment has.

The engines differ in their last bits on every machine, but whether one of these few frames then
fails without calibration is luck. So one more leg drifts on purpose, as far as epsilon allows: it
must fail without calibration, and must not with it.
"""

from __future__ import annotations

import pytest
from drifting_engine import AdversarialDrift, DriftingEngine
from platform_legs import Cache, Leg, all_legs, choose_legs
from platform_trials import MatrixPlan, MatrixResult, run_matrix
from platform_trials.trial import index_names

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_runtime import EncoderSettings, open_bundle

LEGS = ("ort", "ort-basic", "openvino", "torch", "torch-plain")
FRAMES, GOP = 6, 3
EPSILON = 1e-3
DRIFTING = "drifting"
CALIBRATED = (PositionCoder.RPC, PositionCoder.RETRIEVAL)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> MatrixResult:
    """The matrix of the engines here and a leg with injected drift."""
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    bundle = open_bundle()
    names = index_names(bundle)

    def open_drifting(cache: Cache) -> Engine:
        del cache
        drift = AdversarialDrift(names, EPSILON / 2)
        return DriftingEngine(open_engine("ort:cpu,threads=1"), drift)

    # As many elements as there can be: none is skipped.
    best = bundle.manifest.qualities - 1
    plan = MatrixPlan(
        clip=None,
        size=(128, 64),
        frames=FRAMES,
        small_size=(64, 64),
        small_frames=2,
        gops=(GOP,),
        settings=EncoderSettings(quality=best, skip_level=-1, epsilon=EPSILON),
        min_distinct=3,
    )
    legs = choose_legs(all_legs(), LEGS)
    legs.append(Leg(DRIFTING, "ONNX Runtime with injected drift", 2.0, open_drifting))
    cache = Cache(tmp_path_factory.mktemp("legs"), offline=True)
    return run_matrix(plan, legs, bundle.path, cache, lambda _: None)


def test_no_calibrated_frame_fails(result: MatrixResult) -> None:
    assert result.problems == []
    for coder in CALIBRATED:
        failed, frames = result.failures(GOP, coder, others_only=True)
        assert failed == 0
        assert frames >= 20 * FRAMES


def test_engines_are_platforms_of_their_own(result: MatrixResult) -> None:
    available = [record for record in result.legs if record.info and record.leg.name != DRIFTING]
    assert [record.leg.name for record in available] == list(LEGS)
    assert len({record.digest for record in available}) >= 3
    assert all(record.repeats for record in available)


def test_engines_drift_a_little(result: MatrixResult) -> None:
    """Differences are those of FP32: BF16 or TF32 would be off by 1e-2."""
    pairs = [
        pair
        for pair in result.chosen(GOP, PositionCoder.RETRIEVAL)
        if DRIFTING not in (pair.encoder, pair.decoder)
    ]
    drifts = {
        (pair.encoder, pair.decoder): pair.decoding.total_drift.max_difference for pair in pairs
    }
    assert max(drifts.values()) < 2e-4
    assert sum(drift > 0 for drift in drifts.values()) >= 8
    assert all(drifts[name, name] == 0 for name in LEGS)


def test_frames_fail_without_calibration(result: MatrixResult) -> None:
    failed = {
        coder: sum(
            len(pair.decoding.failed)
            for pair in result.chosen(GOP, coder)
            if DRIFTING in (pair.encoder, pair.decoder) and pair.encoder != pair.decoder
        )
        for coder in (PositionCoder.NONE, *CALIBRATED)
    }
    assert failed[PositionCoder.NONE] >= FRAMES
    assert not any(failed[coder] for coder in CALIBRATED)
