"""The benchmark and the golden vectors' maker, run on the tiny codec."""

from __future__ import annotations

import json
from pathlib import Path

import benchmark
import make_vectors
import pytest
from benchmarks import ACTIVITIES, BESIDE, spread_of
from block_codec import moving_frames, video_info

from nvc_engines import open_engine
from nvc_runtime.bundle import open_bundle
from nvc_runtime.video import open_writer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "waves.y4m"
    with open_writer(str(path), video_info(96, 64)) as writer:
        for frame in moving_frames(96, 64, 4):
            writer.write(frame)
    return path


def test_spread() -> None:
    assert spread_of([3.0, 1.0, 2.0, 5.0, 4.0]).to_json() == {"median": 3, "q1": 2, "q3": 4}
    assert spread_of([7.0]).to_json() == {"median": 7, "q1": 7, "q3": 7}


def test_benchmark(clip: Path, block_bundle_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "results" / "bench"
    given = ["-i", str(clip), "-o", str(output), "--bundle", str(block_bundle_path)]
    given += ["--engine", "ort:cpu,threads=1", "--frames", "3", "--repeats", "2", "--rss"]
    assert benchmark.main(given) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    assert (result["frames"], result["width"], result["repeats"]) == (3, 96, 2)
    for direction in ("encode", "decode"):
        spent = {name: result[direction]["ms_per_frame"][name]["median"] for name in ACTIVITIES}
        assert all(value > -0.01 for value in spent.values())
        assert spent["transform"] < spent["total"]
        parts = sum(value for name, value in spent.items() if name != "total")
        assert parts == pytest.approx(spent["total"], rel=0.5)
        assert result[direction]["ms_per_frame"][BESIDE]["median"] > 0
        assert result[direction]["codec_fps"]["median"] >= result[direction]["fps"]["median"]
    entropy = result["entropy"]
    assert 0 < entropy["coded_symbols"] < entropy["elements"] == 3 * (12 * 8 * 12 + 2 * 2 * 3)
    assert entropy["decode"]["coded_msymbol_per_s"]["median"] > 0
    assert result["memory_bytes"]["frames"] == 3
    assert 10 << 20 < result["memory_bytes"]["start"] <= result["memory_bytes"]["peak"]
    assert "| transform |" in output.with_suffix(".md").read_text()


def test_benchmark_of_jobs(clip: Path, block_bundle_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench"
    given = ["-i", str(clip), "-o", str(output), "--bundle", str(block_bundle_path)]
    given += ["--engine", "ort:cpu,threads=1", "--frames", "1", "--repeats", "1", "--keyint", "1"]
    assert benchmark.main([*given, "--jobs", "2"]) == 0
    jobs = json.loads(output.with_suffix(".json").read_text())["jobs"]
    assert jobs["frames"] == 4
    for name in ("encode", "decode"):
        assert list(jobs["fps"][name]) == ["1", "2"]
        assert all(spread["median"] > 0 for spread in jobs["fps"][name].values())
    assert "| --jobs 2 |" in output.with_suffix(".md").read_text()
    assert benchmark.main([*given, "--jobs", "3"]) == 2


def test_benchmark_reports_user_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["-i", str(tmp_path / "none.mp4"), "--bundle", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_moving_pattern_never_changes() -> None:
    """The pictures behind the golden streams: whole numbers, the same on every machine."""
    frames = list(make_vectors.moving_pattern(96, 64, 3))
    assert frames[0].shape == (64, 96, 3)
    assert [int(frame.astype(int).sum()) for frame in frames] == [2187190, 2146201, 2110659]
    assert frames[0][10, 10].tolist() != frames[2][10, 10].tolist()


def test_vectors_are_made_and_guarded(
    block_bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--bundle", str(block_bundle_path), "--engine", "ort:cpu,threads=1"]
    given += ["-o", str(tmp_path / "vectors")]
    assert make_vectors.main(given) == 0
    vectors = json.loads((tmp_path / "vectors" / "vectors.json").read_text())
    assert vectors["bundle"]["digest"] == open_bundle(block_bundle_path).digest.hex()
    assert "sync-65x49.nvc" in vectors["streams"]
    assert vectors["streams"]["pixels-65x49.nvc"]["frame_md5"]
    assert len(vectors["failing"]) == len(make_vectors.DAMAGED)
    names = {path.name for path in (tmp_path / "vectors").glob("*.nvc")}
    assert names == set(vectors["streams"]) | set(vectors["failing"])
    assert make_vectors.main(given) == 2
    assert "-y" in capsys.readouterr().err


def test_vectors_are_the_same_bytes_on_the_same_engine(block_bundle_path: Path) -> None:
    bundle = open_bundle(block_bundle_path)
    with open_engine("ort:cpu,threads=1") as engine:
        assert make_vectors.make_all(bundle, engine) == make_vectors.make_all(bundle, engine)
