"""How tests are shared out when pytest-xdist runs several processes.

Every file stays in one process, for the sake of what its tests share, and so do all of
``tests/export``: its codecs are exported once for all files, which takes minutes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TOGETHER = Path(__file__).parent / "export"


@pytest.hookimpl(tryfirst=True)  # xdist's own hook reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            group = TOGETHER if TOGETHER in item.path.parents else item.path
            item.add_marker(pytest.mark.xdist_group(str(group)))
