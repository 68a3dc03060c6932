"""Scale levels, position coding and drift bounds: exact levels from inexact indices."""

from nvc_calib.boundaries import Boundaries
from nvc_calib.levels import ScaleLevels
from nvc_calib.position import LevelCoder, PositionCoder, decode_levels, encode_levels

__all__ = [
    "Boundaries",
    "LevelCoder",
    "PositionCoder",
    "ScaleLevels",
    "decode_levels",
    "encode_levels",
]
