"""What the command-line tools have in common: how one is set up, and what becomes of errors."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from nvc_errors import NvcError
from nvc_runtime.cli.console import (
    escape_what_cannot_be_printed,
    flush_output,
    is_broken_pipe,
    say,
)
from nvc_runtime.cli.standard_input import make_standard_input_interruptible

# No `from __future__ import annotations`: typer could not evaluate those of nested functions.

FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143

# What the parser raises. It has a public name in click, which newer typers contain under another.
_ParserError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def make_app(
    program: str, purpose: str, commands: Mapping[str, Callable[..., None]]
) -> typer.Typer:
    """Make a tool of its subcommands, in the order of the help.

    Args:
        program: the name by which the tool is called.
        purpose: one sentence for the help.
        commands: functions by the names of the subcommands.

    """
    app = typer.Typer(
        name=program,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            print(f"{program} {metadata.version('nvc')}")
            raise typer.Exit

    @app.callback(invoke_without_command=True, help=purpose)
    def root(
        context: typer.Context,
        _version: Annotated[
            bool,
            typer.Option(
                "--version",
                callback=print_version,
                is_eager=True,
                help="Print the version and exit.",
            ),
        ] = False,
    ) -> None:
        if context.invoked_subcommand is None:
            print(context.get_help(), file=sys.stderr)
            raise typer.Exit(USAGE)

    for name, function in commands.items():
        app.command(name)(function)
    return app


def launch(run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a tool with the process's arguments and exit."""
    escape_what_cannot_be_printed()
    signal.signal(signal.SIGTERM, _terminate)
    make_standard_input_interruptible()
    sys.exit(run(sys.argv[1:]))


def run_app(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a tool that `make_app` made and return its exit code.

    An ``NvcError`` becomes one line on standard error; other errors pass through.
    """
    program = str(app.info.name)
    try:
        code = _invoke(app, program, arguments)
    except NvcError as error:
        if not is_broken_pipe(error):
            say(f"{program}: {error}")
        code = error.exit_code
    except BrokenPipeError:
        code = FAILURE
    except KeyboardInterrupt:
        say(f"{program}: interrupted")
        code = INTERRUPTED
    if not flush_output():
        code = code or FAILURE
    return code


def _invoke(app: typer.Typer, program: str, arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    # Not main(), which would handle errors and interrupts in its own way.
    try:
        with command.make_context(program, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _ParserError as error:
        context_of_error = getattr(error, "ctx", None)
        path = context_of_error.command_path if context_of_error else program
        message = getattr(error, "format_message", error.__str__)()
        say(f"{path}: {message.rstrip('.')}; see {path} --help")
        return USAGE
    return 0


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that temporary files are removed."""
    raise SystemExit(TERMINATED)
