"""One engine after the other for the tests of the codec."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from coding import CPU_ENGINES

from nvc_engines import Engine, open_engine


@pytest.fixture(params=CPU_ENGINES, scope="module")
def any_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Every engine that can run on a CPU; those whose library is not installed skip."""
    backend = request.param.partition(":")[0]
    if backend in ("openvino", "torch"):
        pytest.importorskip(backend)
    with open_engine(request.param) as engine:
        yield engine
