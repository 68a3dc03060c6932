"""Tiny codecs, exported once for all tests: PyTorch's exporter takes seconds a graph.

One of them is pruned and exported by the commands, so that what holds for exported codecs holds for
pruned ones, too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

for _module in ("onnx", "onnxscript", "torch"):
    pytest.importorskip(_module)

import torch  # noqa: E402 - only where it is installed
from exported_codec import PRUNED, Exported  # noqa: E402
from tiny_codec import TINY_OF_EVERY_FAMILY, random_codec  # noqa: E402
from training_clips import make_cache  # noqa: E402

from nvc_export.bundle_writer import BundleOptions, bundle_from_codec  # noqa: E402
from nvc_export.cli.main import run  # noqa: E402
from nvc_models.families import graphs_from_model  # noqa: E402
from nvc_models.training.trainer import load_model  # noqa: E402
from nvc_runtime import Bundle  # noqa: E402
from nvc_runtime.bundle import Defaults  # noqa: E402

DEFAULTS = Defaults(quality=20, keyint=4, skip_level=5, epsilon=1e-3, pixel_epsilon=1e-2)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=sorted(TINY_OF_EVERY_FAMILY))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The codec of each style and family, with random weights, exported as an archive."""
    name: str = request.param
    model = random_codec(TINY_OF_EVERY_FAMILY[name], seed=5)
    options = BundleOptions(name, DEFAULTS, {"licence": "none"})
    folder = tmp_path_factory.mktemp("bundle")
    path = folder / f"{name}.nvcb"
    if name == PRUNED and find_spec("torch_pruning"):
        checkpoint = pruned_checkpoint(model, folder)
        export_by_command(checkpoint, options, path)
        codec = graphs_from_model(load_model(checkpoint))
        return Exported(load_model(checkpoint), codec, Bundle(path), options)
    codec = graphs_from_model(model)
    return Exported(model, codec, Bundle(bundle_from_codec(codec, options, path)), options)


def pruned_checkpoint(model: torch.nn.Module, folder: Path) -> Path:
    """Prune a codec to 70 % of its operations with one step of recovery; return the checkpoint."""
    from nvc_export.pruning.recovery import save_pruned

    large, small = folder / "large.safetensors", folder / "small.safetensors"
    save_pruned(large, model, seed=1)
    command = ["prune", "--checkpoint", large, "--data", make_cache(folder / "data"), "-o", small]
    command += ["--intra", "macs=70%", "--inter", "macs=70%", "--multiple", 2, "--quiet"]
    command += ["--batches", 1, "--batch", 1, "--crop", 64, "--recover-steps", 1]
    assert run([str(word) for word in command]) == 0
    return small


def export_by_command(checkpoint: Path, options: BundleOptions, path: Path) -> None:
    """Export a checkpoint with ``nvc-export bundle``."""
    card, defaults = path.with_name("card.json"), options.defaults
    card.write_text(json.dumps(dict(options.card)))
    command = ["bundle", "--checkpoint", checkpoint, "--name", options.name, "-o", path]
    command += ["--quality", defaults.quality, "--keyint", defaults.keyint]
    command += ["--skip-level", defaults.skip_level, "--epsilon", defaults.epsilon]
    command += ["--pixel-epsilon", defaults.pixel_epsilon, "--card", card]
    command += ["--weights", "fp32", "--no-check", "--quiet"]
    assert run([str(word) for word in command]) == 0


@pytest.fixture(scope="session", autouse=True)
def quiet_tracing() -> Iterator[None]:
    """Keep PyTorch's tracer from logging every symbol: pytest would format it all."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.__trace")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)
