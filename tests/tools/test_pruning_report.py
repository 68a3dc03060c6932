"""The tool on a tiny codec, from a checkpoint to tables."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("torch_pruning", reason="the tool prunes with nvc[export]")
pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's neighbours plot with nvc[bench]")

import pruning_report
from model_coding import code_clip, read_clip
from tiny_codec import TINY_SEPARABLE, random_codec
from training_clips import make_cache

from nvc_export.pruning import budget
from nvc_export.pruning.budget import Budget
from nvc_export.pruning.pruner import figures_of
from nvc_export.pruning.recovery import save_pruned
from nvc_models.tian2023 import Tian2023
from nvc_models.training.trainer import load_model

SHARE = 0.85
CLIPS = ["a.mkv", "b.mkv"]
FRAMES = 2


@cache
def budget_of_tiny(program: str) -> Budget:
    figures = figures_of(Tian2023(TINY_SEPARABLE))[program]
    return Budget(**{name: SHARE * value for name, value in figures.items()})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small crops, search briefly, and prune a tiny codec where the tool prunes `full`."""
    monkeypatch.setattr(pruning_report, "CROP", 64)
    monkeypatch.setattr(budget, "REFINEMENTS", 1)
    monkeypatch.setattr(pruning_report, "preset", lambda _: TINY_SEPARABLE)
    monkeypatch.setattr(pruning_report, "paper_budget", budget_of_tiny)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """What the tool is given: a random codec, and clips that it is also trained on."""
    checkpoint = tmp_path / "codec.safetensors"
    save_pruned(checkpoint, random_codec(TINY_SEPARABLE, seed=3), seed=1)
    arguments = ["--checkpoint", str(checkpoint), "--data", str(make_cache(tmp_path))]
    for name in CLIPS:
        arguments += ["-i", str(tmp_path / "clips" / name)]
    arguments += ["--frames", str(FRAMES), "--share", f"{100 * SHARE:g}", "--batches", "1"]
    return [*arguments, "--steps", "1", "--batch", "1", "-o", str(tmp_path / "out" / "pruning")]


@pytest.mark.usefixtures("small")
def test_tool_on_a_tiny_codec(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "pruned.safetensors"
    assert pruning_report.main([*given, "--keep", str(kept)]) == 0
    assert "'step': 1" in capsys.readouterr().err
    result = json.loads((tmp_path / "out" / "pruning.json").read_text())

    assert (result["codec"], result["clips"], result["frames"]) == ("tiny-separable", CLIPS, FRAMES)
    codec: Any = load_model(kept)
    full, left = figures_of(Tian2023(TINY_SEPARABLE)), figures_of(codec)
    assert {program["program"] for program in result["programs"]} == set(full)
    for program in result["programs"]:
        name = program["program"]
        assert (program["before"], program["after"]) == (full[name], left[name])
        assert program["budget"] == {"macs": pytest.approx(SHARE * full[name]["macs"])}
        assert abs(program["errors"]["macs"]) < 0.02

    stages = result["stages"]
    assert stages["before"] == expected_curve(random_codec(TINY_SEPARABLE, seed=3), tmp_path)
    assert stages["recovered"] == expected_curve(codec, tmp_path)
    assert stages["pruned"] not in (stages["before"], stages["recovered"])
    # A random codec's quality does not rise with its bits.
    assert result["bd_rate"] == {"pruned": None, "recovered": None}
    assert result["paper"]["preset_paper"] == full
    for program in result["paper"]["programs"]:
        assert set(program["errors"]) == set(full["intra"])

    lines = (tmp_path / "out" / "pruning.md").read_text().splitlines()
    assert lines[0] == "# Pruning tiny-separable to 85 % of its operations"
    for stage, points in stages.items():
        cells = [f"{p['bpp']:.4f}, {p['psnr']:.2f}" for p in points]
        rate = "0" if stage == "before" else "none"
        assert f"| {' | '.join([stage, *cells, rate])} |" in lines
    assert sum(line.endswith("| +17.65% |") for line in lines) == len(full) * len(full["intra"])


def expected_curve(codec: Any, folder: Path) -> list[dict[str, Any]]:
    """What another tool measures with this codec."""
    clips = [read_clip(folder / "clips" / name, FRAMES) for name in CLIPS]
    points = []
    for quality in pruning_report.QUALITIES:
        coded = [
            code_clip(codec, clip, quality, skip_level=pruning_report.SKIP_LEVEL) for clip in clips
        ]
        bpp, psnr = (
            sum(getattr(clip, name) for clip in coded) / len(coded)
            for name in ("bits_per_pixel", "psnr_rgb_db")
        )
        points.append({"quality": quality, "bpp": round(bpp, 5), "psnr": round(psnr, 3)})
    return points


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (["--data", "nowhere"], 3, "is missing: pack the training data first"),
        (["--share", "130"], 2, "a budget has to be below that"),
        (["--frames", "1000"], 2, "expected at least 1000"),
    ],
    ids=["no data", "no pruning", "short clip"],
)
def test_tool_says_what_is_wrong(
    changes: list[str],
    code: int,
    says: str,
    given: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pruning_report.main([*given, *changes]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pruning_report: ")
    assert says in line
    assert not (tmp_path / "out").exists()
