"""A codec that works at 1/8 of the frame size, after the low-resolution features of LRVC.

The decoder moves the frame before by vectors that are sent, one for 8x8 pixels. Every layer is
pointwise, depthwise or has a kernel of 2x2 or 3x3, and no operator is missing on any target.
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
