"""Find a bundle by name, path or digest.

Shipped bundles lie in the package's ``bundles`` folder; the environment variable
``NVC_BUNDLES`` adds folders (separated like ``PATH``) that are searched first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from nvc_errors import BundleError, UsageError
from nvc_runtime.bundle.bundle import Bundle
from nvc_runtime.bundle.storage import storage_from_path

DEFAULT_BUNDLE = "swift-s"
BUNDLE_SUFFIX = ".nvcb"
SEARCH_VARIABLE = "NVC_BUNDLES"


def shipped_folder() -> Path:
    """Folder of the bundles that come with the package."""
    return Path(__file__).parent.parent / "bundles"


def known_bundles() -> Iterator[Path]:
    """Paths of every bundle in the search folders."""
    folders = [Path(p) for p in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if p]
    for folder in (*folders, shipped_folder()):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix == BUNDLE_SUFFIX or (path / "manifest.json").is_file():
                    yield path


def open_bundle(name_or_path: str | Path | None = None) -> Bundle:
    """Open a bundle by name, or by the path of a directory or archive; default: the shipped one.

    Raises :class:`UsageError` if nothing is found, :class:`BundleError` if it is damaged.
    """
    wanted = str(name_or_path) if name_or_path is not None else DEFAULT_BUNDLE
    paths = list(known_bundles())
    for path in paths:
        if wanted in (path.name, path.name.removesuffix(BUNDLE_SUFFIX)):
            return Bundle(path)
    path = Path(wanted)
    if path.exists():
        return Bundle(path)
    names = ", ".join(sorted({p.name.removesuffix(BUNDLE_SUFFIX) for p in paths})) or "none"
    raise UsageError(f"no bundle {wanted!r}: neither a path nor one of those found ({names})")


def find_bundle(digest: bytes, name: str) -> Bundle:
    """Open the bundle with a digest; ``name`` (informative, from a stream) is for the message."""
    unreadable = []
    for path in known_bundles():
        try:
            data = storage_from_path(path).manifest()
        except BundleError:
            unreadable.append(str(path))
            continue
        if hashlib.sha256(data).digest() == digest:
            return Bundle(path)
    note = f" (passed over as unreadable: {', '.join(unreadable)})" if unreadable else ""
    raise BundleError(
        f"the stream needs bundle {name!r} with digest {digest.hex()[:16]}..., which is not here"
        f"{note}; give it with --bundle, or put it into a folder named by {SEARCH_VARIABLE}"
    )
