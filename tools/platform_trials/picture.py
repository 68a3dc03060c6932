"""The matrix as a picture: failures without and with calibration, and drift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvc_calib import PositionCoder
from nvc_errors import UsageError
from platform_trials.results import MatrixResult, Pair

_SMALLEST_DRIFT = 1e-8
_LABEL_LIMIT = 16


def draw_matrix(result: MatrixResult, path: Path) -> None:
    """Write heat maps as an image; its suffix chooses the format.

    Raises ``UsageError`` if matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise UsageError("the picture needs matplotlib: pip install matplotlib") from error
    plan = result.plan
    # Without calibration, then with: the two that matter most.
    coders = [c for c in (PositionCoder.NONE, plan.drift_coder) if c in plan.coders]
    coders = list(dict.fromkeys(coders))
    encoders = [record.leg.name for record in result.legs if record.info]
    decoders = [n for n in encoders if any(pair.decoder == n for pair in result.pairs)]
    columns, rows = len(coders) + 1, len(plan.gops)
    width = 1.8 + 0.42 * len(decoders)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, (1.6 + 0.34 * len(encoders)) * rows),
        squeeze=False,
        layout="constrained",
    )
    for row, gop in enumerate(plan.gops):
        for column, coder in enumerate(coders):
            values = _grid(
                result.chosen(gop, coder), encoders, decoders, lambda p: 100 * p.failure_rate
            )
            axis = axes[row][column]
            image = axis.imshow(values, vmin=0, vmax=100, cmap="YlOrRd")
            label = "no calibration" if coder is PositionCoder.NONE else coder.value
            _label(
                axis, f"failed frames, %: {label}, GOP {gop}", encoders, decoders, values, "{:.0f}"
            )
            figure.colorbar(image, ax=axis, shrink=0.7)
        drift = _grid(
            result.chosen(gop, plan.drift_coder),
            encoders,
            decoders,
            lambda p: np.log10(max(p.decoding.total_drift.max_difference, _SMALLEST_DRIFT)),
        )
        axis = axes[row][-1]
        limit = np.log10(result.epsilon) if result.epsilon else -2.0
        image = axis.imshow(drift, vmin=np.log10(_SMALLEST_DRIFT), vmax=limit, cmap="viridis")
        _label(axis, f"log10 of the largest drift, GOP {gop}", encoders, decoders, drift, "{:.1f}")
        figure.colorbar(image, ax=axis, shrink=0.7)
    figure.suptitle(
        f"{result.bundle_name}: rows encode, columns decode; epsilon {result.epsilon:.2g}"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _grid(
    pairs: list[Pair], encoders: list[str], decoders: list[str], value: object
) -> NDArray[np.float64]:
    assert callable(value)
    grid = np.full((len(encoders), len(decoders)), np.nan)
    for pair in pairs:
        grid[encoders.index(pair.encoder), decoders.index(pair.decoder)] = value(pair)
    return grid


def _label(
    axis: object,
    title: str,
    encoders: list[str],
    decoders: list[str],
    values: NDArray[np.float64],
    form: str,
) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    axis.set_title(title, fontsize=9)
    axis.set_xticks(range(len(decoders)), decoders, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(encoders)), encoders, fontsize=8)
    if max(values.shape) > _LABEL_LIMIT:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axis.text(column, row, form.format(value), ha="center", va="center", fontsize=6)
