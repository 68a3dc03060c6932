"""Points of x264 and x265, kept in files: they take long, and change only with the libraries."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av

from rate_distortion.curves import Curve, Point, point_from_json
from rate_distortion.reference import ReferenceCodec, reference_point


def cached_point(
    codec: ReferenceCodec,
    clip: Path,
    crf: float,
    folder: Path | None,
    *,
    keyint: int,
    frames: int,
    with_ms_ssim: bool,
) -> Point:
    """Take a point from ``folder``, or make it; its name there depends on all that it depends on.

    Raises what :func:`rate_distortion.reference_point` raises.
    """
    settings: dict[str, Any] = {"keyint": keyint, "frames": frames, "with_ms_ssim": with_ms_ssim}
    if folder is None:
        return reference_point(codec, clip, crf, **settings)
    identity = {
        "clip": hashlib.sha256(clip.read_bytes()).hexdigest(),
        "encoder": codec.encoder,
        "options": codec.options(crf, keyint),
        "frames": frames,
        "ms_ssim": with_ms_ssim,
        "libraries": [av.__version__, *map(str, sorted(av.library_versions.items()))],
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{codec.encoder}-{key}.json"
    if path.exists():
        return point_from_json(json.loads(path.read_text())["point"])
    point = reference_point(codec, clip, crf, **settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"identity": identity, "point": point.to_json()}, indent=1))
    temporary.replace(path)
    return point


def cached_curve(
    codec: ReferenceCodec,
    clip: Path,
    crfs: list[int],
    folder: Path | None,
    *,
    keyint: int,
    frames: int,
) -> Curve:
    """Return a curve of cached points, without MS-SSIM."""
    points = [
        cached_point(codec, clip, crf, folder, keyint=keyint, frames=frames, with_ms_ssim=False)
        for crf in crfs
    ]
    return Curve(codec.name, tuple(points))
