"""Lets the tests of the runtime import what `tests/support` holds, and opens its codec."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvc_engines import Engine, open_engine
from nvc_runtime import Bundle

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


@pytest.fixture(scope="session")
def block_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The codec of `block_codec`, as an archive."""
    from block_codec import block_files, write_archive

    path = tmp_path_factory.mktemp("bundles") / "block.nvcb"
    return Bundle(write_archive(path, block_files()))


@pytest.fixture(scope="session")
def reference_engine() -> Iterator[Engine]:
    """The engine streams are encoded on."""
    with open_engine("ort:cpu,threads=1") as engine:
        yield engine
