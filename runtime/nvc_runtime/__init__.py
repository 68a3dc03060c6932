"""Runtime of the toolchain: encode and decode streams with a bundle on an engine."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Bundle": "nvc_runtime.bundle",
    "DecodeReport": "nvc_runtime.codec",
    "DecodedFrame": "nvc_runtime.codec",
    "Decoder": "nvc_runtime.codec",
    "EncodeReport": "nvc_runtime.codec",
    "EncodedFrame": "nvc_runtime.codec",
    "Encoder": "nvc_runtime.codec",
    "EncoderSettings": "nvc_runtime.codec",
    "decode_file": "nvc_runtime.files",
    "encode_file": "nvc_runtime.files",
    "find_bundle": "nvc_runtime.bundle",
    "open_bundle": "nvc_runtime.bundle",
    "open_reader": "nvc_runtime.video",
    "open_writer": "nvc_runtime.video",
}

__all__ = [
    "Bundle",
    "DecodeReport",
    "DecodedFrame",
    "Decoder",
    "EncodeReport",
    "EncodedFrame",
    "Encoder",
    "EncoderSettings",
    "decode_file",
    "encode_file",
    "find_bundle",
    "open_bundle",
    "open_reader",
    "open_writer",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``nvc-run --help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nvc_runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
