"""Write a bundle: graphs, tables and manifest, as an archive or a directory."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save as save_safetensors

from nvc_calib import ScaleLevels
from nvc_errors import OutputError, UsageError
from nvc_export.onnx_export import export_graph
from nvc_export.tables import arrays_from_tables, tables_from_codec
from nvc_models.graph import CodecGraphs
from nvc_models.latent import LEVELS, QUALITIES
from nvc_runtime.bundle import Defaults

ARCHIVE_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BundleOptions:
    """Identity and defaults of the bundle to write."""

    name: str
    defaults: Defaults
    card: Mapping[str, Any] = field(default_factory=dict)


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
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export every graph and write the bundle to ``path``.

    A path that ends in ``.nvcb`` becomes an archive, any other a directory. Written under a
    temporary name and renamed. Raises :class:`UsageError` if it exists and ``overwrite`` is
    false.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give -y to overwrite it")
    files: dict[str, bytes] = {}
    graphs: dict[str, Any] = {}
    for graph in codec.graphs:
        progress(graph.name)
        file = f"graphs/{graph.name}.onnx"
        files[file] = export_graph(codec, graph, {"nvc.bundle": options.name})
        graphs[graph.name] = {"file": file, "inputs": graph.inputs, "outputs": graph.outputs}
    tables = tables_from_codec(codec, LEVELS)
    files["tables.safetensors"] = save_safetensors(
        arrays_from_tables(tables, codec.quality_vectors)  # type: ignore[arg-type]
    )
    manifest = _manifest(codec, options, graphs, sorted(tables), files, LEVELS)
    files["manifest.json"] = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    _write(path, files)
    return path


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


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        _remove(temporary)
        if path.suffix == ".nvcb":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                for name, data in sorted(files.items()):
                    info = zipfile.ZipInfo(name, ARCHIVE_TIME)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, data)
        else:
            for name, data in files.items():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        _remove(path)
        temporary.rename(path)
    except OSError as error:
        _remove(temporary)
        raise OutputError(f"cannot write the bundle {path}: {error}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
