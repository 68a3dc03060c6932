"""The exception tree that every package of the toolchain raises from."""

from nvc_errors.tree import (
    BundleError,
    CalibrationError,
    DamagedInputError,
    EngineError,
    EngineUnavailableError,
    NvcError,
    OutputError,
    StreamError,
    TruncatedStreamError,
    UsageError,
    VerificationError,
    VideoError,
)

__all__ = [
    "BundleError",
    "CalibrationError",
    "DamagedInputError",
    "EngineError",
    "EngineUnavailableError",
    "NvcError",
    "OutputError",
    "StreamError",
    "TruncatedStreamError",
    "UsageError",
    "VerificationError",
    "VideoError",
]
