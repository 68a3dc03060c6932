"""Training data: clips decoded once into a packed cache, random crops with augmentation.

The cache is one raw file of uint8 RGB frames plus a JSON index, memory-mapped, so that a crop
costs a few page reads. Batches are a pure function of (seed, step): resuming needs no state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from nvc_errors import DamagedInputError, OutputError, UsageError

SHIPPABLE_CLASSES = ("A", "B")
"""Licence classes of material that weights may be trained on and shipped."""

FRAMES_FILE, INDEX_FILE = "frames.rgb", "index.json"
PHOTO_MARGIN = 32
"""Pixels round the crop of a photograph that the camera may move over."""


@dataclass(frozen=True)
class ClipEntry:
    """Place of one clip (or photograph: frames == 1) in the packed file."""

    offset: int
    frames: int
    height: int
    width: int
    source: str

    @property
    def size_bytes(self) -> int:
        """Bytes of its frames, uint8 RGB."""
        return self.frames * self.height * self.width * 3


def pack(
    clips: Path,
    photos: Path,
    cache: Path,
    *,
    read: Callable[[Path], NDArray[np.uint8]],
    classes: tuple[str, ...] = SHIPPABLE_CLASSES,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Decode every clip and photograph of the given licence classes into ``cache``.

    ``clips`` and ``photos`` hold a ``manifest.json`` (list of objects with ``file`` and
    ``lic_class``). Writes ``cache/frames.rgb`` and ``cache/index.json``; the index last, so that a
    cache that was not finished has none. ``read`` decodes a file to uint8 RGB (N, H, W, 3): as
    the codec's own runtime reads it, so that training sees the chroma that the codec will see.
    ``progress`` receives the name of every file.

    Raises :class:`UsageError` if nothing is of these classes, :class:`DamagedInputError` if a
    manifest cannot be read, :class:`OutputError` if the cache cannot be written, and what ``read``
    raises.
    """
    sources = [
        (folder, name) for folder in (clips, photos) for name in _listed(folder, classes=classes)
    ]
    if not sources:
        raise UsageError(
            f"neither {clips} nor {photos} lists a file of the classes {', '.join(classes)}; "
            "choose other classes"
        )
    entries: list[ClipEntry] = []
    offset = 0
    try:
        cache.mkdir(parents=True, exist_ok=True)
        (cache / INDEX_FILE).unlink(missing_ok=True)
        with (cache / FRAMES_FILE).open("wb") as out:
            for folder, name in sources:
                progress(name)
                frames = read(folder / name)
                out.write(frames.tobytes())
                count, height, width, _ = frames.shape
                entries.append(ClipEntry(offset, count, height, width, name))
                offset += frames.nbytes
        temporary = cache / f"{INDEX_FILE}.tmp"
        temporary.write_text(json.dumps([asdict(entry) for entry in entries]), encoding="utf-8")
        temporary.replace(cache / INDEX_FILE)
    except OSError as error:
        raise OutputError(
            f"{cache}: the cache cannot be written: {error.strerror or error}"
        ) from error


def _listed(folder: Path, *, classes: tuple[str, ...]) -> list[str]:
    """Names of the files of some licence classes in ``folder``'s manifest, in its order."""
    path = folder / "manifest.json"
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        return [str(item["file"]) for item in items if item["lic_class"] in classes]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedInputError(
            f"{path}: expected a list of objects with 'file' and 'lic_class': {error}"
        ) from error


class PackedClips:
    """Random access to a packed cache. ``entries`` are in the order they were packed."""

    def __init__(self, cache: Path) -> None:
        """Open a cache; raise :class:`DamagedInputError` if it is missing or not whole."""
        self.cache = cache
        index = cache / INDEX_FILE
        if not index.exists():
            raise DamagedInputError(f"{index} is missing: pack the training data first")
        try:
            self.entries = [ClipEntry(**e) for e in json.loads(index.read_text(encoding="utf-8"))]
            size = (cache / FRAMES_FILE).stat().st_size
        except (OSError, ValueError, TypeError) as error:
            raise DamagedInputError(f"{cache}: pack the training data again: {error}") from error
        expected = sum(entry.size_bytes for entry in self.entries)
        if size != expected or not size:
            raise DamagedInputError(
                f"{cache / FRAMES_FILE} has {size} bytes, expected {expected}: "
                "pack the training data again"
            )
        self.data = np.memmap(cache / FRAMES_FILE, dtype=np.uint8, mode="r")
        self.clips = [e for e in self.entries if e.frames > 1]
        self.photos = [e for e in self.entries if e.frames == 1]

    def __reduce__(self) -> tuple[type[PackedClips], tuple[Path]]:
        """Have worker processes that do not share this one's memory open the cache themselves."""
        return PackedClips, (self.cache,)

    def frames(self, entry: ClipEntry) -> NDArray[np.uint8]:
        """View uint8 (N, H, W, 3) of one entry."""
        flat = self.data[entry.offset : entry.offset + entry.size_bytes]
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
        if not clips.clips and not (photo_share >= 1.0 and clips.photos):
            raise UsageError("the packed training data holds no clip of two frames or more")
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
        """Move a camera over a photograph: smooth pan, small zoom and rotation."""
        photos = self.clips.photos
        entry = photos[int(rng.integers(len(photos)))]
        margin = PHOTO_MARGIN
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


class StepBatches(Dataset[Tensor]):
    """The batches of ``count`` steps from ``first`` on, for a loader with worker processes."""

    def __init__(self, sampler: SequenceSampler, shape: BatchShape, first: int, count: int) -> None:
        self.sampler, self.shape, self.first, self.count = sampler, shape, first, count

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        """Batch of a step, see :meth:`SequenceSampler.batch`."""
        return self.sampler.batch(self.first + number, self.shape)

    def load(self, workers: int, device: str) -> Iterator[Tensor]:
        """Yield the batches in order, on a device; ``workers`` processes work ahead."""
        pin = workers > 0 and device != "cpu"
        loader = DataLoader(self, batch_size=None, num_workers=workers, pin_memory=pin)
        for frames in loader:
            yield frames.to(device, non_blocking=pin)


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
