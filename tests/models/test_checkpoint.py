"""Checkpoints: what is saved comes back, a kill leaves a whole file, damage is recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nvc_errors import DamagedInputError, OutputError
from nvc_models.training import checkpoint as ckpt
from nvc_models.training.checkpoint import Checkpoint


def example() -> Checkpoint:
    tensors = {
        "model.a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
        "model.b": torch.randn(5),
        "ema.a": torch.randn(3, 4, 2, 2),
    }
    return Checkpoint(tensors, {"step": 7, "nested": {"list": [1, 2]}})


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    saved = example()
    ckpt.save(tmp_path / "state.safetensors", saved)
    loaded = ckpt.load(tmp_path / "state.safetensors")
    assert loaded.metadata == saved.metadata
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[k], v) for k, v in saved.tensors.items())
    assert list(loaded.section("model")) == ["a", "b"]
    assert list(loaded.section("exp_avg")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("moment", ["save_file", "fsync"])
def test_a_failure_while_saving_leaves_the_old_file(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old = tmp_path / "state.safetensors", example()
    ckpt.save(path, old)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(ckpt if moment == "save_file" else ckpt.os, moment, fail)
    with pytest.raises(OutputError, match="no space left"):
        ckpt.save(path, Checkpoint({"model.a": torch.zeros(1)}, {}))
    assert ckpt.load(path).metadata == old.metadata
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        ckpt.save(tmp_path / "none" / "state.safetensors", example())


@pytest.mark.parametrize("cut", [0, 7, 40, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "state.safetensors"
    ckpt.save(path, example())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedInputError, match="not a training checkpoint"):
        ckpt.load(path)


@pytest.mark.parametrize("metadata", [None, {"nvc": "no json"}, {"nvc": "[]"}, {"other": "{}"}])
def test_other_safetensors_files_are_no_checkpoints(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(DamagedInputError, match="not a training checkpoint"):
        ckpt.load(path)


def test_a_missing_file_is_damaged_input(tmp_path: Path) -> None:
    with pytest.raises(DamagedInputError, match="none"):
        ckpt.load(tmp_path / "none")
