"""``nvc-export gpus``: the GPUs that plans can be compiled for."""

from __future__ import annotations

from nvc_export.cli import options
from nvc_runtime.cli.console import print_json


def gpus(
    json: options.JsonOption = False,
) -> None:
    """List the GPUs that build-engine knows, and which compilers can target each."""
    from nvc_engines import GPUS

    if json:
        rows = [
            {
                "name": gpu.name,
                "display_name": gpu.display_name,
                "sm": gpu.sm,
                "backends": list(gpu.backends),
                "note": gpu.note,
            }
            for gpu in GPUS.values()
        ]
        print_json({"gpus": rows})
        return
    for gpu in GPUS.values():
        backends = ", ".join(gpu.backends)
        print(f"{gpu.name:<11}SM {gpu.sm:<5}{gpu.display_name:<28}{backends}: {gpu.note}")
