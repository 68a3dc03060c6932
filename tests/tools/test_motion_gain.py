"""The tool that measures what motion tells of the next frame."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's clips need nvc[bench]")

from motion_gain import entropy, psnr_db  # noqa: E402 - needs torch


def test_psnr_of_a_known_error() -> None:
    frame = torch.full((2, 1, 8, 8), 0.5)
    assert psnr_db(frame, frame + 0.1) == pytest.approx(20.0, abs=1e-4)


def test_entropy_of_whole_numbers() -> None:
    assert entropy(torch.zeros(1, 2, 4, 4)) == 0.0
    assert entropy(torch.tensor([0.0, 0.0, 1.0, 1.0])) == pytest.approx(1.0)
    assert entropy(torch.arange(8.0).expand(3, 8)) == pytest.approx(3.0)
