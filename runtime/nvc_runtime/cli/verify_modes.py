"""Which options of ``nvc-run verify`` go together; one without effect is refused, not ignored."""

from __future__ import annotations

from enum import StrEnum

import typer

from nvc_errors import UsageError


class Mode(StrEnum):
    """What ``verify`` does, by the options that say so."""

    VIDEO = "--input with a video"
    STREAM = "--input with a stream"
    AGAINST = "--against"
    BISECT = "--bisect"


_ENCODER = (
    *("quality", "intra_offset", "keyint", "scene_cuts", "repeats", "skip_level"),
    *("calibration", "epsilon", "exact", "pixel_epsilon", "sync"),
)
_SOME = {
    Mode.VIDEO: {"source", "skip", "limit", *_ENCODER},
    Mode.STREAM: {"source", "limit", "page"},
    Mode.AGAINST: {"against", "junit", "epsilon"},
    Mode.BISECT: {"bisect", "bound"},
}
"""Parameters that apply to some modes only; the others apply to all."""


def check_options(context: typer.Context, mode: Mode) -> None:
    """Raise ``UsageError`` for an option on the command line that has no effect in a mode."""
    for parameter in context.command.params:
        name = str(parameter.name)
        fitting = [other for other, names in _SOME.items() if name in names]
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and fitting and mode not in fitting:
            option = "/".join((parameter.opts[0], *parameter.secondary_opts))
            raise UsageError(
                f"{option} does not apply to {mode}, only to {' and '.join(fitting)}; leave it out"
            )
