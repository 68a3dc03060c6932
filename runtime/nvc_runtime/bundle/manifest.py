"""The manifest: everything about a bundle except the bytes of its graphs (``docs/bundle.md``)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from nvc_calib import ScaleLevels
from nvc_errors import BundleError, UsageError
from nvc_runtime.bundle.program import (
    EXACT_FRAME,
    FRAME,
    GIVEN_FRAMES,
    GraphSpec,
    PlaneNames,
    Program,
    ProgramName,
    TensorSpec,
    check_program,
    parse_step,
)

FORMAT = "nvc-bundle"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_CHANNELS = 4096
MAX_FILE_BYTES = (1 << 31) - 1
"""No ONNX file can be larger; also bounds what an archive can make a reader unpack."""

GRAPH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FILE_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")

_REQUIRED = {
    "format",
    "format_version",
    "name",
    "family",
    "alignment",
    "qualities",
    "scale_levels",
    "defaults",
    "tensors",
    "graphs",
    "tables",
    "programs",
    "files",
}


@dataclass(frozen=True)
class Defaults:
    """What an encoder uses unless told otherwise."""

    quality: int
    keyint: int
    skip_level: int
    epsilon: float
    pixel_epsilon: float
    intra_offset: int = 0


@dataclass(frozen=True)
class FileEntry:
    """Identity of one file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """A parsed and checked manifest."""

    name: str
    family: str
    alignment: int
    qualities: int
    scale_levels: ScaleLevels
    defaults: Defaults
    tensors: Mapping[str, TensorSpec]
    graphs: Mapping[str, GraphSpec]
    tables: tuple[str, ...]
    intra: Program
    inter: Program
    sync: Program | None
    files: Mapping[str, FileEntry]
    card: Mapping[str, Any]

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Size of a frame padded to multiples of the alignment."""
        a = self.alignment
        return -(-height // a) * a, -(-width // a) * a

    def scale_elements(self, program: Program, padded: tuple[int, int]) -> int:
        """Elements of all latent parts of a program with a scale prior, at a padded size."""
        parts = (self.tensors[step.tensor] for step in program.scale_steps)
        return sum(math.prod(part.shape(*padded)) for part in parts)


def parse_manifest(data: bytes) -> Manifest:
    """Parse and check ``manifest.json``; raise :class:`BundleError` saying what is wrong."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"manifest.json has {len(data)} bytes, expected at most {MAX_MANIFEST_BYTES}"
        )
    try:
        root = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"manifest.json is no JSON: {error}") from error
    root = _object(root, "manifest")
    if root.get("format") != FORMAT:
        raise BundleError(f"format is {root.get('format')!r}, expected {FORMAT!r}: no nvc bundle")
    if type(root.get("format_version")) is not int or root["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"bundle format version {root.get('format_version')!r} is not supported; this "
            f"version reads {FORMAT_VERSION}: update nvc, or export the bundle again"
        )
    missing, unknown = sorted(_REQUIRED - set(root)), sorted(set(root) - _REQUIRED - {"card"})
    if missing or unknown:
        raise BundleError(f"manifest: missing fields {missing}, unknown fields {unknown}")
    tensors = _parse_tensors(root["tensors"], alignment := _integer(root, "alignment", 1, 1024))
    graphs = _parse_graphs(root["graphs"], tensors)
    files = _parse_files(root["files"])
    for graph in graphs.values():
        if graph.file not in files:
            raise BundleError(f"graph {graph.name!r}: file {graph.file!r} is not under 'files'")
    programs = _object(root["programs"], "programs")
    if set(programs) - {"sync"} != {"intra", "inter"}:
        raise BundleError(f"programs are {sorted(programs)}, expected 'inter', 'intra' and 'sync'")
    intra = _parse_program("intra", programs["intra"], tensors, graphs)
    inter = _parse_program("inter", programs["inter"], tensors, graphs)
    sync = _parse_program("sync", programs["sync"], tensors, graphs) if "sync" in programs else None
    if any(set(p.carry) != set(intra.carry) for p in (inter, sync) if p is not None):
        raise BundleError("the programs carry different tensors")
    qualities = _integer(root, "qualities", 1, 256)
    levels = _parse_levels(root["scale_levels"])
    return Manifest(
        name=_name(root["name"]),
        family=_name(root["family"]),
        alignment=alignment,
        qualities=qualities,
        scale_levels=levels,
        defaults=_parse_defaults(root["defaults"], qualities, levels.count),
        tensors=tensors,
        graphs=graphs,
        tables=_parse_tables(root["tables"], (intra, inter)),
        intra=intra,
        inter=inter,
        sync=sync,
        files=files,
        card=_object(root.get("card", {}), "card"),
    )


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{where}: expected an object, found {type(value).__name__}")
    return value


