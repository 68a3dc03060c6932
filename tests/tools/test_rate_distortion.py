"""Metrics against an independent formula, curves with known deltas, and the whole tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_codec import moving_frames, video_info
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nvc_errors import UsageError, VerificationError
from nvc_runtime.video import open_writer

pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import rd_curves
from rate_distortion import (
    REFERENCE_CODECS,
    Curve,
    Point,
    cache,
    delta_rate,
    mean_curve,
    ms_ssim,
    ms_ssim_db,
    reference,
    reference_point,
)
from rate_distortion.metrics import WEIGHTS

Plane = NDArray[np.float64]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of 64x48 in H.264."""
    path = tmp_path_factory.mktemp("clips") / "waves.mp4"
    with open_writer(str(path), video_info(64, 48)) as writer:
        for frame in moving_frames(64, 48, 5):
            writer.write(frame)
    return path


def ssim_by_definition(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Both parts of SSIM from weighted means of deviations, window by window."""
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    windows_x, windows_y = (sliding_window_view(p, (11, 11)) for p in (x, y))
    mean_x, mean_y = (np.einsum("ijkl,kl->ij", w, kernel) for w in (windows_x, windows_y))
    dx, dy = windows_x - mean_x[..., None, None], windows_y - mean_y[..., None, None]
    var_x, var_y, cov = (
        np.einsum("ijkl,ijkl,kl->ij", a, b, kernel) for a, b in ((dx, dx), (dy, dy), (dx, dy))
    )
    c1, c2 = 2.55**2, 7.65**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * cov + c2) / (var_x + var_y + c2)


def test_ms_ssim_follows_its_definition() -> None:
    a = next(moving_frames(178, 177, 1))
    noise = np.random.default_rng(3).normal(0, 20, a.shape)
    b = np.clip(a + noise, 0, 255).astype(np.uint8)
    expected = []
    for channel in range(3):
        x, y, value = a[..., channel].astype(float), b[..., channel].astype(float), 1.0
        for scale, weight in enumerate(WEIGHTS):
            luminance, structure = ssim_by_definition(x, y)
            value *= float(np.mean(luminance * structure if scale == 4 else structure)) ** weight
            height, width = (side // 2 for side in x.shape)
            x, y = (
                p[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
                for p in (x, y)
            )
        expected.append(value)
    assert ms_ssim(a, b) == pytest.approx(np.mean(expected), abs=1e-9)
    assert 0.5 < ms_ssim(a, b) < 0.99


def test_ms_ssim_of_equal_and_of_opposite_frames() -> None:
    frame = next(moving_frames(176, 176, 1))
    assert ms_ssim(frame, frame) == pytest.approx(1.0)
    assert ms_ssim(frame, 255 - frame) < 0.3
    assert ms_ssim_db(0.99) == pytest.approx(20.0)


def test_ms_ssim_needs_room_for_its_window() -> None:
    frame = np.zeros((175, 400, 3), np.uint8)
    with pytest.raises(UsageError, match="176x176"):
        ms_ssim(frame, frame)


def curve(rates: Sequence[float], qualities: Sequence[float], codec: str = "codec") -> Curve:
    pairs = zip(rates, qualities, strict=True)
    points = (Point(n, round(1000 * r), r, q) for n, (r, q) in enumerate(pairs))
    return Curve(codec, tuple(points))


RATES, QUALITIES = [0.1, 0.2, 0.4, 0.8], [30.0, 33.0, 36.0, 38.5]


@pytest.mark.parametrize(("factor", "percent"), [(1.0, 0.0), (2.0, 100.0), (0.5, -50.0)])
def test_delta_rate_of_scaled_rates(factor: float, percent: float) -> None:
    test = curve([factor * rate for rate in RATES], QUALITIES)
    delta = delta_rate(curve(RATES, QUALITIES), test, "psnr_rgb_db")
    assert delta == pytest.approx(percent, abs=1e-6)


def test_delta_rate_does_not_depend_on_the_order_of_points() -> None:
    test = curve(RATES[::-1], QUALITIES[::-1])
    assert delta_rate(curve(RATES, QUALITIES), test, "psnr_rgb_db") == pytest.approx(0)


@pytest.mark.parametrize(
    "test",
    [
        curve(RATES, [q + 20 for q in QUALITIES]),
        curve(RATES, [q + 6 for q in QUALITIES]),
        curve(RATES, [30.0, 33.0, 32.0, 38.0]),
        curve(RATES[:3], QUALITIES[:3]),
    ],
    ids=["apart", "little overlap", "falls", "three points"],
)
def test_delta_rate_that_means_nothing_is_none(test: Curve) -> None:
    assert delta_rate(curve(RATES, QUALITIES), test, "psnr_rgb_db") is None


def test_delta_rate_of_a_curve_within_the_range_of_the_other() -> None:
    rates, qualities = [0.05, *RATES, 1.6, 3.2], [20.0, *QUALITIES, 44.0, 50.0]
    test = curve([1.5 * rate for rate in RATES], QUALITIES)
    delta = delta_rate(curve(rates, qualities), test, "psnr_rgb_db")
    assert delta == pytest.approx(50, abs=3)


def test_delta_rate_of_a_metric_that_was_not_measured() -> None:
    anchor = curve(RATES, QUALITIES)
    assert delta_rate(anchor, anchor, "ms_ssim") is None


def test_mean_curve() -> None:
    mean = mean_curve([curve(RATES, QUALITIES), curve([3 * r for r in RATES], QUALITIES[::-1])])
    assert [p.bits_per_pixel for p in mean.points] == pytest.approx([2 * r for r in RATES])
    assert mean.points[0].psnr_rgb_db == pytest.approx((30 + 38.5) / 2)


@pytest.mark.parametrize("codec", REFERENCE_CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("keyint", [0, 2])
def test_reference_codec(codec: Any, keyint: int, clip: Path) -> None:
    points = [
        reference_point(codec, clip, crf, keyint=keyint, frames=4, with_ms_ssim=False)
        for crf in (20, 36)
    ]
    assert points[0].size_bytes > points[1].size_bytes > 0
    assert points[0].psnr_rgb_db > points[1].psnr_rgb_db > 20
    assert points[0].psnr_rgb_db > 30
    assert points[0].bits_per_pixel == 8 * points[0].size_bytes / (4 * 64 * 48)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_reference_codec_that_loses_or_adds_a_frame_is_refused(
    more: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = reference._encode

    def miscount(*given: Any) -> int:
        return encode(*given[:-1], given[-1] + more) - more

    monkeypatch.setattr(reference, "_encode", miscount)
    with pytest.raises(VerificationError, match=f"4 frames in, {4 + more} frames out"):
        reference_point(REFERENCE_CODECS[0], clip, 30, keyint=0, frames=4, with_ms_ssim=False)


def arguments(clip: Path, bundle: Path, output: Path) -> list[str]:
    return [
        *("-i", str(clip), "-o", str(output), "--bundle", str(bundle)),
        *("--engine", "ort:cpu,threads=1", "--frames", "2", "--keyint", "2"),
        *("--qualities", "0,3", "--crf", "18,24,30,36", "--cache", str(output.parent / "cache")),
    ]


def test_tool(
    clip: Path, block_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results" / "rate-0.1"
    given = arguments(clip, block_bundle_path, output)
    assert rd_curves.main(given) == 0
    result = json.loads((tmp_path / "results" / "rate-0.1.json").read_text())
    found = result["clips"]["waves"]
    assert [p["setting"] for p in found["curves"]["block"]] == [0, 3]
    assert len(found["curves"]["x264 medium"]) == 4
    assert set(found["bd_rate_percent"]) == {"block"}
    assert set(found["bd_rate_percent"]["block"]) == {codec.name for codec in REFERENCE_CODECS}
    assert result["machine"]["cpu"]
    table = (tmp_path / "results" / "rate-0.1.md").read_text()
    assert "rate-0.1-waves.svg" in table
    assert (tmp_path / "results" / "rate-0.1-waves.svg").read_text().startswith("<?xml")

    def refuse(*_: Any, **__: Any) -> Point:
        raise AssertionError("the point is in the cache")

    monkeypatch.setattr(cache, "reference_point", refuse)
    assert rd_curves.main(given) == 0
    again = json.loads((tmp_path / "results" / "rate-0.1.json").read_text())
    assert again["clips"] == result["clips"]

    monkeypatch.setattr(rd_curves, "neural_point", refuse)
    report = str(tmp_path / "results" / "rate-0.1.json")
    assert rd_curves.main([*given, "--known", report]) == 0
    again = json.loads((tmp_path / "results" / "rate-0.1.json").read_text())
    assert again["clips"] == result["clips"]
    with pytest.raises(AssertionError):
        rd_curves.main([*given, "--known", report, "--qualities", "0,2"])
    (tmp_path / "other.json").write_text("[]")
    assert rd_curves.main([*given, "--known", str(tmp_path / "other.json")]) == 2


def test_tool_refuses_bundles_of_one_name(
    clip: Path, block_bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(clip, block_bundle_path, tmp_path / "out")
    assert rd_curves.main([*given, "--bundle", str(block_bundle_path)]) == 2
    assert "bundles must have different names" in capsys.readouterr().err


def test_tool_refuses_clips_of_one_name(
    clip: Path, block_bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*arguments(clip, block_bundle_path, tmp_path / "out"), "-i", str(clip)]
    assert rd_curves.main(given) == 2
    assert "different names" in capsys.readouterr().err
