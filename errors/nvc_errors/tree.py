"""Exceptions and the exit codes the command-line tools give them.

::

    NvcError                          1  failure
    ├── UsageError (ValueError)       2  an option or argument is wrong
    ├── DamagedInputError (ValueError) 3  an input cannot be trusted
    │   ├── BundleError                  a bundle is damaged or of another format
    │   ├── StreamError                  a stream is damaged or of another format
    │   │   └── TruncatedStreamError     a stream ends before its last packet does
    │   └── VideoError                   a video file cannot be read
    ├── VerificationError             4  two engines disagree
    │   └── CalibrationError             an engine's drift exceeds the stream's epsilon
    ├── EngineError (RuntimeError)    5  an engine failed
    │   └── EngineUnavailableError       an engine cannot run here
    └── OutputError (OSError)         1  an output cannot be written

A message says what is wrong, what was found, what was expected, and what to do.
A user error is printed as one line on stderr; anything that is not an ``NvcError`` is a bug
in this project and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class NvcError(Exception):
    """Base of every error this toolchain raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(NvcError, ValueError):
    """An option or argument is wrong."""

    exit_code: ClassVar[int] = 2


class DamagedInputError(NvcError, ValueError):
    """An input cannot be trusted."""

    exit_code: ClassVar[int] = 3


class BundleError(DamagedInputError):
    """A bundle is damaged, incomplete, or of another format version."""


class StreamError(DamagedInputError):
    """A stream is damaged, or of another format version."""


class TruncatedStreamError(StreamError):
    """A stream ends before its last packet does."""


class VideoError(DamagedInputError):
    """A video input cannot be opened or decoded."""


class VerificationError(NvcError):
    """Two engines, or an engine and a record, disagree."""

    exit_code: ClassVar[int] = 4


class CalibrationError(VerificationError):
    """A decoder's scale indices differ from the encoder's by more than epsilon."""


class EngineError(NvcError, RuntimeError):
    """An engine could not be loaded or failed while running."""

    exit_code: ClassVar[int] = 5


class EngineUnavailableError(EngineError):
    """An engine cannot run on this machine; the message says what is missing."""


class OutputError(NvcError, OSError):
    """An output cannot be written."""
