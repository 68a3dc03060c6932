"""What the engine tests share: one thread, and a small graph with a codec's operators."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nvc_engines import GraphSource

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


@pytest.fixture(scope="session")
def codec_graph() -> GraphSource:
    """Inputs ``x`` (1, 3, h, w) and ``flow`` (1, h, w, 2) in [-1, 1]; h and w are even.

    conv stride 2 + leaky relu + conv + pixel shuffle -> grid sample of the result at ``flow``
    -> output ``warped`` (1, 3, h, w); and resized to twice the size: output ``large``.
    """
    onnx = pytest.importorskip("onnx")
    helper, to_tensor = onnx.helper, onnx.numpy_helper.from_array
    rng = np.random.default_rng(11)

    def weight(name: str, *shape: int) -> object:
        return to_tensor((rng.standard_normal(shape) * 0.2).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c1"], ["a1"], alpha=0.1),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["c2"], ["d"], blocksize=2, mode="CRD"),
        helper.make_node(
            "GridSample",
            ["d", "flow"],
            ["warped"],
            mode="linear",
            padding_mode="border",
            align_corners=1,
        ),
        helper.make_node(
            "Resize",
            ["warped", "", "scales"],
            ["large"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "codec",
        [values("x", 1, [1, 3, "h", "w"]), values("flow", 1, [1, "h", "w", 2])],
        [values("warped", 1, [1, 3, "h", "w"]), values("large", 1, [1, 3, "H", "W"])],
        [
            weight("w1", 16, 3, 3, 3),
            weight("b1", 16),
            weight("w2", 12, 16, 3, 3),
            weight("b2", 12),
            to_tensor(np.array([1, 1, 2, 2], np.float32), "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return GraphSource.from_onnx("codec", model.SerializeToString())
