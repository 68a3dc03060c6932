"""Lets the tests of the models import what `tests/support` holds, on one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

pytest.importorskip("torch")

import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Make results independent of the machine's cores, and of tests that ran before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
