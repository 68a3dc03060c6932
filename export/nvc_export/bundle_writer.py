"""Write a bundle: graphs, tables and manifest, as an archive or a directory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save as save_safetensors

from nvc_calib import ScaleLevels
from nvc_errors import OutputError, UsageError
from nvc_export.onnx_export import export_graph
from nvc_export.replacement import put_in_place
from nvc_export.tables import arrays_from_tables, tables_from_codec
from nvc_models.graph import CodecGraph, CodecGraphs
from nvc_models.latent import QUALITIES
from nvc_models.levels import LEVELS
from nvc_runtime.bundle import Bundle, Defaults
from nvc_runtime.video.target import output_errors, temporary_beside

ARCHIVE_SUFFIX = ".nvcb"
ARCHIVE_TIME = (1980, 1, 1, 0, 0, 0)
CREATED_ON_UNIX = 3
MANIFEST_FILE, TABLES_FILE = "manifest.json", "tables.safetensors"
MAX_EPSILON = 0.25
BUNDLE_NAME = re.compile(r"[a-z0-9._-]{1,64}")


@dataclass(frozen=True)
class BundleOptions:
    """Identity and defaults of the bundle to write; :class:`UsageError` if one is out of range."""

    name: str
    defaults: Defaults
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if BUNDLE_NAME.fullmatch(self.name) is None:
            raise UsageError(
                f"name {self.name!r} does not name a bundle: expected 1..64 characters of "
                "a-z 0-9 . _ -"
            )
        for what, value, low, high in (
            ("quality", self.defaults.quality, 0, QUALITIES - 1),
            ("intra offset", self.defaults.intra_offset, 0, QUALITIES - 1),
            ("keyint", self.defaults.keyint, 0, 2**32 - 1),
            ("skip level", self.defaults.skip_level, -1, LEVELS.count - 2),
        ):
            if not low <= value <= high:
                raise UsageError(f"{what} is {value}, expected {low}..{high}")
        for what, bound in (
            ("epsilon", self.defaults.epsilon),
            ("pixel epsilon", self.defaults.pixel_epsilon),
        ):
            if not 0.0 <= bound < MAX_EPSILON:
                raise UsageError(f"{what} is {bound}, expected 0 to below {MAX_EPSILON}")


def round_weights_to_half(model: torch.nn.Module) -> None:
    """Round every weight to the nearest FP16 value, kept in FP32.

    Arithmetic stays FP32 with these values; an archive of them is half the size.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def bundle_from_codec(
    codec: CodecGraphs,
    options: BundleOptions,
    path: Path,
    *,
    overwrite: bool = False,
    check: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export every graph and write the bundle to ``path``.

    A path that ends in ``.nvcb`` becomes an archive, any other a directory. Written under a
    temporary name, read back, and renamed. ``progress`` receives the name of every graph. With
    ``check`` every graph is run beside its module, see :mod:`nvc_export.graph_check`.

    Raises :class:`UsageError` and :class:`OutputError` as :func:`check_bundle_output` does, before
    anything is exported, :class:`OutputError` if writing fails, and :class:`VerificationError` if a
    graph does not compute what its module does.
    """
    check_bundle_output(path, overwrite=overwrite)
    files: dict[str, bytes] = {}
    graphs: dict[str, Any] = {}
    for graph in codec.graphs:
        progress(graph.name)
        file = f"graphs/{graph.name}.onnx"
        files[file] = export_graph(codec, graph, {"nvc.bundle": options.name})
        if check:
            _check_graph(codec, graph, files[file])
        graphs[graph.name] = {"file": file, "inputs": graph.inputs, "outputs": graph.outputs}
    tables = tables_from_codec(codec, LEVELS)
    files[TABLES_FILE] = save_safetensors(arrays_from_tables(tables, codec.quality_vectors))
    manifest = _manifest(codec, options, graphs, sorted(tables), files, LEVELS)
    files[MANIFEST_FILE] = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    _write(path, files)
    return path


def _check_graph(codec: CodecGraphs, graph: CodecGraph, data: bytes) -> None:
    from nvc_export.graph_check import check_graph  # needs Polygraphy, which other uses do not

    check_graph(codec, graph, data)


def _manifest(
    codec: CodecGraphs,
    options: BundleOptions,
    graphs: dict[str, Any],
    tables: list[str],
    files: Mapping[str, bytes],
    levels: ScaleLevels,
) -> dict[str, Any]:
    used = {t for g in codec.graphs for t in (*g.inputs, *g.outputs)}
    for program in codec.programs.values():
        used |= set(program["carry"])
    tensors: dict[str, Any] = {
        name: {"channels": shape.channels, "stride": shape.stride}
        for name, shape in codec.tensors.items()
        if name in used
    }
    for name, vector in codec.quality_vectors.items():
        tensors[name] = {"channels": vector.shape[1], "quality_vector": True}
    return {
        "format": "nvc-bundle",
        "format_version": 1,
        "name": options.name,
        "family": codec.family,
        "alignment": codec.alignment,
        "qualities": QUALITIES,
        "scale_levels": asdict(levels),
        "defaults": asdict(options.defaults),
        "tensors": tensors,
        "graphs": graphs,
        "tables": tables,
        "programs": codec.programs,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for name, data in files.items()
        },
        "card": dict(options.card),
    }


def check_bundle_output(path: Path, *, overwrite: bool) -> None:
    """Refuse at once what could not be written after minutes of export.

    Raises :class:`UsageError` if ``path`` exists and ``overwrite`` is false, or if it is something
    else than a bundle, which is never overwritten; :class:`OutputError` if its folder is missing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written: the folder {path.parent} is read-only")
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(f"{path}: exists; use -y to overwrite it")
    if path.is_dir() != (path.suffix != ARCHIVE_SUFFIX):
        raise UsageError(
            f"{path}: is not the kind of bundle that would be written; choose another name "
            f"({ARCHIVE_SUFFIX} means an archive, any other name a folder)"
        )
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST_FILE).is_file():
        raise UsageError(f"{path}: is a folder that holds no bundle; choose another name")


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write under a temporary name, read it back as a runtime would, and rename."""
    temporary = temporary_beside(path)
    try:
        with output_errors(path):
            if path.suffix == ARCHIVE_SUFFIX:
                _write_archive(temporary, files)
            else:
                _write_folder(temporary, files)
        bundle = Bundle(temporary)
        for name in bundle.manifest.graphs:
            bundle.graph(name)
        if path.is_dir():
            put_in_place([(temporary, path)], path.parent)
            return
        with output_errors(path):
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


def _write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a ZIP whose bytes depend on nothing but ``files``."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, ARCHIVE_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = CREATED_ON_UNIX
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
