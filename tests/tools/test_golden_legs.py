"""Golden streams on legs: what is written down is found, and everything else is reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden_legs
import pytest
from drifting_engine import AdversarialDrift, DriftingEngine
from platform_legs import REFERENCE, Cache, Leg
from platform_legs.local import leg_from_engine
from platform_trials.golden import decode_failing, decode_golden, load_vectors
from platform_trials.trial import index_names

from nvc_engines import Engine, open_engine
from nvc_errors import EngineError, EngineUnavailableError

ORT = leg_from_engine(REFERENCE, "ort:cpu,threads=1", "ONNX Runtime", 1.0)
BASIC = leg_from_engine("ort-basic", "ort:cpu,opt=basic,threads=1", "basic", 1.0)
FRAMES = 6

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the tool on the legs given; return its exit code and what it wrote."""

    def run_tool(*legs: Leg, vectors: Path = golden_legs.VECTORS) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(golden_legs, "all_legs", lambda: list(legs))
        output = tmp_path / "golden-legs"
        arguments = ["-o", str(output), "--vectors", str(vectors), "--cache", str(tmp_path)]
        code = golden_legs.main(arguments)
        data: dict[str, Any] = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
        assert output.with_suffix(".md").read_text(encoding="utf-8").startswith("# Golden streams")
        return code, data

    return run_tool


def _refuse(error: EngineError) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        del cache
        raise error

    return Leg("other", "one that does not open", 1.0, open_leg)


def test_engines_that_differ_decode_every_stream(run: Run) -> None:
    missing = _refuse(EngineUnavailableError("needs what is not there"))
    code, data = run(ORT, BASIC, missing)
    assert (code, data["problems"], data["distinct_platforms"]) == (0, [], 2)
    assert [leg["available"] for leg in data["legs"]] == [True, True, False]
    assert data["legs"][2]["reason"] == "needs what is not there"
    exact = [s for leg in data["legs"][:2] for s in leg["streams"] if s["samples_are_exact"]]
    assert exact
    assert not any(stream["differing_samples"] for stream in exact)
    drifts = [stream["max_index_difference"] for stream in data["legs"][1]["streams"]]
    assert all(0 < drift < data["legs"][1]["streams"][0]["epsilon"] for drift in drifts)
    assert not any(data["legs"][1]["failing"].values())


def test_drift_beyond_epsilon_is_a_problem(run: Run) -> None:
    names = index_names(load_vectors(golden_legs.VECTORS).bundle)

    def open_leg(cache: Cache) -> Engine:
        del cache
        return DriftingEngine(open_engine("ort:cpu,threads=1"), AdversarialDrift(names, 4e-3))

    code, data = run(ORT, Leg("drifting", "with injected drift", 1.0, open_leg))
    assert code == 4
    assert any("drifting, " in problem for problem in data["problems"])
    assert not any(problem.startswith("ort,") for problem in data["problems"])


def test_equal_legs_and_legs_that_break_down_are_problems(run: Run) -> None:
    twin = leg_from_engine("twin", "ort:cpu,threads=1", "the same again", 1.0)
    code, data = run(ORT, twin, _refuse(EngineError("it broke")))
    assert code == 4
    assert data["distinct_platforms"] == 1
    assert "it broke" in data["problems"][0]
    assert "1 legs differ" in data["problems"][1]


def test_what_is_not_as_written_down_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(golden_legs.VECTORS, folder)
    data = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
    exact = next(name for name, v in data["streams"].items() if v["frame_md5"])
    plain = next(name for name, v in data["streams"].items() if not v["frame_md5"])
    data["streams"][exact]["frame_md5"][0] = "0" * 32
    data["streams"][plain]["frame_digests"][-1] = "00000000"
    failing = {
        "good.nvc": {"error": "CalibrationError", "frames_before": 1},
        "bad-wrong-levels.nvc": {"error": "CalibrationError", "frames_before": 1},
    }
    data["failing"] |= failing
    shutil.copy(folder / plain, folder / "good.nvc")
    (folder / "vectors.json").write_text(json.dumps(data), encoding="utf-8")
    vectors = load_vectors(folder)
    with open_engine("ort:cpu,threads=1") as engine:
        assert "other samples" in decode_golden(vectors, exact, engine).problem
        assert "other symbols" in decode_golden(vectors, plain, engine).problem
        assert decode_failing(vectors, "good.nvc", engine).startswith(f"no error after {FRAMES}")
        assert "after 2 frames" in decode_failing(vectors, "bad-wrong-levels.nvc", engine)
        # A truncated stream that is taken for a golden one names what is wrong with it.
        shutil.copy(folder / "bad-truncated-in-a-packet.nvc", folder / plain)
        assert "TruncatedStreamError" in decode_golden(vectors, plain, engine).problem


def test_a_folder_without_vectors_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert golden_legs.main(["--vectors", str(tmp_path)]) == 2
    assert "no golden streams" in capsys.readouterr().err
