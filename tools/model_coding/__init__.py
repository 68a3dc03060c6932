"""Codes clips with a model that is being trained, without engines, streams or files."""

from model_coding.clips import read_clip
from model_coding.codec import CodedClip, code_clip
from model_coding.curves import bd_rate, mean_points

__all__ = ["CodedClip", "bd_rate", "code_clip", "mean_points", "read_clip"]
