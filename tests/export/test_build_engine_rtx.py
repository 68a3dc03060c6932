"""TensorRT for RTX itself, on a machine without a GPU: what only the real compiler can show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engine_building import block_bundle, compile_plan, content_of, graph_of, small_sizes

from nvc_engines import gpu_named
from nvc_errors import EngineError
from nvc_export.engine_builder import BuildOptions, build_engines
from nvc_export.inspection import inspect_folder
from nvc_export.lint import NO_PARSER, lint_graphs
from nvc_export.plan_compiler import CompileJob
from nvc_export.plan_header import header_from_plan

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="needs nvc[tensorrt-rtx]")

GPUS = ("rtx2080", "a100", "rtx3090", "rtx4090", "rtx5090")
X = {"x": ((1, 4, 8, 8), (1, 4, 16, 16), (1, 4, 32, 32))}


def job_of(kind: str, gpu: str) -> CompileJob:
    return CompileJob("tensorrt-rtx", gpu, "tiny", graph_of(kind).onnx, X)


@pytest.mark.parametrize("gpu", GPUS)
def test_a_graph_compiles_to_the_same_bytes_for_one_target_without_tf32(gpu: str) -> None:
    first, second = (compile_plan(job_of("Relu", gpu)) for _ in range(2))
    assert first.content == second.content
    header = header_from_plan(first.content, gpu)
    assert header.targets == (gpu_named(gpu).sm,)
    assert header.tf32 is False
    assert header.version == tensorrt_rtx.__version__
    assert "info: " in first.log


def test_the_lint_knows_what_the_compiler_refuses() -> None:
    for gpu, works in (("rtx2080", False), ("rtx3090", True)):
        assert (not lint_graphs([graph_of("MatMul")], "tensorrt-rtx", [gpu_named(gpu)])) is works
    with pytest.raises(EngineError, match="FP32 GEMM"):
        compile_plan(job_of("MatMul", "rtx2080"))
    assert compile_plan(job_of("MatMul", "rtx3090")).content


def test_the_lint_s_list_is_the_parser_s() -> None:
    onnx = pytest.importorskip("onnx")

    class Log(tensorrt_rtx.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt_rtx.ILogger.__init__(self)

        def log(self, _severity: object, _message: str) -> None:
            return

    log = Log()
    builder = tensorrt_rtx.Builder(log)
    network = builder.create_network(0)
    parser = tensorrt_rtx.OnnxParser(network, log)
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    unsupported = {name for name in known if not parser.supports_operator(name)}
    assert unsupported == NO_PARSER & known


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: fixed addresses")
def test_a_bundle_builds_twice_to_the_same_bytes(tmp_path: Path) -> None:
    bundle = block_bundle(tmp_path / "bundle")
    options = BuildOptions(small_sizes(bundle), decoder_only=True, jobs=2)
    targets = ["rtx2080", "rtx4090"]
    reports = [build_engines(bundle, targets, tmp_path / name, options) for name in "ab"]
    first, second = (
        {name: data for name, data in content_of(tmp_path / folder).items() if ".log" not in name}
        for folder in "ab"
    )
    assert first == second
    assert reports[0].notes == ()
    assert len(reports[0].plans) == len(first) // 2 > 3 * len(targets)
    assert inspect_folder(tmp_path / "a").problems == ()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Runtime", ["deserialize_cuda_engine"]),
        (
            "ICudaEngine",
            [
                *("create_runtime_config", "create_execution_context", "num_io_tensors"),
                *("get_tensor_name", "get_tensor_mode", "get_tensor_dtype"),
                "get_tensor_profile_shape",
            ],
        ),
        (
            "IRuntimeConfig",
            [
                *("create_runtime_cache", "set_runtime_cache"),
                "dynamic_shapes_kernel_specialization_strategy",
            ],
        ),
        ("IRuntimeCache", ["serialize", "deserialize"]),
        ("DynamicShapesKernelSpecializationStrategy", ["EAGER"]),
        (
            "IExecutionContext",
            [
                *("set_input_shape", "get_tensor_shape", "set_tensor_address"),
                "execute_async_v3",
            ],
        ),
    ],
)
def test_the_library_has_the_calls_that_running_a_plan_takes(kind: str, names: list[str]) -> None:
    """Nothing else shows, without a GPU, that a new release still has them."""
    assert [name for name in names if not hasattr(getattr(tensorrt_rtx, kind), name)] == []
