"""The scale levels of every codec family."""

from nvc_calib.levels import ScaleLevels

LEVELS = ScaleLevels()
