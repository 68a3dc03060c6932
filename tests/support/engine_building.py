"""Tiny graphs, bundles and a stand-in compiler for the tests of engine building."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvc_engines import GraphSource, gpu_named
from nvc_export import plan_worker
from nvc_export.frame_sizes import FrameSizes, frame_sizes_from_options
from nvc_export.plan_compiler import (
    CompiledPlan,
    CompileJob,
    check_inputs,
    checked_plan,
    load_library,
)
from nvc_runtime import Bundle

FOLDER = Path(__file__).parent / "compiler_stand_in"


def install_stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the stand-in under the library's name, also in processes started from here."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    import tensorrt_rtx

    monkeypatch.setitem(sys.modules, "tensorrt_rtx", tensorrt_rtx)
    return tensorrt_rtx


def compile_plan(job: CompileJob) -> CompiledPlan:
    """Compile a graph in this process, where a second plan may get other bytes than the first."""
    library, gpu = load_library(job.backend), gpu_named(job.gpu)
    check_inputs(job)
    log, content, error = plan_worker.log_of(library), None, None
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        content = plan_worker.build(library, log, job.backend, gpu.sm, job.onnx, job.inputs)
    except Exception as failure:
        error = " ".join(str(failure).split()) or type(failure).__name__
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return checked_plan(
        job, content, lines=log.lines, error=error, elapsed_s=elapsed_s, cpu_s=cpu_s, fixed=False
    )


def graph_of(kind: str, name: str = "tiny", domain: str = "") -> GraphSource:
    """Input ``x`` (1, 4, side, side) -> a convolution -> the operator ``kind`` -> output ``y``.

    ``kind`` is an operator of one input, or MatMul, or DeformConv.
    """
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = np.random.default_rng(3).standard_normal((4, 4, 3, 3)).astype(np.float32)
    inputs = {"MatMul": ["c", "c"], "DeformConv": ["c", "decoder.warp.weight", "offset"]}
    operator = helper.make_node(kind, inputs.get(kind, ["c"]), ["y"], name="node_2", domain=domain)
    if kind == "MatMul":
        entry = operator.metadata_props.add()
        entry.key, entry.value = "namespace", "decoder.attention"
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "decoder.stem.weight"], ["c"], "node_1", pads=[1] * 4),
            operator,
        ],
        name,
        [helper.make_tensor_value_info("x", 1, [1, 4, "side", "side"])],
        [helper.make_tensor_value_info("y", 1, [1, 4, "side", "side"])],
        [
            onnx.numpy_helper.from_array(weight, "decoder.stem.weight"),
            onnx.numpy_helper.from_array(weight, "decoder.warp.weight"),
            onnx.numpy_helper.from_array(np.zeros((1, 18, 8, 8), np.float32), "offset"),
        ],
    )
    opsets = [helper.make_opsetid("", 20)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return GraphSource.from_onnx(name, model.SerializeToString())


def block_bundle(folder: Path, replaced: dict[str, bytes] | None = None) -> Bundle:
    """Return the bundle of ``block_codec``, with the ONNX bytes of some graphs replaced."""
    from block_codec import block_files

    files = block_files()
    manifest = json.loads(files["manifest.json"])
    for name, data in (replaced or {}).items():
        path = manifest["graphs"][name]["file"]
        files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"][path] = {"sha256": digest, "size_bytes": len(data)}
    files["manifest.json"] = json.dumps(manifest).encode()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return Bundle(folder)


def small_sizes(bundle: Bundle) -> FrameSizes:
    """Return frames from one block to 128x64."""
    return frame_sizes_from_options(bundle.manifest.alignment, size="128x64")


def content_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
