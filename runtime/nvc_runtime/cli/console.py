"""What is printed, and where: data on standard output, messages on standard error."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

DATA_OUTPUTS = ("-", "md5")
"""Outputs that occupy standard output."""


def say(message: str, *, quiet: bool = False) -> None:
    """Print a message for people on standard error, as one line."""
    if not quiet:
        print(one_line(message), file=sys.stderr, flush=True)


def one_line(message: str) -> str:
    """Put a message on one line and leave nothing in it that would move the cursor."""
    joined = " ".join(message.split())
    return "".join(c if c.isprintable() else "?" for c in joined)


def print_json(data: Mapping[str, Any], *, to_stderr: bool = False) -> None:
    """Print an indented JSON object; infinity and NaN become null, for JSON has neither."""
    text = json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False)
    print(text, file=sys.stderr if to_stderr else sys.stdout, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escape_what_cannot_be_printed() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_broken_pipe(error: BaseException | None) -> bool:
    """Tell whether an error, or one that led to it, is that nobody reads standard output."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, BrokenPipeError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def flush_output() -> bool:
    """Write out what is buffered; False, and nothing left to fail at exit, if nobody reads it."""
    try:
        if sys.stdout is not None:  # It is None if the process was started without one.
            sys.stdout.flush()
    except BrokenPipeError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        return False
    return True
