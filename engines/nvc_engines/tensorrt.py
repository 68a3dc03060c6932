"""TensorRT: plans compiled on the GPU they run on."""

from __future__ import annotations

from pathlib import Path

import tensorrt

from nvc_engines.compiled import CompiledEngine
from nvc_engines.spec import EngineSpec


class TensorRtEngine(CompiledEngine):
    """TensorRT. A plan holds its kernels, chosen by timing when it was compiled."""

    def __init__(self, spec: EngineSpec, engines_dir: Path | None) -> None:
        """Open the engine. Raises ``EngineUnavailableError`` if it cannot run here."""
        super().__init__(spec, engines_dir, tensorrt, {"kernels": "fixed in the plan"})
