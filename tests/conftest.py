"""How pytest-xdist shares tests out where several processes run them."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each file in one process, for what its tests share, and all of ``tests/export``.

    Codecs are exported once for all files there, which takes minutes.
    """
    from xdist.scheduler import LoadFileScheduling  # only where it is installed

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = "tests/export/"
            return folder if nodeid.startswith(folder) else str(super()._split_scope(nodeid))

    return Scheduling(config, log)
