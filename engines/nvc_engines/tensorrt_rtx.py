"""TensorRT for RTX: plans compiled for a compute capability, kernels chosen on the device.

Two things would let results change while a stream is decoded or between two processes. By
default kernels for a concrete shape are compiled in the background and replace the general
ones when they are ready: here they are compiled before the first run. And the choice is kept
in a runtime cache beside the plan, which also saves its time at the next start.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import tensorrt_rtx

from nvc_engines.compiled import CompiledEngine
from nvc_engines.interface import GraphSource
from nvc_engines.plans import plan_path, target_folder, write_whole
from nvc_engines.spec import EngineSpec
from nvc_errors import OutputError

_LOG: Final = logging.getLogger(__name__)


class TensorRtRtxEngine(CompiledEngine):
    """TensorRT for RTX, with its runtime cache in ``<graph>.cache`` beside the plan."""

    def __init__(self, spec: EngineSpec, engines_dir: Path | None) -> None:
        """Open the engine. Raises ``EngineUnavailableError`` if it cannot run here."""
        keep = spec.options.get("cache", "1") == "1"
        flags = {"kernel_specialization": "eager", "runtime_cache": "on" if keep else "off"}
        super().__init__(spec, engines_dir, tensorrt_rtx, flags)
        self._keep_cache = keep
        self.runtime_caches: dict[Path, tuple[Any, bytes]] = {}
        self.runtime_configs: list[Any] = []

    def create_context(self, source: GraphSource, plan: Any) -> Any:
        """Return an execution context whose kernels are compiled at once, not later."""
        config = plan.create_runtime_config()
        strategies = self.library.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        if self._keep_cache and not config.set_runtime_cache(self._cache_of(source, config)):
            _LOG.warning("kernels of graph %r are not kept%s", source.name, self.reasons())
        # The library does not say whether a context outlives what it was configured with.
        self.runtime_configs.append(config)
        return plan.create_execution_context(config)

    def _cache_of(self, source: GraphSource, config: Any) -> Any:
        assert self.engines_dir is not None
        folder = target_folder(self.engines_dir, self.info.spec.backend, self.gpu)
        path = plan_path(folder, source.name).with_suffix(".cache")
        if path not in self.runtime_caches:
            cache = config.create_runtime_cache()
            try:
                blob = path.read_bytes()
            except OSError:
                blob = b""
            # A cache of another driver or GPU is refused by the library: it starts empty.
            if not (blob and cache.deserialize(blob)):
                blob = b""
            self.runtime_caches[path] = cache, blob
        return self.runtime_caches[path][0]

    def keep(self) -> None:
        """Save the runtime caches that have grown."""
        for path, (cache, before) in self.runtime_caches.items():
            try:
                memory = cache.serialize()
                blob = b"" if memory is None else bytes(memory)
                if blob and blob != before:
                    write_whole(path, blob)
            except (OutputError, RuntimeError) as error:
                _LOG.warning("kernels are chosen again at the next start: %s", error)

    def close(self) -> None:
        """Save the runtime caches, then release the device and what contexts were made with."""
        super().close()
        self.runtime_configs.clear()
        self.runtime_caches.clear()
