"""The exported programs, run by the runtime, give what the PyTorch models give."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from block_codec import moving_frames, video_info
from exported_codec import PRUNED, Exported
from numpy.typing import NDArray
from tiny_codec import TINY_OF_EVERY_FAMILY, random_codec
from torch import Tensor

from nvc_engines import open_engine
from nvc_export.bundle_complexity import complexity_from_bundle
from nvc_export.complexity import complexity_from_codec
from nvc_models.families import graphs_from_model
from nvc_models.latent import LatentQuantizer
from nvc_runtime import Decoder, Encoder, EncoderSettings
from nvc_runtime.codec.symbols import SymbolWriter

WIDTH, HEIGHT, FRAMES = 100, 60, 3
PADDED = (64, 128)


@pytest.fixture
def frames() -> list[NDArray[np.uint8]]:
    return list(moving_frames(WIDTH, HEIGHT, FRAMES))


@pytest.fixture
def runtime_symbols(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """Collect what the runtime's encoder codes with a scale prior."""
    found: list[NDArray[np.float32]] = []
    code = SymbolWriter.code

    def recording(self: SymbolWriter, step: Any, index: Any, *rest: Any) -> NDArray[np.float32]:
        symbols = code(self, step, index, *rest)
        if index is not None:
            found.append(symbols)
        return symbols

    monkeypatch.setattr(SymbolWriter, "code", recording)
    return found


@pytest.fixture
def model_symbols(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """Collect what the PyTorch models quantise."""
    found: list[NDArray[np.float32]] = []
    quantize = LatentQuantizer.quantize

    def recording(
        self: LatentQuantizer, y: Tensor, mean: Tensor | None, *rest: Any
    ) -> tuple[Tensor, Tensor]:
        hat, bits = quantize(self, y, mean, *rest)
        found.append(torch.round(hat if mean is None else hat - mean)[0].numpy())
        return hat, bits

    monkeypatch.setattr(LatentQuantizer, "quantize", recording)
    return found


def tensor_from_frame(frame: NDArray[np.uint8]) -> Tensor:
    rows, columns = PADDED[0] - HEIGHT, PADDED[1] - WIDTH
    padded = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return torch.from_numpy(padded.transpose(2, 0, 1).astype(np.float32) / np.float32(255))[None]


@torch.no_grad()
def reconstructions(
    exported: Exported, frames: list[NDArray[np.uint8]], quality: int, skip_level: int
) -> list[NDArray[np.uint8]]:
    """Code frames with the PyTorch models in evaluation mode."""
    model, quality_index = exported.model, torch.tensor([float(quality)])
    pictures, reference = [], None
    for frame in map(tensor_from_frame, frames):
        if reference is None:
            decoded = model.intra(frame, quality_index, rounding="hard", skip_level=skip_level)
            reference = model.inter.reference_from_intra(decoded.frame)
        else:
            decoded = model.inter(
                frame, reference, quality_index, rounding="hard", skip_level=skip_level
            )
            reference = decoded.reference
        picture = decoded.frame[0, :, :HEIGHT, :WIDTH].permute(1, 2, 0)
        pictures.append(np.asarray(np.floor(255 * picture.numpy() + 0.5), dtype=np.uint8))
    return pictures


@pytest.mark.parametrize(("quality", "skip_level"), [(20, -1), (20, 9), (0, 16)])
def test_symbols_and_pictures_are_those_of_the_models(
    exported: Exported,
    frames: list[NDArray[np.uint8]],
    runtime_symbols: list[NDArray[np.float32]],
    model_symbols: list[NDArray[np.float32]],
    quality: int,
    skip_level: int,
) -> None:
    expected = reconstructions(exported, frames, quality, skip_level)
    settings = EncoderSettings(quality=quality, skip_level=skip_level, keyint=0, scene_cuts=False)
    file, coded = io.BytesIO(), []
    with open_engine("ort:cpu,threads=1") as engine:
        encoder = Encoder(exported.bundle, engine, settings)
        report = encoder.encode(frames, video_info(WIDTH, HEIGHT), file, on_frame=coded.append)
    file.seek(0)
    with open_engine("ort:cpu,opt=basic,threads=1") as engine:
        decoder = Decoder(file, engine, bundle=exported.bundle)
        decoded = list(decoder)
    assert decoder.report().symbols_digest == report.symbols_digest
    parts = [
        sum(step.get("prior") == "scale" for step in exported.codec.programs[name]["steps"])
        for name in ("intra", "inter")
    ]
    assert len(runtime_symbols) == len(model_symbols) == parts[0] + parts[1] * (FRAMES - 1)
    swift = exported.codec.family == "swift"
    # A search among equals may choose otherwise, and then all that follows differs: its graphs are
    # compared one by one elsewhere, here only the intra frame is.
    count = parts[0] if swift else len(model_symbols)
    assert all(
        found.shape == wanted.shape
        for found, wanted in zip(runtime_symbols, model_symbols, strict=True)
    )
    for found, wanted in zip(runtime_symbols[:count], model_symbols[:count], strict=True):
        # A sum in another order may put a value on the other side of a half.
        assert (found == wanted).mean() > 0.995
    if skip_level < 16:
        assert all(symbols.any() for symbols in runtime_symbols[:2])
    for picture, shown, read in zip(expected, coded, decoded, strict=True):
        difference = np.abs(picture.astype(int) - shown.rgb.astype(int))
        assert difference.mean() < 0.05 or (swift and shown.number > 0)
        assert np.abs(read.rgb.astype(int) - shown.rgb.astype(int)).max() <= 1


@pytest.mark.parametrize("exported", [PRUNED], indirect=True)
def test_the_pruned_codec_costs_less_than_its_configuration_says(exported: Exported) -> None:
    pytest.importorskip("torch_pruning", reason="needs nvc[export]")
    whole = graphs_from_model(random_codec(TINY_OF_EVERY_FAMILY[PRUNED]))
    costs = zip(complexity_from_bundle(exported.bundle), complexity_from_codec(whole), strict=True)
    for found, full in costs:
        assert found.macs_per_pixel < 0.72 * full.macs_per_pixel
