"""Options that several subcommands share. Importing this module must stay cheap."""

from __future__ import annotations

from typing import Annotated

import typer

OverwriteOption = Annotated[bool, typer.Option("-y", help="Overwrite existing outputs.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors on stderr.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
