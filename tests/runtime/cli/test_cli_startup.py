"""Starting the tool: its help is quick, and it says how it is to be called."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from nvc_calib import PositionCoder
from nvc_runtime.bundle import DEFAULT_BUNDLE
from nvc_runtime.cli import options
from nvc_runtime.cli.options import Calibration, Exact
from nvc_runtime.stream import ExactMode

COMMANDS = ("demo", "encode", "decode", "probe", "verify", "doctor")
HEAVY = ("av", "constriction", "numpy", "onnxruntime", "rich", "safetensors", "torch")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["encode", "--help"]])
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    script = (
        "import sys; from nvc_runtime.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "[] 0\n"
    assert done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, nvc: Callable[..., object]) -> None:
    outcome = nvc(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: nvc-run {name}")


def test_help_lists_every_command_on_a_line_of_its_own(nvc: Callable[..., object]) -> None:
    lines = nvc("--help").out.splitlines()
    for name in COMMANDS:
        assert [line for line in lines if line.startswith(f"  {name} ") and "..." not in line]


def test_without_a_command_help_goes_to_stderr(nvc: Callable[..., object]) -> None:
    outcome = nvc()
    assert (outcome.code, outcome.out) == (2, "")
    assert "Commands:" in outcome.err


def test_version_is_that_of_the_distribution(nvc: Callable[..., object]) -> None:
    from importlib.metadata import version

    assert nvc("--version").out == f"nvc-run {version('nvc')}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["encode", "-i", "x"], "--output"),
        (["encode", "-i", "x", "-o", "y", "--quality", "good"], "--quality"),
        (["encode", "-i", "x", "-o", "y", "--limit", "0"], "--limit"),
        (["encode", "-i", "x", "-o", "y", "--exact", "audio"], "--exact"),
        (["decode", "-i", "x", "-o", "y", "--start", "-1"], "--start"),
        (["probe", "-i", "x", "--frobnicate"], "--frobnicate"),
        (["transmogrify"], "transmogrify"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: list[str], named: str, nvc: Callable[..., object]
) -> None:
    outcome = nvc(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert named in outcome.error_line
    assert outcome.error_line.endswith("--help")


def test_choices_are_those_of_the_library() -> None:
    assert {c.value for c in Calibration} == {c.value for c in PositionCoder}
    assert {e.value for e in Exact} == {e.value for e in ExactMode}
    assert options.DEFAULT_BUNDLE == DEFAULT_BUNDLE
