"""Engines by name, with two kinds that only a measurement wants.

``torch:cuda+tf32`` is the torch engine with TF32 switched on, to see what that would cost in
drift. ``tensorrt-rtx:a100@FOLDER`` runs the plans of an engines directory, whatever GPU they were
compiled for: whether another GPU takes them is one of the questions.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nvc_engines import Engine, EngineSpec, open_engine, parse_engine_spec
from nvc_errors import UsageError

TF32 = "+tf32"


def open_reported(name: str, bundle: str, plans: Path | None = None) -> Engine:
    """Open an engine by its name in a report.

    Plans lie in ``plans/FOLDER/BUNDLE``. Raises ``UsageError`` for a name that is not possible, and
    what opening the engine raises.
    """
    plain, at, folder = name.partition("@")
    if at:
        if plans is None:
            raise UsageError(f"engine {name} runs plans; give their folder with --plans")
        return _open_foreign(parse_engine_spec(plain), plans / folder / bundle)
    if name.endswith(TF32):
        return _open_tf32(parse_engine_spec(name.removesuffix(TF32)))
    return open_engine(name)


def device_facts() -> dict[str, Any]:
    """Return the GPU, its driver and the versions that matter; empty fields where there is none."""
    facts: dict[str, Any] = {"device": None, "capability": None, "driver": _driver()}
    try:
        import torch
    except (ImportError, OSError) as error:
        return facts | {"torch": f"cannot be imported: {error}"}
    facts |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        facts["device"] = torch.cuda.get_device_name()
        facts["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        facts["cudnn"] = torch.backends.cudnn.version()
    return facts


def memory_facts() -> dict[str, int]:
    """Return MiB of device memory in use: torch's at its peak, and all of the device's now."""
    try:
        import torch
    except (ImportError, OSError):
        return {}
    if not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "torch_peak_mib": torch.cuda.max_memory_allocated() >> 20,
        "device_mib": (total - free) >> 20,
    }


def forget_memory_peak() -> None:
    """Let the next ``memory_facts`` tell the peak from now on."""
    with suppress(ImportError, OSError):
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()


def runtime_facts(engine: Engine) -> dict[str, Any]:
    """Return what a compiled engine says of CUDA graphs, and the sizes of its runtime caches."""
    compiled: Any = engine if engine.info.spec.backend == "tensorrt-rtx" else None
    configs = compiled.runtime_configs if compiled else []
    caches = compiled.runtime_caches if compiled else {}
    return {
        "cuda_graphs": sorted({str(config.cuda_graph_strategy) for config in configs}),
        "kernels": sorted(
            {str(config.dynamic_shapes_kernel_specialization_strategy) for config in configs}
        ),
        "caches_read": sum(1 for _, blob in caches.values() if blob),
        "caches": len(caches),
    }


def _open_tf32(spec: EngineSpec) -> Engine:
    import torch

    from nvc_engines.torch import TorchEngine, full_precision_switches

    lowered = {"ieee": "tf32", False: True}
    convolutions = (torch.backends.cudnn, getattr(torch.backends.cudnn, "conv", None))

    class Tf32Engine(TorchEngine):
        """PyTorch with TF32 for convolutions; codecs have no matrix products."""

        def precision_switches(self) -> list[tuple[Any, str, Any]]:
            """Return the switches of full precision but for cuDNN's convolutions."""
            return [
                (owner, name, lowered[value] if owner in convolutions else value)
                for owner, name, value in full_precision_switches()
            ]

    engine = Tf32Engine(spec)
    engine.info = replace(engine.info, flags={**engine.info.flags, "tf32": "convolutions"})
    return engine


def _open_foreign(spec: EngineSpec, engines_dir: Path) -> Engine:
    from nvc_engines.tensorrt_rtx import TensorRtRtxEngine

    class ForeignEngine(TensorRtRtxEngine):
        """TensorRT for RTX on a GPU that its plans may not be for."""

        def check_device(self) -> None:
            """Let the library decide."""

    return ForeignEngine(spec, engines_dir)


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
