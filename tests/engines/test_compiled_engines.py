"""Plans on disk, and the engines that run them, against a stand-in for library and GPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plan_stand_in import (
    FakeContext,
    FakePlan,
    HostBuffers,
    fake_library,
    record_of,
    stand_in,
)

from nvc_engines import Engine, GraphSource, gpu_named, open_engine
from nvc_engines.plans import plan_path, read_plan, record_path, write_plan
from nvc_engines.probe_graph import check_precision, probe_source
from nvc_errors import EngineError, EngineUnavailableError, OutputError


def dynamic_probe() -> GraphSource:
    """The probe's convolution with free height and width."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(probe_source().onnx)
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_param = "size"
    return GraphSource.from_onnx("probe", model.SerializeToString())


@pytest.fixture(params=["tensorrt-rtx", "tensorrt"])
def opener(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path | None], Engine]]:
    backend: str = request.param
    with stand_in(backend, monkeypatch):
        yield lambda path: open_engine(f"{backend}:rtx2080", engines_dir=path)


def test_a_plan_runs_at_two_sizes(opener: Callable[[Path | None], Engine], tmp_path: Path) -> None:
    source = dynamic_probe()
    with opener(tmp_path) as engine:
        backend = engine.info.spec.backend
        write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx, backend))
        with open_engine("ort:cpu,threads=1") as reference:
            for size in (16, 24):
                x = np.random.default_rng(size).random((1, 32, size, size), np.float32)
                graph = engine.load(source, {"x": x.shape})
                found = engine.download(graph.run({"x": engine.upload(x)})["y"])
                expected = reference.load(source, {"x": x.shape}).run({"x": x})["y"]
                np.testing.assert_array_equal(found, expected)
        assert engine.info.flags["tf32"] == "off"


def test_the_probe_runs_as_a_plan(opener: Callable[[Path | None], Engine], tmp_path: Path) -> None:
    source = probe_source()
    with opener(tmp_path) as engine:
        backend = engine.info.spec.backend
        write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx, backend))
        check_precision(engine)


def test_failures_say_why(
    opener: Callable[[Path | None], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeContext, "largest", 32)
    source = dynamic_probe()
    with opener(tmp_path) as engine:
        backend = engine.info.spec.backend
        with pytest.raises(EngineUnavailableError, match="build-engine --gpu rtx2080"):
            engine.load(source, {"x": (1, 32, 16, 16)})
        old = b"of another version"
        write_plan(tmp_path, "probe", old, record_of(source, old, backend))
        with pytest.raises(EngineUnavailableError, match="version tag does not match"):
            engine.load(source, {"x": (1, 32, 16, 16)})
        write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx, backend))
        with pytest.raises(EngineError, match=r"to \(1, 32, 32, 32\), not \(1, 32, 40, 16\)"):
            engine.load(source, {"x": (1, 32, 40, 16)})
        graph = engine.load(source, {"x": (1, 32, 16, 16)})
        with pytest.raises(EngineError, match="is a ndarray; expected"):
            graph.run({"x": np.zeros((1, 32, 16, 16), np.float32)})
        with pytest.raises(EngineError, match="was loaded for"):
            graph.run({"x": engine.upload(np.zeros((1, 32, 8, 8), np.float32))})
        with pytest.raises(EngineError, match=r"failed in graph 'probe': device lost$"):
            graph.run({"x": engine.upload(np.full((1, 32, 16, 16), -1e7, np.float32))})
        with monkeypatch.context() as patch:
            patch.setattr(FakeContext, "set_tensor_address", lambda *_: False)
            with pytest.raises(EngineError, match="failed in graph 'probe'"):
                graph.run({"x": engine.upload(np.zeros((1, 32, 16, 16), np.float32))})
        with pytest.raises(EngineError, match="missing x"):
            graph.run({})
    with pytest.raises(EngineError, match="closed"):
        engine.load(source, {"x": (1, 32, 16, 16)})


def test_a_plan_with_other_tensors_is_refused(
    opener: Callable[[Path | None], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe_source()
    with opener(tmp_path) as engine:
        backend = engine.info.spec.backend
        write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx, backend))
        monkeypatch.setattr(FakePlan, "get_tensor_dtype", lambda *_: "half")
        with pytest.raises(EngineError, match="has 'x' as half"):
            engine.load(source, {"x": (1, 32, 16, 16)})
        monkeypatch.setattr(FakePlan, "get_tensor_name", lambda _, index: "xz"[index])
        with pytest.raises(EngineError, match=r"outputs \['z'\]"):
            engine.load(source, {"x": (1, 32, 16, 16)})


