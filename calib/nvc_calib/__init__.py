"""Scale levels, position coding and drift bounds: exact levels from inexact indices."""

from nvc_calib.boundaries import Boundaries, round_epsilon
from nvc_calib.drift import IndexDrift, compare_indices, merge_drifts, recommend_epsilon
from nvc_calib.levels import ScaleLevels
from nvc_calib.position import (
    LevelCoder,
    LevelDecoder,
    LevelEncoder,
    PositionCoder,
    decode_levels,
    encode_levels,
)

__all__ = [
    "Boundaries",
    "IndexDrift",
    "LevelCoder",
    "LevelDecoder",
    "LevelEncoder",
    "PositionCoder",
    "ScaleLevels",
    "compare_indices",
    "decode_levels",
    "encode_levels",
    "merge_drifts",
    "recommend_epsilon",
    "round_epsilon",
]
