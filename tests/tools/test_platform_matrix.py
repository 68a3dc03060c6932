"""The platform matrix on legs in this process: it passes where it should, fails where it must."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platform_matrix
import pytest
from drifting_engine import AdversarialDrift, Drift, DriftingEngine, Noise
from numpy.typing import NDArray
from platform_legs import REFERENCE, Cache, Leg, all_legs, choose_legs
from platform_legs.local import leg_from_engine
from platform_trials import MatrixPlan, MatrixResult, markdown_from_result, run_matrix
from platform_trials.trial import decode_stream, encode_scene

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_errors import EngineUnavailableError, UsageError
from nvc_runtime import Bundle, EncoderSettings
from nvc_runtime.stream import ExactMode

INDICES = ("index_0", "index_1")
EPSILON = 1e-3
SIZE = (96, 64)
FRAMES = 4

ORT = leg_from_engine(REFERENCE, "ort:cpu,threads=1", "ONNX Runtime", 1.0)
BASIC = leg_from_engine("ort-basic", "ort:cpu,opt=basic,threads=1", "basic", 1.0)


def drifting_leg(make: Callable[[], Drift], name: str = "drifting", cost: float = 1.0) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        del cache
        return DriftingEngine(open_engine("ort:cpu,threads=1"), make())

    return Leg(name, "ONNX Runtime with injected drift", cost, open_leg)


def adversary(bound: float) -> Leg:
    return drifting_leg(lambda: AdversarialDrift(INDICES, bound))


def plan(**changes: Any) -> MatrixPlan:
    settings = EncoderSettings(epsilon=EPSILON)
    values = {"clip": None, "size": SIZE, "frames": FRAMES, "small_size": SIZE, "small_frames": 2}
    return MatrixPlan(
        **{**values, "gops": (2,), "settings": settings, "min_distinct": 1, **changes}
    )


def run(bundle: Path, tmp_path: Path, legs: Sequence[Leg], chosen: MatrixPlan) -> MatrixResult:
    return run_matrix(chosen, legs, bundle, Cache(tmp_path / "cache"), lambda _: None)


def test_engines_decode_each_other(block_bundle_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    legs = choose_legs(all_legs(), ["ort-basic", "torch"])
    result = run(block_bundle_path, tmp_path, legs, plan(gops=(2, 4), jobs=2))
    assert result.problems == []
    assert {(p.encoder, p.decoder) for p in result.pairs} == {
        (a.name, b.name) for a in legs for b in legs
    }
    assert len(result.pairs) == 3 * 3 * 2 * 3
    calibrated = [p for p in result.pairs if p.stream.coder is not PositionCoder.NONE]
    assert not any(p.decoding.failed for p in calibrated)
    measured = [p for p in result.pairs if p.stream.coder is PositionCoder.RETRIEVAL]
    assert all(set(p.decoding.drift_by_frame) == set(range(FRAMES)) for p in measured)
    own = [p for p in measured if p.encoder == p.decoder]
    assert all(p.decoding.total_drift.max_difference == 0 for p in own)
    assert all(p.decoding.differing == 0 and p.decoding.samples for p in own)
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert data["passed"]
    assert len(data["pairs"]) == len(result.pairs)
    page = markdown_from_result(result)
    assert page.count("| ort-basic |") >= 4
    assert "Passed." in page


def test_drift_within_epsilon_fails_only_without_calibration(
    block_bundle_path: Path, tmp_path: Path
) -> None:
    result = run(block_bundle_path, tmp_path, [ORT, adversary(EPSILON / 2)], plan())
    assert result.problems == []
    assert result.distinct == 2
    bare = result.failures(2, PositionCoder.NONE, others_only=True)
    assert bare[0] > 0
    for coder in (PositionCoder.RPC, PositionCoder.RETRIEVAL):
        assert result.failures(2, coder, others_only=True) == (0, bare[1])
    worst = result.worst_drift()
    assert worst is not None
    assert EPSILON / 8 < worst.decoding.total_drift.max_difference <= EPSILON


def test_drift_beyond_epsilon_is_a_problem(block_bundle_path: Path, tmp_path: Path) -> None:
    result = run(block_bundle_path, tmp_path, [ORT, adversary(4 * EPSILON)], plan())
    found = " ".join(result.problems)
    assert "exceeds epsilon" in found
    assert "frames failed" in found
    assert "frame 0" in found
    assert "**Failed" in markdown_from_result(result)


@pytest.mark.parametrize(("bound", "code"), [(4 * EPSILON, 4), (EPSILON / 4, 0)])
def test_command_exits_with_4_when_a_leg_drifts_too_far(
    block_bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bound: float,
    code: int,
) -> None:
    monkeypatch.setattr(platform_matrix, "all_legs", lambda: [ORT, adversary(bound)])
    arguments = ["--bundle", str(block_bundle_path), "-o", str(tmp_path / "matrix")]
    arguments += ["--cache", str(tmp_path / "cache"), "--no-picture", "--size", "96x64"]
    arguments += ["--frames", "4", "--small-frames", "2", "--gop", "4", "--epsilon", str(EPSILON)]
    assert platform_matrix.main(arguments) == code
    data = json.loads((tmp_path / "matrix.json").read_text(encoding="utf-8"))
    assert data["passed"] == (code == 0)
    assert (tmp_path / "matrix.md").stat().st_size > 0
    error = capsys.readouterr().err
    assert ("error: " in error) == (code == 4)
    assert "Traceback" not in error


def test_a_folder_that_is_missing_is_made_before_the_work(
    block_bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(platform_matrix, "all_legs", lambda: [ORT])
    given = ["--bundle", str(block_bundle_path), "--cache", str(tmp_path / "cache")]
    given += ["--no-picture", "--size", "96x64", "--frames", "2", "--gop", "2", "-o"]
    assert platform_matrix.main([*given, str(tmp_path / "new" / "folder" / "matrix")]) == 0
    assert (tmp_path / "new" / "folder" / "matrix.json").exists()
    monkeypatch.setattr(platform_matrix, "run_matrix", None)
    (tmp_path / "file").touch()
    assert platform_matrix.main([*given, str(tmp_path / "file" / "matrix")]) == 1
    assert "cannot be made" in capsys.readouterr().err


def test_failure_lasts_until_the_next_intra_frame(block_bundle_path: Path) -> None:
    """One frame drifts; it fails, and with it the rest of its group of pictures."""

    class OneFrame:
        def __init__(self) -> None:
            self.frame = -1

        def __call__(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
            self.frame += name == "index_0"
            late = name == "index_0" and self.frame == 5
            return AdversarialDrift(INDICES, 0.2)(name, values) if late else values

    bundle = Bundle(block_bundle_path)
    settings = EncoderSettings(keyint=4, calibration=PositionCoder.NONE)
    from platform_trials.scene import load_scene

    scene = load_scene("main", None, SIZE, 10)
    with open_engine("ort:cpu,threads=1") as engine:
        stream = encode_scene(bundle, engine, "ort", scene, settings, keep=True)
        assert decode_stream(bundle, engine, stream).failed == []
        decoding = decode_stream(bundle, DriftingEngine(engine, OneFrame()), stream)
    assert decoding.failed == [5, 6, 7]
    assert "frame 5" in decoding.first_error
    # Frames after the failure are decoded again from the next intra frame on.
    assert {0, 4, 5, 8, 9} <= set(decoding.drift_by_frame)
    assert decoding.samples == 7 * SIZE[0] * SIZE[1] * 3


@pytest.mark.parametrize("sync", [0, 2])
def test_exact_pixels_hold_on_a_drifting_leg(
    block_bundle_path: Path, tmp_path: Path, sync: int
) -> None:
    settings = EncoderSettings(epsilon=EPSILON, exact=ExactMode.PIXELS, sync=sync)
    noisy = drifting_leg(lambda: Noise(1e-6), "noisy")
    result = run(block_bundle_path, tmp_path, [ORT, noisy], plan(gops=(4,), settings=settings))
    assert result.problems == []
    exact = [p for p in result.pairs if p.stream.coder is PositionCoder.RETRIEVAL]
    assert all(p.decoding.samples and not p.decoding.differing for p in exact)
    assert any(p.stream.report.bits["pixels"] for p in exact)


def test_equal_platforms_are_noticed(block_bundle_path: Path, tmp_path: Path) -> None:
    twin = leg_from_engine("twin", "ort:cpu,threads=1", "the same again", 1.0)
    chosen = plan(min_distinct=2, coders=(PositionCoder.RETRIEVAL,))
    result = run(block_bundle_path, tmp_path, [ORT, twin], chosen)
    assert result.distinct == 1
    assert any("bit-distinct" in p and "twin" in p for p in result.problems)


def test_engine_that_does_not_repeat_is_not_remembered(
    block_bundle_path: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)

    def noise(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if name not in INDICES:
            return values
        return (values + rng.uniform(-1e-5, 1e-5, values.shape)).astype(np.float32)

    legs = [ORT, drifting_leg(lambda: noise, "noisy")]
    result = run(block_bundle_path, tmp_path, legs, plan())
    assert [record.repeats for record in result.legs] == [True, False]
    assert result.problems == []


def test_legs_that_cannot_run_are_listed_with_the_reason(
    block_bundle_path: Path, tmp_path: Path
) -> None:
    def refuse(cache: Cache) -> Engine:
        raise EngineUnavailableError(f"needs a thing that is not in {cache.root.name}")

    missing = Leg("missing", "nothing", 1.0, refuse)
    result = run(block_bundle_path, tmp_path, [ORT, missing], plan(frames=2))
    assert result.problems == []
    assert result.to_json()["legs"][1]["reason"] == "needs a thing that is not in cache"
    assert "skipped: needs a thing" in markdown_from_result(result)


def test_emulated_and_slow_legs_get_less(block_bundle_path: Path, tmp_path: Path) -> None:
    slow = drifting_leg(lambda: AdversarialDrift((), 0.0), "slow", cost=10.0)
    emulated = drifting_leg(lambda: AdversarialDrift((), 0.0), "emulated", cost=100.0)
    result = run(block_bundle_path, tmp_path, [ORT, BASIC, slow, emulated], plan())
    scenes = {(p.encoder, p.decoder): p.stream.scene for p in result.pairs}
    assert scenes[("slow", "ort-basic")] == "main"
    assert scenes[("emulated", "ort-basic")] == "small"
    assert scenes[("ort", "emulated")] == "small"
    assert ("ort-basic", "slow") not in scenes
    assert ("ort-basic", "emulated") not in scenes


def test_picture_is_drawn(block_bundle_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from platform_trials import draw_matrix

    result = run(block_bundle_path, tmp_path, [ORT, BASIC], plan(frames=2))
    path = tmp_path / "matrix.png"
    draw_matrix(result, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_unknown_leg_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no leg nosuch"):
        choose_legs(all_legs(), ["nosuch"])
    assert platform_matrix.main(["--legs", "nosuch"]) == 2
    assert "no leg nosuch" in capsys.readouterr().err


def test_names_of_legs_are_unique() -> None:
    names = [leg.name for leg in all_legs()]
    assert len(names) == len(set(names))
    assert names[0] == REFERENCE
    assert set(platform_matrix.SHORT_LEGS) <= set(names)
