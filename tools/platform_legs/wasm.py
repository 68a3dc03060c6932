"""The leg that runs ONNX Runtime Web (WebAssembly) in Node: the same bits on every host CPU."""

from __future__ import annotations

import os
from pathlib import Path

from nvc_engines import Engine
from platform_legs.cache import Cache, require_tools, run_tool
from platform_legs.leg import Leg
from platform_legs.remote import RemoteEngine

_VERSION = "1.30.0"
"""Of the npm package, which is not released as often as the native engine: its own, not the host's.
"""
_WORKER = Path(__file__).with_name("wasm_worker.mjs")


def wasm_legs() -> list[Leg]:
    """Return the WebAssembly leg."""
    return [Leg("wasm", "ONNX Runtime Web (WebAssembly) in Node", 8.0, _open)]


def _open(cache: Cache) -> Engine:
    require_tools("node")
    folder = cache.folder(f"onnxruntime-web-{_VERSION}", _fill)
    package = folder / "node_modules" / "onnxruntime-web"
    # The specification is that of the native engine: nvc has no name for this one.
    return RemoteEngine(
        ["node", _WORKER, os.fspath(package)], spec="ort:cpu,threads=1", flags={"target": "wasm"}
    )


def _fill(folder: Path) -> None:
    require_tools("npm")
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    package = f"onnxruntime-web@{_VERSION}"
    run_tool(["npm", "install", *options, "--prefix", folder, package], cwd=folder)
