"""Tiny training material: lossless clips, a manifest, a packed cache."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nvc_export.training_material import read_frames
from nvc_models.training.data import pack

CLIP_FRAMES = 5
HEIGHT, WIDTH = 72, 96


def clip_frames(seed: int, frames: int = CLIP_FRAMES) -> NDArray[np.uint8]:
    """Return a moving texture, uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((HEIGHT, WIDTH))
    speed, phases = rng.uniform(-2, 2, 2), rng.uniform(0, 6, 3)
    pictures = []
    for t in range(frames):
        x, y = columns - speed[0] * t, rows - speed[1] * t
        channels = [np.sin(0.21 * x + p) + np.sin(0.17 * y - p) for p in phases]
        pictures.append(np.stack(channels, -1))
    return np.asarray(np.round(127.5 + 55 * np.stack(pictures)), dtype=np.uint8)


def write_clip(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write uint8 (N, H, W, 3) without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "bgr0"
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_manifest(folder: Path, classes: dict[str, str]) -> None:
    """List files with their licence classes."""
    items = [{"file": name, "lic_class": lic_class} for name, lic_class in classes.items()]
    (folder / "manifest.json").write_text(json.dumps(items))


def make_material(folder: Path) -> tuple[Path, Path]:
    """Write two clips and a photograph; return the folders of clips and photographs."""
    clips, photos = folder / "clips", folder / "photos"
    clips.mkdir(parents=True)
    photos.mkdir()
    write_clip(clips / "a.mkv", clip_frames(1))
    write_clip(clips / "b.mkv", clip_frames(2))
    write_clip(photos / "p.mkv", clip_frames(3, frames=1))
    write_manifest(clips, {"a.mkv": "A", "b.mkv": "B"})
    write_manifest(photos, {"p.mkv": "A"})
    return clips, photos


def make_cache(folder: Path) -> Path:
    """Pack two clips and a photograph below `folder`."""
    clips, photos = make_material(folder)
    pack(clips, photos, folder / "cache", read=read_frames)
    return folder / "cache"
