"""Read the files of a bundle from a directory or a ZIP archive, checking every digest."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path

from nvc_errors import BundleError
from nvc_runtime.bundle.manifest import MAX_MANIFEST_BYTES, FileEntry

MANIFEST = "manifest.json"

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for archives that are damaged, encrypted or of a kind it does not know."""


class Storage(ABC):
    """Where a bundle's files lie."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def _read(self, name: str, limit: int) -> bytes:
        """Return at most ``limit`` + 1 bytes of a file; raise :class:`KeyError` if missing."""

    def manifest(self) -> bytes:
        """Bytes of ``manifest.json``."""
        try:
            return self._read(MANIFEST, MAX_MANIFEST_BYTES)
        except KeyError as error:
            raise BundleError(f"{self.path} holds no {MANIFEST}: it is no nvc bundle") from error

    def file(self, name: str, entry: FileEntry) -> bytes:
        """Bytes of a file the manifest names, after comparing size and digest."""
        try:
            data = self._read(name, entry.size_bytes)
        except KeyError as error:
            raise BundleError(
                f"{self.path}: file {name!r} is missing; fetch the bundle again"
            ) from error
        if len(data) != entry.size_bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(
                f"{self.path}: file {name!r} is not the one its manifest describes; "
                "fetch the bundle again"
            )
        return data


class DirectoryStorage(Storage):
    """A bundle that is a directory."""

    def _read(self, name: str, limit: int) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(limit + 1)
        except FileNotFoundError as error:
            raise KeyError(name) from error
        except OSError as error:
            raise BundleError(f"{self.path / name}: {error.strerror}") from error


class ZipStorage(Storage):
    """A bundle that is a ZIP archive."""

    def _read(self, name: str, limit: int) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive:
                if archive.getinfo(name).compress_type not in _METHODS:
                    raise BundleError(
                        f"{self.path}: file {name!r} is compressed by another method than deflate; "
                        "pack the bundle again"
                    )
                with archive.open(name) as file:
                    return file.read(limit + 1)
        except (BundleError, KeyError):
            raise
        except _ARCHIVE_ERRORS as error:
            raise BundleError(
                f"{self.path} is no bundle: expected a ZIP archive (.nvcb) or a folder; {error}"
            ) from error


def storage_from_path(path: Path) -> Storage:
    """Return the storage for a bundle's path; raise :class:`BundleError` if there is none."""
    if path.is_dir():
        return DirectoryStorage(path)
    if path.is_file():
        return ZipStorage(path)
    raise BundleError(f"no bundle at {path}")
