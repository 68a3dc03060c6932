"""Training data: packing, and batches that are a function of (seed, step)."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_clips import CLIP_FRAMES, clip_frames, make_cache, write_clip, write_manifest

from nvc_errors import DamagedInputError, OutputError, UsageError
from nvc_export.training_material import read_frames
from nvc_models.training.data import (
    FRAMES_FILE,
    INDEX_FILE,
    BatchShape,
    PackedClips,
    SequenceSampler,
    StepBatches,
    pack,
)

SHAPE = BatchShape(batch=3, frames=3, crop=64)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("data"))


def folder(path: Path, items: dict[str, tuple[str, NDArray[np.uint8]]]) -> Path:
    """Write clips with their licence classes."""
    path.mkdir()
    for name, (_, frames) in items.items():
        write_clip(path / name, frames)
    write_manifest(path, {name: lic_class for name, (lic_class, _) in items.items()})
    return path


def test_packing_keeps_every_sample_and_only_the_wanted_classes(tmp_path: Path) -> None:
    a, c, photo = clip_frames(1), clip_frames(2), clip_frames(3)[:1]
    clips = folder(tmp_path / "clips", {"a.mkv": ("A", a), "c.mkv": ("C", c)})
    photos = folder(tmp_path / "photos", {"p.mkv": ("B", photo)})
    told: list[str] = []
    pack(
        clips,
        photos,
        tmp_path / "cache",
        read=read_frames,
        classes=("A", "B"),
        progress=told.append,
    )
    packed = PackedClips(tmp_path / "cache")
    assert told == ["a.mkv", "p.mkv"]
    assert [entry.source for entry in packed.entries] == told
    assert ([e.source for e in packed.clips], [e.source for e in packed.photos]) == (
        ["a.mkv"],
        ["p.mkv"],
    )
    np.testing.assert_array_equal(packed.frames(packed.entries[0]), a)
    np.testing.assert_array_equal(packed.frames(packed.entries[1]), photo)


def test_nothing_of_the_wanted_classes_is_a_usage_error(tmp_path: Path) -> None:
    clips = folder(tmp_path / "clips", {"c.mkv": ("C", clip_frames(1))})
    with pytest.raises(UsageError, match="classes A, B"):
        pack(clips, clips, tmp_path / "cache", read=read_frames)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("text", [None, "no json", "[1]", '[{"file": "x"}]'])
def test_a_bad_manifest_is_a_damaged_input(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DamagedInputError, match=r"manifest\.json"):
        pack(tmp_path, tmp_path, tmp_path / "cache", read=read_frames)


def test_a_clip_that_cannot_be_decoded_leaves_no_index(tmp_path: Path) -> None:
    clips = folder(tmp_path / "clips", {"a.mkv": ("A", clip_frames(1))})
    cache = tmp_path / "cache"
    pack(clips, clips, cache, read=read_frames)
    (clips / "a.mkv").write_bytes(b"nothing")
    with pytest.raises(DamagedInputError, match=r"a\.mkv"):
        pack(clips, clips, cache, read=read_frames)
    with pytest.raises(DamagedInputError, match="pack the training data first"):
        PackedClips(cache)


def test_an_unwritable_cache_is_an_output_error(tmp_path: Path) -> None:
    clips = folder(tmp_path / "clips", {"a.mkv": ("A", clip_frames(1))})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        pack(clips, clips, tmp_path / "file" / "cache", read=read_frames)


def test_reading_a_missing_clip_names_it(tmp_path: Path) -> None:
    with pytest.raises(DamagedInputError, match=r"none\.mkv"):
        read_frames(tmp_path / "none.mkv")


@pytest.mark.parametrize("damage", ["short frames", "no frames", "bad index", "strange index"])
def test_a_damaged_cache_is_refused(tmp_path: Path, damage: str) -> None:
    cache = make_cache(tmp_path)
    if damage == "short frames":
        data = (cache / FRAMES_FILE).read_bytes()
        (cache / FRAMES_FILE).write_bytes(data[:-1])
    elif damage == "no frames":
        (cache / FRAMES_FILE).unlink()
    elif damage == "bad index":
        (cache / INDEX_FILE).write_text("[{")
    else:
        (cache / INDEX_FILE).write_text(json.dumps([{"offset": 0, "length": 4}]))
    with pytest.raises(DamagedInputError, match="again"):
        PackedClips(cache)


def sampler(cache: Path, *, photo_share: float = 0.5, seed: int = 1) -> SequenceSampler:
    return SequenceSampler(PackedClips(cache), photo_share=photo_share, seed=seed)


def test_batches_are_a_function_of_seed_and_step(cache: Path) -> None:
    first, second = sampler(cache), sampler(cache)
    late = second.batch(9, SHAPE)
    for step in range(5):
        batch = first.batch(step, SHAPE)
        assert batch.shape == (3, 3, 3, 64, 64)
        assert batch.dtype == torch.float32
        assert 0.0 <= float(batch.min()) <= float(batch.max()) <= 1.0
        assert torch.equal(batch, second.batch(step, SHAPE))
        assert not torch.equal(batch, first.batch(step + 1, SHAPE))
    assert torch.equal(late, first.batch(9, SHAPE))
    assert not torch.equal(late, sampler(cache, seed=2).batch(9, SHAPE))


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one CPU
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_batches_of_its_steps_in_order(cache: Path, workers: int) -> None:
    batches = StepBatches(sampler(cache), SHAPE, first=3, count=5)
    found = list(batches.load(workers, "cpu"))
    assert len(batches) == len(found) == 5
    for step, batch in enumerate(found, start=3):
        assert torch.equal(batch, sampler(cache).batch(step, SHAPE))


def test_crops_are_cut_from_the_clips_and_mirrored_where_they_are_too_small(cache: Path) -> None:
    batch = sampler(cache, photo_share=0.0).batch(0, BatchShape(4, 1, 128))
    assert batch.shape == (4, 1, 3, 128, 128)


def test_clips_shorter_than_a_sequence_repeat_their_last_frame(cache: Path) -> None:
    batch = sampler(cache, photo_share=0.0).batch(0, BatchShape(2, CLIP_FRAMES + 2, 64))
    assert batch.shape[1] == CLIP_FRAMES + 2


def test_photographs_move_smoothly(cache: Path) -> None:
    batch = sampler(cache, photo_share=1.0).batch(3, BatchShape(4, 4, 64))
    steps = batch.diff(dim=1).abs().mean()
    assert 0 < float(steps) < 0.2


def test_sampling_without_clips_is_a_usage_error(tmp_path: Path) -> None:
    clips = folder(tmp_path / "photos", {"p.mkv": ("A", clip_frames(1)[:1])})
    pack(clips, clips, tmp_path / "cache", read=read_frames)
    with pytest.raises(UsageError, match="no clip"):
        sampler(tmp_path / "cache")


def test_workers_are_handed_the_folder_not_the_samples(cache: Path) -> None:
    sampler = SequenceSampler(PackedClips(cache), photo_share=0.2, seed=5)
    batches = StepBatches(sampler, SHAPE, first=3, count=2)
    handed = pickle.dumps(batches)
    assert len(handed) < 2000
    assert torch.equal(pickle.loads(handed)[1], batches[1])
