"""verify: options that have no effect are refused, and those that have one have it everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drifting_engine import DriftingEngine, Poison

import nvc_engines
from nvc_runtime.cli.console import print_json
from nvc_runtime.cli.verify_bisect import _difference

RunTool = Callable[..., Any]
STREAM, VIDEO = "--input with a stream", "--input with a video"


@pytest.fixture
def trace(nvc: RunTool, stream: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.trace"
    assert nvc("trace", "-i", stream, "-o", path, "--quiet").code == 0
    return path


@pytest.mark.parametrize(
    ("mode", "options", "named"),
    [
        (STREAM, ["--junit", "x"], ["--junit", STREAM, "--against"]),
        (STREAM, ["--skip", 1], ["--skip", STREAM, VIDEO]),
        (STREAM, ["--epsilon", 0.1], ["--epsilon", STREAM, VIDEO, "--against"]),
        (STREAM, ["--no-scene-cuts"], ["--no-scene-cuts", STREAM, VIDEO]),
        (STREAM, ["--keyint", 2], ["--keyint", STREAM, VIDEO]),
        (STREAM, ["--bound", 1e-4], ["--bound", STREAM, "--bisect"]),
        (VIDEO, ["--report", "x"], ["--report", STREAM, VIDEO]),
        (VIDEO, ["--junit", "x"], ["--junit", VIDEO, "--against"]),
        ("--against", ["--report", "x"], ["--report", "--against", STREAM]),
        ("--against", ["--limit", 1], ["--limit", "--against", STREAM, VIDEO]),
        ("--against", ["--quality", 1], ["--quality", "--against", VIDEO]),
        ("--bisect", ["--limit", 1], ["--limit", "--bisect", STREAM]),
        ("--bisect", ["--report", "x"], ["--report", "--bisect", STREAM]),
    ],
)
def test_an_option_without_effect_is_refused(
    nvc: RunTool,
    clip: Path,
    stream: Path,
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    options: list[object],
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source: dict[str, list[object]] = {
        STREAM: ["-i", stream],
        VIDEO: ["-i", clip, "--bundle", "block"],
        "--against": ["--against", trace],
        "--bisect": ["--bisect", "intra_synthesis", "--bundle", "block"],
    }
    done = nvc("verify", *source[mode], "--engines", "ort:cpu,ort:cpu,opt=none", *options)
    assert (done.code, done.out) == (2, "")
    assert "leave it out" in done.error_line
    for name in named:
        assert name in done.error_line
    assert not Path("x").exists()


def test_a_default_that_is_named_is_refused_as_well(nvc: RunTool, stream: Path) -> None:
    done = nvc("verify", "-i", stream, "--engines", "ort:cpu", "--skip", 0)
    assert done.code == 2


def test_a_page_is_about_as_many_frames_as_are_verified(
    nvc: RunTool, stream: Path, tmp_path: Path
) -> None:
    """What lies behind the limit is neither decoded again nor missed."""
    short, page = tmp_path / "short.nvc", tmp_path / "r.html"
    short.write_bytes(stream.read_bytes()[:-60])
    arguments = ["verify", "-i", short, "--engines", "ort:cpu,ort:cpu,opt=none"]
    assert nvc(*arguments, "--report", page).code == 3
    done = nvc(*arguments, "--report", page, "--limit", 2)
    assert (done.code, done.err) == (0, "")
    assert "2 frames" in page.read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bisect_of_numbers_that_are_not_finite(
    nvc: RunTool, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    pytest.importorskip("polygraphy", reason="needs nvc[export]")
    real = nvc_engines.open_engine

    def open_engine(spec: str, **rest: Any) -> Any:
        engine = real(spec, **rest)
        return DriftingEngine(engine, Poison("decoded", value)) if "none" in spec else engine

    monkeypatch.setattr(nvc_engines, "open_engine", open_engine)
    engines = "ort:cpu,ort:cpu,opt=none"
    command = ["verify", "--bisect", "intra_synthesis", "--bundle", "block", "--engines", engines]
    done = nvc(*command, "--json")
    assert done.code == 4
    assert done.json["first"]["tensor"] == "decoded"
    assert done.json["first"]["difference"] is None
    assert done.json["largest"]["difference"] is None


def test_difference_of_layers() -> None:
    nan, inf = np.float32("nan"), np.float32("inf")

    def difference(expected: list[Any], found: list[Any]) -> float:
        return _difference(np.array(expected, np.float32), np.array(found, np.float32))

    assert difference([0.5, -4], [0.5, -3]) == 0.25
    assert difference([0.5], [0.25]) == 0.25
    assert difference([-inf, 4], [-inf, 3]) == 0.25
    assert difference([], []) == 0
    for found in ([nan, 1], [inf, 1], [-inf, 1]):
        assert difference([2, 1], found) == inf
        assert difference(found, [2, 1]) == inf


def test_json_has_no_number_that_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    inf, nan = float("inf"), float("nan")
    print_json({"a": [1.5, inf, -inf, (nan,)], "b": {"c": nan, "d": "x", "e": True}})
    assert "".join(capsys.readouterr().out.split()) == (
        '{"a":[1.5,null,null,[null]],"b":{"c":null,"d":"x","e":true}}'
    )
