"""What can run here: engines, and the bundles that are found."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from nvc_engines import EngineProbe, probe_engines
from nvc_errors import NvcError
from nvc_runtime.bundle import DEFAULT_BUNDLE, Bundle, known_bundles


@dataclass(frozen=True)
class BundleProbe:
    """A bundle that was found. ``problem`` is empty if it is usable."""

    path: Path
    name: str
    digest: str
    problem: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": str(self.path),
            "name": self.name,
            "digest": self.digest,
            "usable": not self.problem,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What this machine and this installation have to offer."""

    version: str
    engines: list[EngineProbe]
    bundles: list[BundleProbe]

    @property
    def can_run(self) -> bool:
        """Whether at least one engine works."""
        return any(engine.available for engine in self.engines)

    @property
    def has_default_bundle(self) -> bool:
        """Whether the bundle that is used unless told otherwise is here and usable."""
        return any(
            DEFAULT_BUNDLE in (bundle.path.stem, bundle.path.name) and not bundle.problem
            for bundle in self.bundles
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "version": self.version,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "engines": [
                {"engine": spec, "available": available, "detail": detail}
                for spec, available, detail in self.engines
            ],
            "bundles": [bundle.to_json() for bundle in self.bundles],
            "default_bundle": DEFAULT_BUNDLE,
        }


def diagnose() -> Diagnosis:
    """Try every engine, and open every bundle."""
    bundles = [_probe_bundle(path) for path in known_bundles()]
    return Diagnosis(metadata.version("nvc"), probe_engines(), bundles)


def _probe_bundle(path: Path) -> BundleProbe:
    try:
        bundle = Bundle(path)
    except NvcError as error:
        return BundleProbe(path, path.stem, "", str(error))
    return BundleProbe(path, bundle.name, bundle.digest.hex(), "")
