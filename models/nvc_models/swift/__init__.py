"""A codec that works at 1/8 of the frame size and sends no motion.

After the low-resolution features of LRVC and the single stream of SSNVC: the decoder predicts from
the feature it already has, every layer is pointwise, depthwise or a 2x2 stride, and no operator is
missing on any target.
"""

from nvc_models.swift.codec import InterModel, IntraModel, Reference, Swift
from nvc_models.swift.config import InterConfig, IntraConfig, SwiftConfig, preset

__all__ = [
    "InterConfig",
    "InterModel",
    "IntraConfig",
    "IntraModel",
    "Reference",
    "Swift",
    "SwiftConfig",
    "preset",
]
