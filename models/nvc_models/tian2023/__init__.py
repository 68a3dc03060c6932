"""The codec of Tian et al., "Towards Real-Time Neural Video Codec for Cross-Platform
Application Using Calibration Information" (MM'23), with configurable widths.
"""  # noqa: D205

from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.config import InterConfig, IntraConfig, Tian2023Config, preset
from nvc_models.tian2023.inter import InterModel, InterResult, Reference
from nvc_models.tian2023.intra import IntraModel, IntraResult

__all__ = [
    "InterConfig",
    "InterModel",
    "InterResult",
    "IntraConfig",
    "IntraModel",
    "IntraResult",
    "Reference",
    "Tian2023",
    "Tian2023Config",
    "preset",
]
