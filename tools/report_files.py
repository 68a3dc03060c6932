"""What the measuring tools have in common: options, errors in one line, JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nvc_errors import NvcError, VerificationError

SHOWN_PROBLEMS = 20


def clips_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of a tool that measures clips: ``--clip`` and ``--output`` are there."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-i", "--clip", type=Path, action="append", required=True, help="may be repeated")
    add("-o", "--output", type=Path, required=True, help="without suffix")
    return parser


def run_report(
    name: str,
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    markdown: Callable[[dict[str, Any]], str],
) -> int:
    """Measure and write the report to ``options.output``; return the tool's exit code."""

    def work() -> int:
        result = measure(options)
        write_report(options.output, result, markdown(result))
        return 0

    return run_tool(name, work)


def show_report(
    name: str,
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    markdown: Callable[[dict[str, Any]], str],
) -> int:
    """As :func:`run_report`, and show the table on standard error.

    Without ``options.output`` the JSON goes to standard output.
    """

    def work() -> int:
        result = measure(options)
        table = markdown(result)
        if options.output is None:
            print(json.dumps(result, indent=1))
        else:
            write_report(options.output, result, table)
        print(table, file=sys.stderr)
        return 0

    return run_tool(name, work)


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
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    write_whole(beside(output, ".json"), text)
    write_whole(beside(output, ".md"), markdown)


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: a run that is killed leaves the one before."""
    temporary = beside(path, ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def beside(output: Path, suffix: str) -> Path:
    """Return the file of a report with a suffix; the report's name may have dots of its own."""
    return output.with_name(output.name + suffix)


def numbers_from_text(text: str) -> list[int]:
    """Read an option's whole numbers, separated by commas."""
    return [int(part) for part in text.split(",")]


def add_numbers(parser: argparse.ArgumentParser, name: str, default: Sequence[int]) -> None:
    """Add an option that takes whole numbers, separated by commas."""
    shown = ",".join(map(str, default))
    parser.add_argument(
        name, type=numbers_from_text, default=list(default), help=f"default: {shown}"
    )


def percent(value: float | None, digits: int = 1) -> str:
    """Show a change in per cent with its sign; a dash where there is none."""
    return "-" if value is None else f"{value:+.{digits}f} %"


def refuse_problems(problems: Sequence[str]) -> None:
    """Raise :class:`VerificationError` naming the problems that a report lists, if any."""
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        raise VerificationError(f"{len(problems)} problems:{shown}")
