"""A loaded bundle: manifest, graphs and tables, every byte checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from nvc_engines import GraphSource
from nvc_errors import BundleError
from nvc_runtime.bundle.manifest import Manifest, parse_manifest
from nvc_runtime.bundle.program import CodeStep
from nvc_runtime.bundle.storage import storage_from_path
from nvc_runtime.entropy import TableSet

TABLES_FILE = "tables.safetensors"


class Bundle:
    """A trained codec, ready to be run by :class:`nvc_runtime.Encoder` or ``Decoder``.

    Attributes: ``path``; ``digest`` (32 bytes, SHA-256 of the manifest); ``manifest``;
    ``tables`` (name -> :class:`TableSet`).
    """

    def __init__(self, path: Path) -> None:
        """Load a bundle from a directory or ZIP; raise :class:`BundleError` if it is damaged."""
        self.path = path
        self._storage = storage_from_path(path)
        data = self._storage.manifest()
        try:
            self.manifest: Manifest = parse_manifest(data)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        self.digest = hashlib.sha256(data).digest()
        arrays = self._arrays()
        self.tables: Mapping[str, TableSet] = {
            name: _table_set(arrays, name) for name in self.manifest.tables
        }
        self._check_tables()
        self._vectors = {
            name: self._quality_table(arrays, name, spec.channels)
            for name, spec in self.manifest.tensors.items()
            if spec.is_quality_vector
        }

    @property
    def name(self) -> str:
        """The bundle's name, for people."""
        return self.manifest.name

    def graph(self, name: str) -> GraphSource:
        """Read a graph's ONNX bytes."""
        spec = self.manifest.graphs[name]
        entry = self.manifest.files[spec.file]
        return GraphSource(name, self._storage.file(spec.file, entry), entry.sha256)

    def quality_vector(self, name: str, quality: int) -> NDArray[np.float32]:
        """Row ``quality`` of a quality vector: float32 (1, C, 1, 1)."""
        row: NDArray[np.float32] = self._vectors[name][quality]
        return row.reshape(1, -1, 1, 1)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        if TABLES_FILE not in self.manifest.files:
            raise BundleError(f"{self.path}: {TABLES_FILE} is not under 'files'")
        data = self._storage.file(TABLES_FILE, self.manifest.files[TABLES_FILE])
        try:
            return dict(load_safetensors(data))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{self.path}: {TABLES_FILE} is damaged: {error}") from error

    def _check_tables(self) -> None:
        """Check that every coding step finds a table for each of its levels or channels."""
        manifest = self.manifest
        for step in (*manifest.intra.steps, *manifest.inter.steps):
            if not isinstance(step, CodeStep):
                continue
            expected, what = manifest.tensors[step.tensor].channels, "channel"
            if step.has_scale_prior:
                expected, what = manifest.scale_levels.count, "scale level"
            if len(self.tables[step.tables]) != expected:
                raise BundleError(
                    f"{self.path}: table set {step.tables!r} has {len(self.tables[step.tables])} "
                    f"tables, expected {expected}, one for each {what} of {step.tensor!r}"
                )

    def _quality_table(
        self, arrays: Mapping[str, NDArray[np.generic]], name: str, channels: int
    ) -> NDArray[np.float32]:
        table = arrays.get(f"quality.{name}")
        shape = (self.manifest.qualities, channels)
        if table is None or table.shape != shape or table.dtype != np.float32:
            raise BundleError(f"{self.path}: expected float32 {shape} as 'quality.{name}'")
        if not np.isfinite(table).all():
            raise BundleError(f"{self.path}: 'quality.{name}' holds numbers that are not finite")
        return np.asarray(table, dtype=np.float32)


def _table_set(arrays: Mapping[str, NDArray[np.generic]], name: str) -> TableSet:
    try:
        frequencies, sizes, offsets = (
            arrays[f"{name}.{part}"] for part in ("frequencies", "sizes", "offsets")
        )
    except KeyError as error:
        raise BundleError(f"{TABLES_FILE} lacks {error.args[0]!r}") from error
    return TableSet.from_arrays(frequencies, sizes, offsets)
