"""What the fixtures of the export tests hand out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nvc_export.bundle_writer import BundleOptions
from nvc_models.graph import CodecGraphs
from nvc_runtime import Bundle

PRUNED = "tiny-separable"
"""The tiny codec that is pruned and exported by the commands, where torch-pruning is installed."""


@dataclass(frozen=True)
class Exported:
    """A codec, its cut into graphs, and the bundle made of it."""

    model: nn.Module
    codec: CodecGraphs
    bundle: Bundle
    options: BundleOptions
