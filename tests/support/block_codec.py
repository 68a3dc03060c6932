"""A tiny codec for tests, made from nothing but `onnx.helper`: a whole clip takes milliseconds.

An 8x8 block transform of the difference from the reference frame (grey in an intra frame), a
latent in two parts of 6 channels at stride 8, a hyperlatent at stride 32, and a feature at stride
8 that travels from frame to frame. The weights are fixed, not trained: scales are guessed badly
on purpose, so that escapes, skipped elements and saturated levels all occur.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save as save_safetensors

from nvc_calib import ScaleLevels
from nvc_runtime.entropy import laplace_tables
from nvc_runtime.video import ColorSpace, VideoInfo

NAME = "block"
ALIGNMENT = 32
BLOCK = 8
PART = 6
HYPER = 2
FEATURE = 4
QUALITIES = 4
LEVELS = ScaleLevels()
INDEX_TENSORS = ("index_0", "index_1")
TABLES_FILE = "tables.safetensors"

Files = dict[str, bytes]
"""A bundle: path -> content, with manifest.json."""


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    """Fixed weights: DCT bases for the transform, random ones for the rest."""
    rng = np.random.default_rng(2023)
    x = (np.arange(BLOCK) + 0.5) * np.pi / BLOCK
    cosines = np.array([np.cos(k * x) * (np.sqrt(2 / BLOCK) if k else 0.5**1.5) for k in range(3)])
    frequencies = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    blocks = np.array([np.outer(cosines[v], cosines[u]) for v, u in frequencies])
    colors = np.array([[1, 1, 1], [1, 0, -1]]) / np.sqrt([[3.0], [2.0]])
    bases = np.concatenate([color[None, :, None, None] * blocks[:, None] for color in colors])

    def random(scale: float, *shape: int) -> NDArray[Any]:
        return rng.standard_normal(shape) * scale

    weights = {
        "analysis": bases,
        "synthesis": bases.reshape(2 * PART, -1).T[:, :, None, None],
        "hyper_analysis": random(0.15, HYPER, 2 * PART, 4, 4),
        "hyper_synthesis": random(0.6, 16 * FEATURE, HYPER, 1, 1),
        "prior_0": random(0.25, 2 * PART, FEATURE, 3, 3),
        "prior_1": random(0.25, 2 * PART, FEATURE + PART, 3, 3),
        "rebuild": random(0.3, FEATURE, 2 * PART, 1, 1),
        "feature": random(0.3, FEATURE, FEATURE + 2 * PART, 1, 1),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


class _Graph:
    """Collects the nodes of one graph; its methods return the name of their output."""

    def __init__(self) -> None:
        self._onnx = pytest.importorskip("onnx")
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[np.float32]] = {}

    def node(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"temporary_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def halves(self, source: str) -> tuple[str, str]:
        names = (f"{source}_first", f"{source}_second")
        make = self._onnx.helper.make_node
        self._nodes.append(make("Split", [source], list(names), axis=1, num_outputs=2))
        return names

    def constant(self, value: float) -> str:
        name = f"constant_{value}"
        self._constants[name] = np.array(value, np.float32)
        return name

    def conv(self, source: str, weight: str, stride: int = 1) -> str:
        name, array = f"weight_{weight}", _weights()[weight]
        self._constants[name] = array
        pad = array.shape[2] // 2 if stride == 1 else 0
        return self.node("Conv", source, name, strides=[stride] * 2, pads=[pad] * 4)

    def enlarge(self, source: str, factor: int) -> str:
        return self.node("DepthToSpace", source, blocksize=factor, mode="CRD")

    def index_and_mean(self, source: str, part: int) -> None:
        index, mean = self.halves(source)
        shifted = self.node("Add", index, self.constant(12.0))
        high = self.constant(LEVELS.index_max)
        self.node("Clip", shifted, self.constant(0.0), high, to=f"index_{part}")
        self.node("Tanh", mean, to=f"mean_{part}")

    def finish(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
        helper = self._onnx.helper

        def value(name: str) -> Any:
            spec = TENSORS[name]
            size = [1, 1] if "quality_vector" in spec else [f"{name}_height", f"{name}_width"]
            return helper.make_tensor_value_info(name, 1, [1, spec["channels"], *size])

        graph = helper.make_graph(
            self._nodes,
            "block",
            [value(name) for name in inputs],
            [value(name) for name in outputs],
            [self._onnx.numpy_helper.from_array(a, n) for n, a in self._constants.items()],
        )
        opset = helper.make_opsetid("", 20)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


TENSORS: dict[str, dict[str, Any]] = {
    "frame": {"channels": 3, "stride": 1},
    "ref_frame": {"channels": 3, "stride": 1},
    "decoded": {"channels": 3, "stride": 1},
    "exact_frame": {"channels": 3, "stride": 1},
    "y": {"channels": 2 * PART, "stride": BLOCK},
    "z": {"channels": HYPER, "stride": 32},
    "hyper": {"channels": FEATURE, "stride": BLOCK},
    "feature": {"channels": FEATURE, "stride": BLOCK},
    "ref_feature": {"channels": FEATURE, "stride": BLOCK},
    "gain": {"channels": 2 * PART, "quality_vector": True},
    "gain_inverse": {"channels": 2 * PART, "quality_vector": True},
} | {
    f"{kind}_{part}": {"channels": PART, "stride": BLOCK}
    for kind in ("part", "index", "mean")
    for part in (0, 1)
}


def _analysis(reference: str | None) -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    difference = g.node("Sub", "frame", reference or g.constant(0.5))
    g.node("Mul", g.conv(difference, "analysis", stride=BLOCK), "gain", to="y")
    g.node("Round", g.conv("y", "hyper_analysis", stride=4), to="z")
    return g, ("frame", *([reference] if reference else ()), "gain"), ("y", "z")


def _prior_0(reference: str | None) -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    hyper = g.enlarge(g.conv("z", "hyper_synthesis"), 4)
    g.node("Add", hyper, reference or g.constant(0.25), to="hyper")
    g.index_and_mean(g.conv("hyper", "prior_0"), 0)
    return g, ("z", *([reference] if reference else ())), ("hyper", "index_0", "mean_0")


def _prior_1() -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    decoded = g.node("Tanh", g.node("Add", "part_0", "mean_0"))
    g.index_and_mean(g.conv(g.node("Concat", "hyper", decoded, axis=1), "prior_1"), 1)
    return g, ("hyper", "mean_0", "part_0"), ("index_1", "mean_1")


def _quantize(part: int) -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    half = g.halves("y")[part]
    g.node("Round", g.node("Sub", half, f"mean_{part}"), to=f"part_{part}")
    return g, ("y", f"mean_{part}"), (f"part_{part}",)


def _synthesis(reference: str | None) -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    parts = [g.node("Add", f"part_{k}", f"mean_{k}") for k in (0, 1)]
    y = g.node("Concat", *parts, axis=1)
    g.node("Tanh", g.conv(g.node("Concat", "hyper", y, axis=1), "feature"), to="feature")
    change = g.enlarge(g.conv(g.node("Mul", y, "gain_inverse"), "synthesis"), BLOCK)
    g.node("Add", change, reference or g.constant(0.5), to="decoded")
    inputs = ("part_0", "part_1", "mean_0", "mean_1", "hyper", "gain_inverse")
    return g, (*inputs, *([reference] if reference else ())), ("decoded", "feature")


def _rebuild() -> tuple[_Graph, tuple[str, ...], tuple[str, ...]]:
    g = _Graph()
    g.node("Tanh", g.conv(g.conv("exact_frame", "analysis", stride=BLOCK), "rebuild"), to="feature")
    return g, ("exact_frame",), ("feature",)


def _program(kind: str) -> dict[str, Any]:
    def scale(part: int) -> dict[str, str]:
        index = f"index_{part}"
        step = {"code": f"part_{part}", "section": kind, "prior": "scale", "tables": "scale"}
        return step | {"index": index}

    return {
        "steps": [
            {"run": f"{kind}_analysis", "side": "encode"},
            {"code": "z", "section": "hyper", "prior": "factorized", "tables": "z"},
            {"run": f"{kind}_prior"},
            {"run": "quantize_0", "side": "encode"},
            scale(0),
            {"run": "prior_1"},
            {"run": "quantize_1", "side": "encode"},
            scale(1),
            {"run": f"{kind}_synthesis"},
        ],
        "output": "decoded",
        "carry": {"ref_frame": "decoded", "ref_feature": "feature" if kind == "inter" else 0},
    }


@cache
def _content() -> tuple[dict[str, Any], Mapping[str, bytes]]:
    graphs = {
        "intra_analysis": _analysis(None),
        "intra_prior": _prior_0(None),
        "intra_synthesis": _synthesis(None),
        "inter_analysis": _analysis("ref_frame"),
        "inter_prior": _prior_0("ref_feature"),
        "inter_synthesis": _synthesis("ref_frame"),
        "prior_1": _prior_1(),
        "rebuild": _rebuild(),
        "quantize_0": _quantize(0),
        "quantize_1": _quantize(1),
    }
    specs, files = {}, {}
    for name, (graph, inputs, outputs) in graphs.items():
        files[f"graphs/{name}.onnx"] = graph.finish(inputs, outputs)
        specs[name] = {
            "file": f"graphs/{name}.onnx",
            "inputs": list(inputs),
            "outputs": list(outputs),
        }
    gain = np.repeat(np.array([[4.0], [10.0], [25.0], [60.0]], np.float32), 2 * PART, axis=1)
    arrays: dict[str, NDArray[Any]] = {
        "quality.gain": gain,
        "quality.gain_inverse": np.float32(1) / gain,
    }
    sets = {
        "scale": laplace_tables(list(LEVELS.representatives())),
        "z": laplace_tables([1.0, 2.0]),
    }
    for name, tables in sets.items():
        parts = ("frequencies", "sizes", "offsets")
        arrays |= {f"{name}.{part}": a for part, a in zip(parts, tables.to_arrays(), strict=True)}
    files[TABLES_FILE] = save_safetensors(arrays)
    manifest = {
        "format": "nvc-bundle",
        "format_version": 1,
        "name": NAME,
        "family": "block",
        "alignment": ALIGNMENT,
        "qualities": QUALITIES,
        "scale_levels": {
            "count": LEVELS.count,
            "sigma_min": LEVELS.sigma_min,
            "sigma_max": LEVELS.sigma_max,
        },
        "defaults": {
            "quality": 2,
            "keyint": 4,
            "skip_level": 8,
            "epsilon": 1e-3,
            "pixel_epsilon": 1e-2,
        },
        "tensors": TENSORS,
        "graphs": specs,
        "tables": sorted(sets),
        "programs": {
            "intra": _program("intra"),
            "inter": _program("inter"),
            "sync": {
                "steps": [{"run": "rebuild"}],
                "carry": {"ref_frame": "exact_frame", "ref_feature": "feature"},
            },
        },
    }
    return manifest, files


def block_manifest() -> dict[str, Any]:
    """A fresh copy of the manifest, as JSON values."""
    manifest, files = _content()
    copy: dict[str, Any] = json.loads(json.dumps(manifest))
    copy["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        for name, data in files.items()
    }
    return copy


def block_files(manifest: Mapping[str, Any] | None = None) -> Files:
    """The bundle's files; a given manifest replaces the valid one."""
    data = json.dumps(block_manifest() if manifest is None else manifest, indent=1).encode()
    return {"manifest.json": data, **_content()[1]}


def write_directory(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a bundle as a directory."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_archive(
    path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """Write a bundle as an archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def video_info(width: int, height: int) -> VideoInfo:
    """Description of a clip of `moving_frames`."""
    return VideoInfo(width, height, Fraction(25), ColorSpace(1, False, 1, 1), "420")


def moving_frames(width: int, height: int, count: int, seed: int = 7) -> Iterator[NDArray[Any]]:
    """Smooth colour waves that move, with a little noise: uint8 (H, W, 3) each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    for t in range(count):
        waves = [
            128 + 70 * np.sin((x + 3 * t) / 9 + k) * np.cos((y - t) / 7 + k / 2) for k in range(3)
        ]
        noise = rng.normal(0, 4, (height, width, 1))
        yield np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
