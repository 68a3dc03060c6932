"""The GPU report, prepared and run on the CPU with the tiny codec."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import gpu_report
import pytest
from block_codec import moving_frames, video_info
from gpu_reports import load_prepared, open_reported
from gpu_reports.groups import rate_after_first
from plan_stand_in import stand_in
from report_files import beside

from nvc_engines import open_engine
from nvc_errors import EngineUnavailableError, UsageError
from nvc_runtime.bundle import DEFAULT_BUNDLE, open_bundle
from nvc_runtime.codec import Decoder
from nvc_runtime.video import open_writer

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "golden" / "vectors" / DEFAULT_BUNDLE
FRAMES = 5


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, block_bundle_path: Path) -> Path:
    """A folder with one prepared stream of the tiny codec, called ``waves``."""
    folder = tmp_path_factory.mktemp("gpu")
    clip = folder / "waves.y4m"
    with open_writer(str(clip), video_info(96, 64)) as writer:
        for frame in moving_frames(96, 64, FRAMES):
            writer.write(frame)
    given = ["prepare", str(folder / "streams"), "-i", str(clip), "--name", "waves"]
    given += ["--bundle", str(block_bundle_path), "--frames", str(FRAMES), "--keyint", "3"]
    assert gpu_report.main([*given, "--size", "128x80"]) == 0
    return folder / "streams"


@pytest.fixture(autouse=True)
def _worker_finds_all(monkeypatch: pytest.MonkeyPatch, block_bundle_path: Path) -> None:
    """A worker is a process of its own: tell it where the tiny codec is."""
    monkeypatch.setenv("NVC_BUNDLES", str(block_bundle_path.parent))
    parts = ("calib", "engines", "errors", "export", "models", "runtime")
    found = [str(ROOT / part) for part in parts]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*found, os.environ.get("PYTHONPATH", "")]))


def _run(streams: Path, output: Path, *given: str) -> tuple[int, dict[str, Any], str]:
    arguments = ["run", str(streams), "-o", str(output), "--repeats", "1", *given]
    code = gpu_report.main(arguments)
    data: dict[str, Any] = json.loads(beside(output, ".json").read_text())
    return code, data, beside(output, ".md").read_text()


def test_prepared_streams(streams: Path) -> None:
    (prepared,) = load_prepared(streams)
    assert (prepared.width, prepared.height, prepared.frames) == (128, 80, FRAMES)
    assert prepared.has_uncalibrated(streams)
    assert prepared.stream(streams) != prepared.stream(streams, calibrated=False)


def test_a_stream_may_be_repeated(streams: Path, tmp_path: Path, block_bundle_path: Path) -> None:
    given = ["prepare", str(tmp_path), "-i", str(streams.parent / "waves.y4m"), "--name", "long"]
    given += ["--bundle", str(block_bundle_path), "--frames", str(FRAMES), "--keyint", "3"]
    assert gpu_report.main([*given, "--size", "128x80", "--times", "3", "--calibrated-only"]) == 0
    (long,) = load_prepared(tmp_path)
    (once,) = load_prepared(streams)
    assert (long.frames, long.keyint) == (3 * FRAMES, 3)
    assert long.size_bytes == len(long.stream(tmp_path))
    assert long.bits_per_pixel == once.bits_per_pixel
    block = open_bundle(str(block_bundle_path))
    with open_engine("ort:cpu") as engine:
        decoder = Decoder(io.BytesIO(long.stream(tmp_path)), engine, bundle=block)
        assert sum(1 for _ in decoder) == long.frames
    assert decoder.report().symbols_digest == long.symbols_digest


def test_report(streams: Path, tmp_path: Path) -> None:
    given = ["--engines", "ort:cpu,threads=1", "--vectors", str(VECTORS)]
    code, data, text = _run(streams, tmp_path / "results" / "gpu", *given)
    assert code == 0
    golden, drift, speed = data["items"]
    assert golden["good"]
    assert all(stream["differing_samples"] == 0 for stream in golden["streams"])
    assert drift["within_epsilon"]
    assert drift["max_difference"] == 0
    wrong = [drift[kind]["wrong_frames"] for kind in ("calibrated", "uncalibrated")]
    assert wrong == [0, 0]
    assert [start["symbols_equal"] for start in speed["starts"]] == [True, True]
    assert speed["frame_ms"]["inter"]["frames"] == 2
    assert speed["frame_ms"]["intra"]["frames"] == 1
    assert speed["graphs_ms"]
    assert speed["per_frame"]["inter"]["downloads"] > 0
    assert data["bundles"] == {p.bundle: p.bundle_digest for p in load_prepared(streams)}
    assert "## Speed" in text
    assert "Not measured" not in text


def test_groups_side_by_side(streams: Path, tmp_path: Path) -> None:
    given = ["--engines", "ort:cpu,threads=1", "--drift", "", "--speed", ""]
    code, data, text = _run(streams, tmp_path / "gpu", *given, "--groups", "waves", "--jobs", "1,2")
    assert code == 0
    assert [item["jobs"] for item in data["items"]] == ["1", "2"]
    for item in data["items"]:
        assert item["good"]
        assert item["frames"] == FRAMES
    assert "## Groups of pictures side by side" in text


def test_rates_after_the_first_frame_leave_starting_out() -> None:
    assert rate_after_first(3, 3 / 5.0, 4.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--jobs", "0"], "at least 1"),
        (["--speed-engines", "torch:cuda+tf32"], "processes of their own cannot open"),
    ],
)
def test_groups_that_cannot_be_measured(
    streams: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    message: str,
) -> None:
    common = ["run", str(streams), "--engines", "ort:cpu", "-o", str(tmp_path / "x")]
    assert gpu_report.main([*common, "--groups", "waves", *given]) == 2
    assert message in capsys.readouterr().err


def test_one_engine_that_fails_costs_no_other(streams: Path, tmp_path: Path) -> None:
    given = ["--engines", "ort:cpu@nowhere,ort:cpu,threads=1", "--speed", ""]
    code, data, text = _run(streams, tmp_path / "gpu", *given)
    assert code == 4
    assert [item["state"] for item in data["items"]] == ["failed", "done"]
    assert "--plans" in data["items"][0]["error"]
    assert "## Not measured" in text


def test_what_does_not_fit_is_listed(streams: Path, tmp_path: Path) -> None:
    # A name with a dot of its own is another report's, not a suffix.
    given = ["--engines", "ort:cpu", "--budget-s", "0"]
    code, data, text = _run(streams, tmp_path / "gpu.v2", *given)
    assert code == 4
    assert {item["state"] for item in data["items"]} == {"skipped"}
    assert "the time is used up" in text


def test_an_item_that_hangs_is_given_up(streams: Path, tmp_path: Path) -> None:
    given = ["--engines", "ort:cpu", "--item-s", "0.001", "--drift", ""]
    code, data, _ = _run(streams, tmp_path / "gpu", *given)
    assert code == 4
    assert [item["state"] for item in data["items"]] == ["failed"]
    assert "time" in data["items"][0]["error"]


def test_users_errors(streams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", str(streams), "--engines", "ort:cpu", "-o", str(tmp_path / "x")]
    assert gpu_report.main([*given, "--drift", "none"]) == 2
    assert "none" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--plans"):
        open_reported("tensorrt-rtx:a100@default", "block")


def test_tf32_needs_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineUnavailableError, match="CUDA"):
        open_reported("torch:cuda+tf32", "block")


def test_plans_may_run_on_another_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in("tensorrt-rtx", monkeypatch):
        with pytest.raises(EngineUnavailableError, match="compute capability"):
            open_engine("tensorrt-rtx:a100", engines_dir=tmp_path)
        with open_reported("tensorrt-rtx:a100@default", "block", tmp_path) as engine:
            assert engine.info.device_name == "NVIDIA GeForce RTX 2080"
