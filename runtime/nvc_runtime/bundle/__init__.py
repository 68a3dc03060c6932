"""Bundles: trained codecs as data."""

from nvc_runtime.bundle.bundle import Bundle
from nvc_runtime.bundle.catalog import DEFAULT_BUNDLE, find_bundle, known_bundles, open_bundle
from nvc_runtime.bundle.manifest import Defaults, Manifest, parse_manifest
from nvc_runtime.bundle.program import CodeStep, GraphSpec, Program, RunStep, TensorSpec

__all__ = [
    "DEFAULT_BUNDLE",
    "Bundle",
    "CodeStep",
    "Defaults",
    "GraphSpec",
    "Manifest",
    "Program",
    "RunStep",
    "TensorSpec",
    "find_bundle",
    "known_bundles",
    "open_bundle",
    "parse_manifest",
]
