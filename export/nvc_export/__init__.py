"""Export of trained codecs: complexity, ONNX graphs, tables, bundles."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BundleOptions": "nvc_export.bundle_writer",
    "bundle_from_codec": "nvc_export.bundle_writer",
    "complexity_from_codec": "nvc_export.complexity",
    "export_graph": "nvc_export.onnx_export",
    "round_weights_to_half": "nvc_export.bundle_writer",
    "tables_from_codec": "nvc_export.tables",
}

__all__ = [
    "BundleOptions",
    "bundle_from_codec",
    "complexity_from_codec",
    "export_graph",
    "round_weights_to_half",
    "tables_from_codec",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``nvc-export --help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nvc_export' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
