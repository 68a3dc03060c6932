"""Entry point of ``nvc-export``: the list of subcommands.

==== ==========================================================================
0    success
1    failure: an output cannot be written
2    usage: an option, argument or output name
3    damaged input
4    a graph and its module, or a plan and its record, disagree
5    no such device or compiler, a graph cannot be compiled, a plan is damaged
130  interrupted
143  terminated
==== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nvc_export.cli import (
    build_engine,
    bundle,
    gpus,
    inspect,
    lint,
    pack_data,
    profile,
    prune,
    train,
)
from nvc_runtime.cli.console import say
from nvc_runtime.cli.launch import USAGE, launch, make_app, run_app

EXTRA_MODULES: Final = ("onnx", "onnx_ir", "onnxscript", "polygraphy", "torch", "torch_pruning")
"""What the extra ``[export]`` installs and commands import when they start to work."""

app = make_app(
    "nvc-export",
    "Train neural video codecs, export them as bundles, and compile these for GPUs.",
    {
        "pack-data": pack_data.pack_data,
        "train": train.train,
        "bundle": bundle.bundle,
        "profile": profile.profile,
        "prune": prune.prune,
        "gpus": gpus.gpus,
        "lint": lint.lint,
        "build-engine": build_engine.build_engine,
        "inspect": inspect.inspect,
    },
)


def main() -> None:
    """Run the tool with the process's arguments and exit."""
    launch(run)


def run(arguments: Sequence[str]) -> int:
    """Run the tool and return its exit code. Errors that are not ``NvcError`` pass through."""
    try:
        return run_app(app, arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_MODULES:
            raise
        say(f'{app.info.name}: {error.name} is not installed; pip install "nvc[export]"')
        return USAGE