def test_no_directory_and_another_gpu_are_told(
    opener: Callable[[Path | None], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opener(None) as engine, pytest.raises(EngineUnavailableError, match="no engines dir"):
        engine.load(probe_source(), {"x": (1, 32, 16, 16)})
    monkeypatch.setattr(HostBuffers, "capability", (8, 6))
    with pytest.raises(EngineUnavailableError, match=r"capability 7\.5, but .* has 8\.6"):
        opener(None)


@pytest.mark.parametrize("option", ["", ",cache=0"])
def test_the_runtime_cache_is_kept_beside_the_plan(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx))
    path = tmp_path / "probe.cache"
    with stand_in("tensorrt-rtx", monkeypatch):
        for before, after in ((None, b"new"), (b"old", b"old")):
            if before:
                path.write_bytes(before)
            engine = open_engine(f"tensorrt-rtx:rtx2080{option}", engines_dir=tmp_path)
            engine.load(source, {"x": (1, 32, 16, 16)})
            engine.close()
            if option:
                assert not path.exists() or path.read_bytes() == before
            else:
                assert path.read_bytes() == after
    assert not list(tmp_path.glob(".nvc-*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"backend": "tensorrt"}, "backend is tensorrt, expected tensorrt-rtx"),
        ({"gpu": "rtx3080"}, "compute capability is 86, expected 75"),
        ({"gpu": "rtx9999"}, "unknown GPU 'rtx9999'"),
        (
            {"onnx_sha256": "0" * 64, "bundle": "other"},
            r"sha256 of the graph .* bundle 'other' \(abababababababab\); .*-o .* --bundle",
        ),
        ({"backend_version": "0.9"}, r"library version is 0\.9, expected 1\.0; compile it with"),
        ({"precision": "fp16"}, "precision is fp16, expected fp32"),
        ({"tf32": True}, "TF32 is True"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", b"plan", replace(record_of(source, b"plan"), **change))
    with pytest.raises(EngineError, match=says):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu_named("rtx2080"), "1.0")


def test_a_plan_lies_in_its_target_s_folder_or_in_the_one_given(tmp_path: Path) -> None:
    source, gpu = probe_source(), gpu_named("rtx2080")
    folder = tmp_path / "tensorrt-rtx-sm75"
    write_plan(folder, "probe", b"plan", record_of(source, b"plan"))
    for engines_dir in (tmp_path, folder):
        plan = read_plan(engines_dir, source, "tensorrt-rtx", gpu, "1.0")
        assert plan.path == folder / "probe.plan"
        assert plan.advice.endswith(f"--gpu rtx2080 -y -o {tmp_path}")
    with pytest.raises(EngineUnavailableError, match=r"plans for tensorrt-rtx-sm75; .*rtx3090"):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu_named("rtx3090"), "1.0")


def test_a_size_outside_the_profile_is_refused(
    opener: Callable[[Path | None], Engine], tmp_path: Path
) -> None:
    source = dynamic_probe()
    with opener(tmp_path) as engine:
        record = record_of(source, source.onnx, engine.info.spec.backend)
        write_plan(tmp_path, "probe", source.onnx, record)
        for size in (8, 72):
            with pytest.raises(EngineError, match=r"frames from 16x16 to 64x64; .*--max-size"):
                engine.load(source, {"x": (1, 32, 16, size)})
        assert engine.load(source, {"x": (1, 32, 16, 24)})


def test_a_plan_of_the_same_capability_fits(tmp_path: Path) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", b"plan", record_of(source, b"plan"))
    assert (
        read_plan(tmp_path, source, "tensorrt-rtx", gpu_named("rtx2070"), "1.0").content == b"plan"
    )


def test_a_damaged_plan_or_one_with_tf32_inside_is_refused(tmp_path: Path) -> None:
    source, gpu = probe_source(), gpu_named("rtx2080")
    write_plan(tmp_path, "probe", b"plan", record_of(source, b"plan"))
    plan_path(tmp_path, "probe").write_bytes(b"plam")
    with pytest.raises(EngineError, match="sha256 of the plan"):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu, "1.0")
    with pytest.raises(EngineError, match="digest of another plan"):
        write_plan(tmp_path, "probe", b"plan", record_of(source, b"other"))
    mixed = b"flags: tf32=1"
    write_plan(tmp_path, "probe", mixed, record_of(source, mixed))
    with pytest.raises(EngineError, match="TF32 inside the plan"):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu, "1.0")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "null", "\udcff"])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", b"plan", record_of(source, b"plan"))
    record_path(tmp_path, "probe").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EngineError, match="compile the engine again"):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu_named("rtx2080"), "1.0")


def test_a_record_with_a_wrong_type_is_refused(tmp_path: Path) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", b"plan", record_of(source, b"plan"))
    path = record_path(tmp_path, "probe")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tf32": 0}))
    with pytest.raises(EngineError, match="no plan record"):
        read_plan(tmp_path, source, "tensorrt-rtx", gpu_named("rtx2080"), "1.0")


def test_a_plan_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        write_plan(tmp_path / "file", "g", b"plan", record_of(probe_source(), b"plan"))


def test_without_a_gpu_the_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_library("tensorrt_rtx"))
    monkeypatch.delitem(sys.modules, "nvc_engines.tensorrt_rtx", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailableError, match=r"no CUDA device: .* its driver"):
        open_engine("tensorrt-rtx:rtx2080")
    sys.modules.pop("nvc_engines.tensorrt_rtx", None)
