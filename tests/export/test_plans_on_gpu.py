"""Plans compiled and run: streams of the CPU decode to the same symbols, and runs repeat.

On a machine with a GPU (``-m gpu``) compiler, library and device are the real ones; elsewhere these
tests skip, and a stand-in shows that they would find what they look for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from coding import decode, encode
from engine_building import block_bundle, compile_plan, small_sizes
from plan_stand_in import VERSION, stand_in

from nvc_engines import Engine, GraphSource, gpu_named, open_engine
from nvc_engines.cuda_buffers import CudaBuffers
from nvc_engines.gpus import gpu_from_device
from nvc_engines.plans import PlanRecord, target_name, write_plan
from nvc_engines.probe_graph import TOLERANCE, check_precision, probe_source
from nvc_errors import EngineError, EngineUnavailableError
from nvc_export.engine_builder import BuildOptions, build_engines
from nvc_export.frame_sizes import input_shapes
from nvc_export.plan_compiler import CompileJob
from nvc_runtime import Bundle, EncoderSettings

BACKENDS = ("tensorrt-rtx", "tensorrt")


@dataclass(frozen=True)
class Served:
    """A bundle and the folder with its plans, for one engine."""

    bundle: Bundle
    folder: Path
    engine: str

    @property
    def backend(self) -> str:
        return self.engine.partition(":")[0]

    def open(self) -> Engine:
        return open_engine(self.engine, engines_dir=self.folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return block_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(
    params=[f"stand-in {name}" for name in BACKENDS]
    + [pytest.param(name, marks=pytest.mark.gpu) for name in BACKENDS]
)
def served(
    request: pytest.FixtureRequest,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    backend: str = request.param.removeprefix("stand-in ")
    if backend != request.param:
        for name in bundle.manifest.graphs:
            _write_graph_as_plan(bundle.graph(name), bundle, tmp_path, backend)
        _write_graph_as_plan(probe_source(), bundle, tmp_path, backend)
        with stand_in(backend, monkeypatch):
            yield Served(bundle, tmp_path, f"{backend}:rtx2080")
        return
    pytest.importorskip(backend.replace("-", "_"), reason=f"needs nvc[{backend}]")
    gpu = _gpu_here(backend)
    build_engines(bundle, [gpu], tmp_path, BuildOptions(small_sizes(bundle), backend))
    _compile_probe(bundle, tmp_path, backend, gpu)
    yield Served(bundle, tmp_path, f"{backend}:{gpu}")


def _gpu_here(backend: str) -> str:
    """Return the name of this machine's GPU; skip the test if ``backend`` has none to run on."""
    try:
        buffers = CudaBuffers()
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    gpu = gpu_from_device(buffers.device_name, buffers.capability)
    if gpu is None or backend not in gpu.backends:
        pytest.skip(f"{backend} has no target for {buffers.device_name}")
    return gpu.name


def _record(
    source: GraphSource, plan: bytes, bundle: Bundle, backend: str, gpu: str, version: str
) -> PlanRecord:
    sizes = small_sizes(bundle)
    inputs = (
        input_shapes(bundle.manifest, source.name, sizes)
        if source.name in bundle.manifest.graphs
        else {"x": ((1, 32, 16, 16),) * 3}
    )
    return PlanRecord(
        backend=backend,
        backend_version=version,
        gpu=gpu,
        bundle=bundle.name,
        bundle_sha256=bundle.digest.hex(),
        onnx_sha256=source.sha256,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        frame_sizes=sizes.texts,
        inputs=inputs,
    )


def _write_graph_as_plan(source: GraphSource, bundle: Bundle, folder: Path, backend: str) -> None:
    record = _record(source, source.onnx, bundle, backend, "rtx2080", VERSION)
    target = target_name(backend, gpu_named("rtx2080"))
    write_plan(folder / target, source.name, source.onnx, record)


def _compile_probe(bundle: Bundle, folder: Path, backend: str, gpu: str) -> None:
    """Compile the graph that shows whether an engine computes in FP32."""
    source, module = probe_source(), pytest.importorskip(backend.replace("-", "_"))
    shapes = {"x": ((1, 32, 16, 16),) * 3}
    plan = compile_plan(CompileJob(backend, gpu, source.name, source.onnx, shapes)).content
    record = _record(source, plan, bundle, backend, gpu, str(module.__version__))
    write_plan(folder / target_name(backend, gpu_named(gpu)), source.name, plan, record)


def test_a_stream_of_the_cpu_decodes_to_the_same_symbols(served: Served) -> None:
    with open_engine("ort:cpu,threads=1") as engine:
        encoded = encode(served.bundle, engine, EncoderSettings(sync=3), count=7)
    with served.open() as engine:
        decoded = decode(encoded.data, served.bundle, engine)
    assert decoded.report.symbols_digest == encoded.report.symbols_digest
    for found, shown in zip(decoded.frames, encoded.frames, strict=True):
        assert np.abs(found.rgb.astype(int) - shown.rgb.astype(int)).max() <= 1


def test_its_own_stream_is_the_same_every_time_and_decodes_on_the_cpu(served: Served) -> None:
    streams = []
    for _ in range(2):
        with served.open() as engine:
            streams.append(encode(served.bundle, engine, count=4))
    assert streams[0].data == streams[1].data
    with open_engine("ort:cpu,threads=1") as engine:
        decoded = decode(streams[0].data, served.bundle, engine)
    assert decoded.report.symbols_digest == streams[0].report.symbols_digest


def test_it_computes_in_fp32(served: Served) -> None:
    with served.open() as engine:
        assert engine.info.flags["tf32"] == "off"
        assert check_precision(engine) <= TOLERANCE


def test_outputs_go_into_the_next_graph_without_leaving_the_device(served: Served) -> None:
    frame = np.random.default_rng(5).random((1, 3, 64, 128), np.float32)
    source = served.bundle.graph("rebuild")
    with served.open() as engine:
        graph = engine.load(source, {"exact_frame": frame.shape})
        tensor = engine.upload(frame)
        first = graph.run({"exact_frame": tensor})["feature"]
        before = engine.download(first).copy()
        other = graph.run({"exact_frame": engine.upload(frame[..., ::-1])})["feature"]
        assert not np.array_equal(engine.download(other), before)
        np.testing.assert_array_equal(engine.download(first), before)
        np.testing.assert_array_equal(engine.download(tensor), frame)
        with open_engine("ort:cpu,threads=1") as reference:
            loaded = reference.load(source, {"exact_frame": frame.shape})
            expected = loaded.run({"exact_frame": frame})["feature"]
        np.testing.assert_allclose(before, expected, rtol=0, atol=1e-5)


def test_chosen_kernels_are_kept_beside_the_plan(served: Served) -> None:
    kept = served.folder.rglob("*.cache")
    encoded = []
    for _ in range(2):
        with served.open() as engine:
            encoded.append(encode(served.bundle, engine, count=2).data)
    names = {path.stem for path in kept}
    expected = set(served.bundle.manifest.graphs) - {"rebuild"}
    assert names == (expected if served.backend == "tensorrt-rtx" else set())
    assert encoded[0] == encoded[1]


def test_a_size_that_was_not_compiled_is_refused(served: Served) -> None:
    with served.open() as engine:
        # The stand-in would run it: the record refuses.
        source = served.bundle.graph("rebuild")
        with pytest.raises(EngineError, match="frames from 32x32 to 128x64"):
            engine.load(source, {"exact_frame": (1, 3, 64, 160)})
