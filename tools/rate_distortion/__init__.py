"""What `rd_curves.py` needs: metrics, points of each codec, Bjontegaard deltas and plots."""

from rate_distortion.cache import cached_curve, cached_point
from rate_distortion.curves import Curve, Point, delta_rate, mean_curve
from rate_distortion.metrics import ms_ssim, ms_ssim_db
from rate_distortion.neural import neural_point
from rate_distortion.plots import Marker, draw_curves, draw_overview, draw_progress
from rate_distortion.reference import (
    REFERENCE_CODECS,
    ReferenceCodec,
    reference_codec,
    reference_point,
)

__all__ = [
    "REFERENCE_CODECS",
    "Curve",
    "Marker",
    "Point",
    "ReferenceCodec",
    "cached_curve",
    "cached_point",
    "delta_rate",
    "draw_curves",
    "draw_overview",
    "draw_progress",
    "mean_curve",
    "ms_ssim",
    "ms_ssim_db",
    "neural_point",
    "reference_codec",
    "reference_point",
]
