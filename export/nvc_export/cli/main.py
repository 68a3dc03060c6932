"""Entry point of ``nvc-export``: the list of subcommands, and what becomes of errors.

==== ==========================================
0    success
1    failure: an output cannot be written
2    usage: an option, argument or output name
3    damaged input
4    a plan and its record disagree
5    the device asked for is not there, or a graph cannot be compiled
130  interrupted
143  terminated
==== ==========================================
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import Annotated, Final

import typer

from nvc_errors import NvcError
from nvc_export.cli import (
    build_engine,
    bundle,
    gpus,
    inspect,
    lint,
    pack_data,
    profile,
    train,
)
from nvc_runtime.cli.console import flush_output, is_broken_pipe, say

PROGRAM: Final = "nvc-export"
FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143

EXTRA_MODULES: Final = ("onnx", "onnxscript", "torch")
"""What the extra ``[export]`` installs and commands import when they start to work."""

# What the parser raises. It has a public name in click, which newer typers contain under another.
_ParserError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("pack-data")(pack_data.pack_data)
app.command("train")(train.train)
app.command("bundle")(bundle.bundle)
app.command("profile")(profile.profile)
app.command("gpus")(gpus.gpus)
app.command("lint")(lint.lint)
app.command("build-engine")(build_engine.build_engine)
app.command("inspect")(inspect.inspect)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {metadata.version('nvc')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train neural video codecs, export them as bundles, and compile these for GPUs."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


def main() -> None:
    """Run the tool with the process's arguments and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the tool and return its exit code. Errors that are not ``NvcError`` pass through."""
    try:
        code = _invoke(arguments)
    except NvcError as error:
        if not is_broken_pipe(error):
            say(f"{PROGRAM}: {error}")
        code = error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_MODULES:
            raise
        say(f'{PROGRAM}: {error.name} is not installed; pip install "nvc[export]"')
        code = USAGE
    except BrokenPipeError:
        code = FAILURE
    except KeyboardInterrupt:
        say(f"{PROGRAM}: interrupted")
        code = INTERRUPTED
    if not flush_output():
        code = code or FAILURE
    return code


def _invoke(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    # Not main(), which would handle errors and interrupts in its own way.
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _ParserError as error:
        context_of_error = getattr(error, "ctx", None)
        path = context_of_error.command_path if context_of_error else PROGRAM
        message = getattr(error, "format_message", error.__str__)()
        say(f"{path}: {message.rstrip('.')}; see {path} --help")
        return USAGE
    return 0


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that temporary files are removed."""
    raise SystemExit(TERMINATED)
