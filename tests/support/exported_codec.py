"""What the fixtures of the export tests hand out."""

from __future__ import annotations

from dataclasses import dataclass

from nvc_export.bundle_writer import BundleOptions
from nvc_models.graph import CodecGraphs
from nvc_models.tian2023 import Tian2023
from nvc_runtime import Bundle


@dataclass(frozen=True)
class Exported:
    """A codec, its cut into graphs, and the bundle made of it."""

    model: Tian2023
    codec: CodecGraphs
    bundle: Bundle
    options: BundleOptions
