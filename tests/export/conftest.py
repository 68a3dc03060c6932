"""Tiny codecs, exported once for all tests: PyTorch's exporter takes seconds a graph."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

for _module in ("onnx", "onnxscript", "torch"):
    pytest.importorskip(_module)

import torch  # noqa: E402 - only where it is installed
from exported_codec import Exported  # noqa: E402
from tiny_codec import TINY_OF_EVERY_FAMILY, random_codec  # noqa: E402

from nvc_export.bundle_writer import BundleOptions, bundle_from_codec  # noqa: E402
from nvc_models.families import graphs_from_model  # noqa: E402
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
    model = random_codec(TINY_OF_EVERY_FAMILY[request.param], seed=5)
    codec = graphs_from_model(model)
    options = BundleOptions(request.param, DEFAULTS, {"licence": "none"})
    path = tmp_path_factory.mktemp("bundle") / f"{request.param}.nvcb"
    return Exported(model, codec, Bundle(bundle_from_codec(codec, options, path)), options)


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