def _check_fields(data: Mapping[str, Any], expected: set[str], where: str) -> None:
    if set(data) != expected:
        raise BundleError(f"{where}: found fields {sorted(data)}, expected {sorted(expected)}")


def _is_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _integer(data: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BundleError(f"{key} is {value!r}, expected a whole number {low}..{high}")
    return value


def _number(data: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = data.get(key)
    # NaN fails the comparison; isfinite() would overflow for a long integer.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < high:
        raise BundleError(f"{key} is {value!r}, expected a number from {low} to below {high}")
    return float(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value) is None:
        raise BundleError(f"name {value!r}: expected 1..64 characters of a-z 0-9 . _ -")
    return value


def _parse_levels(value: Any) -> ScaleLevels:
    data = _object(value, "scale_levels")
    _check_fields(data, {"count", "sigma_min", "sigma_max"}, "scale_levels")
    try:
        return ScaleLevels(
            _integer(data, "count", 2, 256),
            _number(data, "sigma_min", 0.0, 1e6),
            _number(data, "sigma_max", 0.0, 1e6),
        )
    except UsageError as error:
        raise BundleError(f"scale_levels: {error}") from error


def _parse_defaults(value: Any, qualities: int, levels: int) -> Defaults:
    data = _object(value, "defaults")
    data = {"intra_offset": 0} | data
    _check_fields(data, {f.name for f in fields(Defaults)}, "defaults")
    return Defaults(
        quality=_integer(data, "quality", 0, qualities - 1),
        keyint=_integer(data, "keyint", 0, 2**32 - 1),
        skip_level=_integer(data, "skip_level", -1, levels - 2),
        epsilon=_number(data, "epsilon", 0.0, 0.25),
        pixel_epsilon=_number(data, "pixel_epsilon", 0.0, 0.25),
        intra_offset=_integer(data, "intra_offset", 0, qualities - 1),
    )


def _parse_tensors(value: Any, alignment: int) -> dict[str, TensorSpec]:
    tensors = {}
    for name, item in _object(value, "tensors").items():
        data = _object(item, f"tensor {name!r}")
        channels = _integer(data, "channels", 1, MAX_CHANNELS)
        if data.get("quality_vector") is True and set(data) == {"channels", "quality_vector"}:
            tensors[name] = TensorSpec(channels, None)
            continue
        stride = _integer(data, "stride", 1, alignment)
        if alignment % stride or set(data) != {"channels", "stride"}:
            raise BundleError(
                f"tensor {name!r}: stride {stride} must divide the alignment {alignment}, and no "
                "other field may follow"
            )
        tensors[name] = TensorSpec(channels, stride)
    if tensors.get(FRAME) != TensorSpec(3, 1):
        raise BundleError(f"tensor {FRAME!r} must have 3 channels at stride 1")
    if tensors.get(EXACT_FRAME, TensorSpec(3, 1)) != TensorSpec(3, 1):
        raise BundleError(f"tensor {EXACT_FRAME!r} must have 3 channels at stride 1")
    return tensors


def _parse_graphs(value: Any, tensors: Mapping[str, TensorSpec]) -> dict[str, GraphSpec]:
    graphs = {}
    for name, item in _object(value, "graphs").items():
        data = _object(item, f"graph {name!r}")
        inputs, outputs, file = data.get("inputs"), data.get("outputs"), data.get("file")
        _check_fields(data, {"file", "inputs", "outputs"}, f"graph {name!r}")
        if not (_is_names(inputs) and _is_names(outputs) and isinstance(file, str)):
            raise BundleError(f"graph {name!r}: expected a name 'file', lists 'inputs', 'outputs'")
        if GRAPH_NAME.fullmatch(name) is None:
            raise BundleError(f"graph {name!r}: expected a name of letters, digits and . _ -")
        unknown = [t for t in (*inputs, *outputs) if t not in tensors]
        if unknown:
            raise BundleError(f"graph {name!r}: unknown tensors {unknown}")
        given = [t for t in outputs if t in GIVEN_FRAMES or tensors[t].is_quality_vector]
        if given:
            raise BundleError(f"graph {name!r}: computes {given}, which are given")
        graphs[name] = GraphSpec(name, file, tuple(inputs), tuple(outputs))
    return graphs


def _parse_files(value: Any) -> dict[str, FileEntry]:
    files = {}
    for path, item in _object(value, "files").items():
        data = _object(item, f"file {path!r}")
        digest = data.get("sha256")
        if not isinstance(digest, str) or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
            raise BundleError(f"file {path!r}: sha256 is {digest!r}, expected 64 hex digits")
        if any(FILE_NAME.fullmatch(part) is None for part in path.split("/")):
            raise BundleError(
                f"file {path!r}: expected a relative path of letters, digits and . _ - that "
                "stays inside the bundle"
            )
        _check_fields(data, {"sha256", "size_bytes"}, f"file {path!r}")
        files[path] = FileEntry(digest, _integer(data, "size_bytes", 0, MAX_FILE_BYTES))
    return files


def _parse_program(
    name: ProgramName,
    value: Any,
    tensors: Mapping[str, TensorSpec],
    graphs: Mapping[str, GraphSpec],
) -> Program:
    data = _object(value, f"program {name}")
    expected = {"steps", "carry"} if name == "sync" else {"steps", "carry", "output"}
    optional = {"planes"} & set(data) if name != "sync" else set[str]()
    _check_fields(data, expected | optional, f"program {name}")
    steps, carry = data.get("steps"), _object(data.get("carry"), f"program {name}, carry")
    output = data.get("output")
    if not isinstance(steps, list) or not isinstance(output, str | None):
        raise BundleError(f"program {name}: expected a list 'steps' and a name 'output'")
    sources: dict[str, str | None] = {}
    for target, source in carry.items():
        if target not in tensors or tensors[target].is_quality_vector or target in GIVEN_FRAMES:
            raise BundleError(f"program {name}: carries {target!r}, which is no spatial tensor")
        if not isinstance(source, str) and (source != 0 or isinstance(source, bool)):
            raise BundleError(f"program {name}: carry {target!r} is {source!r}, not a name or 0")
        sources[target] = source if isinstance(source, str) else None
    program = Program(
        name,
        tuple(parse_step(s, f"program {name}, step {i + 1}") for i, s in enumerate(steps)),
        output,
        sources,
        _parse_planes(data["planes"], f"program {name}, planes") if optional else None,
    )
    check_program(program, tensors, graphs)
    return program


def _parse_planes(value: Any, where: str) -> PlaneNames:
    data = _object(value, where)
    _check_fields(data, {"luma", "chroma"}, where)
    luma, chroma = data["luma"], data["chroma"]
    if not isinstance(luma, str) or not isinstance(chroma, str):
        raise BundleError(f"{where}: expected names of two tensors")
    return PlaneNames(luma, chroma)


def _parse_tables(value: Any, programs: tuple[Program, ...]) -> tuple[str, ...]:
    if not _is_names(value):
        raise BundleError("tables: expected a list of names")
    used = {s.tables for p in programs for s in p.steps if hasattr(s, "tables")}
    missing = sorted(used - set(value))
    if missing:
        raise BundleError(f"the programs use table sets {missing}, which 'tables' lacks")
    return tuple(value)
