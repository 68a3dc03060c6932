"""Training data: clips decoded once into a packed cache, random crops with augmentation.

The cache is one raw file of uint8 RGB frames plus a JSON index, memory-mapped, so that a crop
costs a few page reads. Batches are a pure function of (seed, step): resuming needs no state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nvc_errors import DamagedInputError

SHIPPABLE_CLASSES = ("A", "B")


@dataclass(frozen=True)
class ClipEntry:
    """Place of one clip (or photograph: frames == 1) in the packed file."""

    offset: int
    frames: int
    height: int
    width: int
    source: str


def pack(clips: Path, photos: Path, cache: Path, *, classes: tuple[str, ...]) -> None:
    """Decode every clip and photograph of the given licence classes into ``cache``.

    ``clips`` and ``photos`` hold a ``manifest.json`` (list of objects with ``file`` and
    ``lic_class``). Writes ``cache/frames.rgb`` and ``cache/index.json``; the index last.
    """
    cache.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, object]] = []
    offset = 0
    with (cache / "frames.rgb").open("wb") as out:
        for folder in (clips, photos):
            manifest = json.loads((folder / "manifest.json").read_text())
            for item in manifest:
                if item["lic_class"] not in classes:
                    continue
                frames = read_rgb(folder / item["file"])
                out.write(frames.tobytes())
                count, height, width, _ = frames.shape
                entries.append(
                    {
                        "offset": offset,
                        "frames": count,
                        "height": height,
                        "width": width,
                        "source": item["file"],
                    }
                )
                offset += frames.nbytes
    (cache / "index.json").write_text(json.dumps(entries))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode a clip or picture to uint8 (N, H, W, 3)."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    if not frames:
        raise DamagedInputError(f"{path}: no frame decoded")
    return np.stack(frames)


class PackedClips:
    """Random access to a packed cache."""

    def __init__(self, cache: Path) -> None:
        index = cache / "index.json"
        if not index.exists():
            raise DamagedInputError(f"{index} is missing: pack the training data first")
        self.entries = [ClipEntry(**e) for e in json.loads(index.read_text())]
        self.data = np.memmap(cache / "frames.rgb", dtype=np.uint8, mode="r")
        self.clips = [e for e in self.entries if e.frames > 1]
        self.photos = [e for e in self.entries if e.frames == 1]

    def frames(self, entry: ClipEntry) -> NDArray[np.uint8]:
        """View uint8 (N, H, W, 3) of one entry."""
        size = entry.frames * entry.height * entry.width * 3
        flat = self.data[entry.offset : entry.offset + size]
        return flat.reshape(entry.frames, entry.height, entry.width, 3)


@dataclass(frozen=True)
class BatchShape:
    """Sequences per batch, frames per sequence, crop side in pixels."""

    batch: int
    frames: int
    crop: int


class SequenceSampler:
    """Draws augmented training sequences, a pure function of (seed, step)."""

    def __init__(self, clips: PackedClips, *, photo_share: float, seed: int) -> None:
        self.clips, self.photo_share, self.seed = clips, photo_share, seed

    def batch(self, step: int, shape: BatchShape) -> Tensor:
        """Return float32 (B, T, 3, crop, crop) in [0, 1]."""
        rng = np.random.default_rng((self.seed, step))
        samples = [self._sample(rng, shape) for _ in range(shape.batch)]
        return torch.stack(samples)

    def _sample(self, rng: np.random.Generator, shape: BatchShape) -> Tensor:
        photos = self.clips.photos
        if photos and rng.random() < self.photo_share:
            return self._photo(rng, shape)
        pool = self.clips.clips
        entry = pool[int(rng.integers(len(pool)))]
        stride = 2 if entry.frames >= 2 * shape.frames and rng.random() < 0.15 else 1
        span = (shape.frames - 1) * stride + 1
        start = int(rng.integers(max(entry.frames - span, 0) + 1))
        numbers = np.clip(start + stride * np.arange(shape.frames), 0, entry.frames - 1)
        frames = self.clips.frames(entry)
        crop = _crop(rng, frames, numbers, shape.crop)
        if rng.random() < 0.5:
            crop = crop[::-1]
        return _augment(rng, crop)

    def _photo(self, rng: np.random.Generator, shape: BatchShape) -> Tensor:
        """A camera moving over a photograph: smooth pan, small zoom and rotation."""
        photos = self.clips.photos
        entry = photos[int(rng.integers(len(photos)))]
        margin = 32
        side = shape.crop + 2 * margin
        still = _crop(rng, self.clips.frames(entry), np.zeros(1, np.int64), side)
        picture = _augment(rng, still)
        if shape.frames == 1:
            return picture[:, :, margin:-margin, margin:-margin]
        t = np.arange(shape.frames, dtype=np.float32)[:, None]
        speed = rng.normal(0, 2.5, 2).astype(np.float32) * (rng.random() < 0.8)
        reach = (margin - 2) / max(shape.frames - 1, 1)
        shift = np.clip(speed, -reach, reach) * t
        angle = (rng.normal(0, 0.004) * t)[:, 0]
        zoom = np.exp(rng.normal(0, 0.004) * t)[:, 0]
        scale = shape.crop / side * zoom
        theta = np.zeros((shape.frames, 2, 3), np.float32)
        theta[:, 0, 0] = theta[:, 1, 1] = scale * np.cos(angle)
        theta[:, 0, 1], theta[:, 1, 0] = -scale * np.sin(angle), scale * np.sin(angle)
        theta[:, :, 2] = 2 * shift / side
        grid = F.affine_grid(
            torch.from_numpy(theta), [shape.frames, 3, shape.crop, shape.crop], align_corners=False
        )
        return F.grid_sample(
            picture.expand(shape.frames, -1, -1, -1),
            grid,
            padding_mode="reflection",
            align_corners=False,
        )


def _crop(
    rng: np.random.Generator, frames: NDArray[np.uint8], numbers: NDArray[np.int64], side: int
) -> NDArray[np.uint8]:
    """Cut the same random square out of the given frames, mirrored at the edge if too small."""
    _, height, width, _ = frames.shape
    top = int(rng.integers(max(height - side, 0) + 1))
    left = int(rng.integers(max(width - side, 0) + 1))
    cut = np.stack([frames[n, top : top + side, left : left + side] for n in numbers])
    short_h, short_w = side - cut.shape[1], side - cut.shape[2]
    if short_h or short_w:
        cut = np.pad(cut, ((0, 0), (0, short_h), (0, short_w), (0, 0)), mode="symmetric")
    return cut


def _augment(rng: np.random.Generator, crop: NDArray[np.uint8]) -> Tensor:
    """Flip, transpose, and small changes of brightness, contrast and colour."""
    if rng.random() < 0.5:
        crop = crop[:, :, ::-1]
    if rng.random() < 0.2:
        crop = crop.transpose(0, 2, 1, 3)
    x = torch.from_numpy(np.ascontiguousarray(crop.transpose(0, 3, 1, 2))).float().mul_(1 / 255)
    if rng.random() < 0.3:
        gain = torch.from_numpy(rng.normal(1.0, 0.08, (1, 3, 1, 1)).astype(np.float32))
        shift = float(rng.normal(0, 0.05))
        x = (x * gain + shift).clamp_(0, 1)
    return x
