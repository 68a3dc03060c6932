"""Lets the tests of the tools import them, and what `tests/support` holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
_ROOT = Path(__file__).parents[2]
for _folder in (_ROOT / "tests" / "support", _ROOT / "tools"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))


@pytest.fixture(scope="session")
def block_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The codec of `block_codec`, as an archive."""
    from block_codec import block_files, write_archive

    return write_archive(tmp_path_factory.mktemp("bundles") / "block.nvcb", block_files())
