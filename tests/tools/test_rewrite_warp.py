"""Rewritten warps: the same results up to rounding, more exact, in a bundle that works."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import rewrite_warp
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from platform_trials.scene import load_scene

from nvc_engines import Engine, GraphSource, open_engine
from nvc_errors import UsageError
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings, open_bundle

HEIGHT, WIDTH = 48, 448


def warp_graph(padding_mode: str = "border") -> bytes:
    """Return a graph that warps ``x`` by ``flow`` as the exported models do, for one size."""
    sizes = {"x": WIDTH, "y": HEIGHT}
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "x_at": np.arange(WIDTH, dtype=np.float32).reshape(1, 1, -1),
        "y_at": np.arange(HEIGHT, dtype=np.float32).reshape(1, -1, 1),
        "one": np.asarray(np.float32(1)),
        "last": np.array([-1], np.int64),
    }
    nodes = []
    for number, (axis, size) in enumerate(sizes.items()):
        constants[f"{axis}_number"] = np.asarray(np.int64(number))
        constants[f"{axis}_scale"] = np.asarray(np.float32(2 / (size - 1)))
        nodes += [
            helper.make_node("Gather", ["flow", f"{axis}_number"], [f"{axis}_flow"], axis=1),
            helper.make_node("Add", [f"{axis}_at", f"{axis}_flow"], [f"{axis}_pixels"]),
            helper.make_node("Mul", [f"{axis}_pixels", f"{axis}_scale"], [f"{axis}_scaled"]),
            helper.make_node("Sub", [f"{axis}_scaled", "one"], [f"{axis}_normal"]),
            helper.make_node("Unsqueeze", [f"{axis}_normal", "last"], [f"{axis}_grid"]),
        ]
    nodes += [
        helper.make_node("Concat", ["x_grid", "y_grid"], ["grid"], axis=-1),
        helper.make_node(
            "GridSample", ["x", "grid"], ["warped"], align_corners=1, padding_mode=padding_mode
        ),
    ]
    shapes = {"x": [1, 3, HEIGHT, WIDTH], "flow": [1, 2, HEIGHT, WIDTH]}
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "warp",
        [helper.make_tensor_value_info(name, float32, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("warped", float32, shapes["x"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 20)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


def pictures() -> dict[str, NDArray[np.float32]]:
    """An edgy picture, and a flow that leaves it on every side and is whole in places."""
    rng = np.random.default_rng(3)
    flow = rng.normal(0, 20, (1, 2, HEIGHT, WIDTH)).astype(np.float32)
    flow[..., :4] = np.rint(flow[..., :4])
    return {"x": rng.integers(0, 2, (1, 3, HEIGHT, WIDTH)).astype(np.float32), "flow": flow}


def exact_warp(x: NDArray[np.float32], flow: NDArray[np.float32]) -> NDArray[np.float64]:
    """Warp in double precision."""
    at_y, at_x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    at_x = np.clip(at_x + flow[0, 0], 0, WIDTH - 1)
    at_y = np.clip(at_y + flow[0, 1], 0, HEIGHT - 1)
    left, top = (np.floor(at).astype(np.int64) for at in (at_x, at_y))
    right, bottom = np.minimum(left + 1, WIDTH - 1), np.minimum(top + 1, HEIGHT - 1)
    part_x, part_y = at_x - left, at_y - top
    above = x[:, :, top, left] * (1 - part_x) + x[:, :, top, right] * part_x
    below = x[:, :, bottom, left] * (1 - part_x) + x[:, :, bottom, right] * part_x
    exact: NDArray[np.float64] = above * (1 - part_y) + below * part_y
    return exact


def run(engine: Engine, data: bytes) -> NDArray[np.float32]:
    inputs = pictures()
    shapes = {name: array.shape for name, array in inputs.items()}
    graph = engine.load(GraphSource.from_onnx("warp", data), shapes)
    outputs = graph.run({name: engine.upload(array) for name, array in inputs.items()})
    return engine.download(outputs["warped"])


@pytest.mark.parametrize("backend", ["ort", "openvino", "torch"])
def test_results_are_the_same_but_more_exact(backend: str) -> None:
    if backend != "ort":
        pytest.importorskip(backend)
    exact = exact_warp(**pictures())
    original = warp_graph()
    rewritten = rewrite_warp.rewrite_warps(original)
    assert b"GridSample" not in rewritten
    with open_engine(f"{backend}:cpu,threads=1") as engine:
        old = float(np.abs(run(engine, original) - exact).max())
        new = float(np.abs(run(engine, rewritten) - exact).max())
    assert new < 3e-6
    assert old > 4 * new


def test_other_graphs_stay_as_they_are_or_are_refused() -> None:
    rewritten = rewrite_warp.rewrite_warps(warp_graph())
    assert rewrite_warp.rewrite_warps(rewritten) == rewritten
    with pytest.raises(UsageError, match="another kind"):
        rewrite_warp.rewrite_warps(warp_graph("zeros"))


def test_the_rewritten_bundle_codes_as_well(tmp_path: Path) -> None:
    path = tmp_path / "trial.nvcb"
    assert rewrite_warp.main(["-o", str(path), "--name", "trial"]) == 0
    old, new = open_bundle(), Bundle(path)
    assert new.name == "trial"
    assert new.digest != old.digest
    scene = load_scene("main", None, (64, 64), 3)
    reports = []
    with open_engine("ort:cpu,threads=1") as engine:
        for bundle in (old, new):
            file = io.BytesIO()
            encoder = Encoder(bundle, engine, EncoderSettings(keyint=0))
            reports.append(encoder.encode(scene.frames, scene.info, file))
            file.seek(0)
            decoder = Decoder(file, engine, bundle=bundle)
            assert sum(1 for _ in decoder) == len(scene.frames)
            assert decoder.report().symbols_digest == reports[-1].symbols_digest
    assert reports[1].psnr_rgb_db == pytest.approx(reports[0].psnr_rgb_db, abs=0.05)
    assert reports[1].size_bytes == pytest.approx(reports[0].size_bytes, rel=0.01)


def test_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no archive"):
        rewrite_warp.rewrite_bundle(tmp_path, "trial", tmp_path / "out.nvcb")
