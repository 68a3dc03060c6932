"""What the measuring tools have in common: errors in one line, results as JSON and Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvc_errors import NvcError


def run_tool(name: str, work: Callable[[], int]) -> int:
    """Return the exit code of ``work``; an ``NvcError`` is one line on standard error."""
    try:
        return work()
    except NvcError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code


def write_report(output: Path, result: dict[str, Any], markdown: str) -> None:
    """Write ``output`` with the suffixes .json and .md; its folder is made if there is none."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    output.with_suffix(".md").write_text(markdown)
