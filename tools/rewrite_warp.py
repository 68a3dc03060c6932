"""Rewrite a bundle's graphs so that warping does not lose precision: a remedy for drift.

    python tools/rewrite_warp.py --bundle tian2023-lite --name warp-trial -o warp-trial.nvcb

``GridSample`` takes coordinates normalised to [-1, 1]. In float32 their rounding error is as large
as half the width times 2^-24 pixels, and other engines round otherwise; times the slope of an edge
it is by far the largest difference between engines. Here the flow is split into whole pixels, which
float32 holds exactly, and a fraction in [0, 1); four ``Gather`` fetch the neighbours. The weights
and, up to rounding, the results stay the same. The new bundle has a digest of its own: it is for
measuring drift (``drift_curve.py --bundle``), not for old streams.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nvc_errors import NvcError, OutputError, UsageError
from nvc_runtime import open_bundle

MANIFEST = "manifest.json"
_NORMALISING = frozenset({"Unsqueeze", "Reshape", "Sub", "Mul", "Div"})
"""What lies between pixel coordinates and a grid of normalised ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", help="name or path (default: the shipped one)")
    parser.add_argument("--name", default="warp-trial", help="of the new bundle")
    parser.add_argument("-o", "--output", type=Path, required=True, help="archive to write")
    options = parser.parse_args(arguments)
    try:
        rewrite_bundle(open_bundle(options.bundle).path, options.name, options.output)
    except NvcError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def rewrite_bundle(source: Path, name: str, target: Path) -> None:
    """Write an archive's bundle again, with every warp that a decoder runs rewritten."""
    if not zipfile.is_zipfile(source):
        raise UsageError(f"{source} is no archive; give a bundle that ends in .nvcb")
    with zipfile.ZipFile(source) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    manifest = json.loads(files[MANIFEST])
    steps = [step for program in manifest["programs"].values() for step in program["steps"]]
    graphs = {step["run"] for step in steps if "run" in step and step.get("side") != "encode"}
    for graph in sorted(graphs):
        path = manifest["graphs"][graph]["file"]
        files[path] = rewrite_warps(files[path])
        digest = hashlib.sha256(files[path]).hexdigest()
        manifest["files"][path] = {"sha256": digest, "size_bytes": len(files[path])}
    manifest["name"] = name
    files[MANIFEST] = json.dumps(manifest, indent=1, sort_keys=True).encode()
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for entry, data in files.items():
                archive.writestr(entry, data)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error


def rewrite_warps(data: bytes) -> bytes:
    """Rewrite every bilinear ``GridSample`` of a graph that normalises a flow in pixels.

    Raises ``UsageError`` for another kind of ``GridSample``.
    """
    model = onnx.load_from_string(data)
    nodes = list(model.graph.node)
    made = {output: node for node in nodes for output in node.output}
    rewritten: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type != "GridSample":
            rewritten.append(node)
            continue
        warp = _Warp(model.graph, f"warp_{len(rewritten)}_", node, made)
        rewritten += warp.nodes()
    if len(rewritten) == len(nodes):
        return data
    del model.graph.node[:]
    model.graph.node.extend(_needed(rewritten, [output.name for output in model.graph.output]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


class _Warp:
    """Makes the nodes that replace one ``GridSample``."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        prefix: str,
        sample: onnx.NodeProto,
        made: dict[str, onnx.NodeProto],
    ) -> None:
        found = {a.name: helper.get_attribute_value(a) for a in sample.attribute}
        kind = (found.get("align_corners"), found.get("padding_mode"))
        concat = made[sample.input[1]]
        if kind != (1, b"border") or concat.op_type != "Concat":
            raise UsageError(f"graph {graph.name!r} has a GridSample of another kind")
        self._graph, self._prefix, self._sample, self._made = graph, prefix, sample, made
        self._axes = [self._pixels(name) for name in concat.input]
        self._nodes: list[onnx.NodeProto] = []

    def _pixels(self, name: str) -> tuple[str, str]:
        """Return the pixel positions and the flow that a grid coordinate was made from."""
        node = self._made[name]
        while node.op_type in _NORMALISING:
            node = self._made[node.input[0]]
        flows = [i for i in node.input if i in self._made and self._made[i].op_type == "Gather"]
        if node.op_type != "Add" or len(flows) != 1:
            raise UsageError(f"graph {self._graph.name!r} makes its grid in another way")
        (flow,) = flows
        return next(i for i in node.input if i != flow), flow

    def nodes(self) -> list[onnx.NodeProto]:
        """Make them; the last one has the name of the old output."""
        source = self._sample.input[0]
        shape = self._add("Shape", source)
        width, height = self._size(shape, 3), self._size(shape, 2)
        columns, fraction_x = self._neighbours(*self._axes[0], width)
        rows, fraction_y = self._neighbours(*self._axes[1], height)
        flat = self._add("Reshape", source, self._constant(np.array([0, 0, -1], np.int64)))
        taps = [[self._tap(flat, shape, row, column, width) for column in columns] for row in rows]
        top, bottom = (self._blend(left, right, fraction_x) for left, right in taps)
        self._blend(top, bottom, fraction_y)
        self._nodes[-1].output[0] = self._sample.output[0]
        return self._nodes

    def _neighbours(self, positions: str, flow: str, size: str) -> tuple[list[str], str]:
        """Return both neighbours' positions, inside the picture, and the fraction between them."""
        whole = self._add("Floor", flow)
        axis = self._constant(np.array([1], np.int64))
        fraction = self._add("Unsqueeze", self._add("Sub", flow, whole), axis)
        one, zero = self._constant(np.float32(1)), self._constant(np.float32(0))
        first = self._add("Add", positions, whole)
        last = self._add("Sub", size, one)
        both = (first, self._add("Add", first, one))
        return [self._add("Min", self._add("Max", p, zero), last) for p in both], fraction

    def _tap(self, flat: str, shape: str, row: str, column: str, width: str) -> str:
        """Fetch the samples at whole positions. Float32 holds place numbers below 2^24."""
        place = self._add("Add", self._add("Mul", row, width), column)
        whole = self._add("Cast", place, to=TensorProto.INT64)
        listed = self._add("Reshape", whole, self._constant(np.array([-1], np.int64)))
        return self._add("Reshape", self._add("Gather", flat, listed, axis=2), shape)

    def _blend(self, first: str, second: str, fraction: str) -> str:
        step = self._add("Mul", self._add("Sub", second, first), fraction)
        return self._add("Add", first, step)

    def _size(self, shape: str, axis: int) -> str:
        number = self._add("Gather", shape, self._constant(np.int64(axis)))
        return self._add("Cast", number, to=TensorProto.FLOAT)

    def _constant(self, value: np.generic | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
        name = f"{self._prefix}c{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, kind: str, *inputs: str, **attributes: int) -> str:
        name = f"{self._prefix}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name


if __name__ == "__main__":
    sys.exit(main())
