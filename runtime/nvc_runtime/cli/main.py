"""Entry point of ``nvc-run``: the list of subcommands.

==== ==========================================
0    success
1    failure; standard output's reader has gone (without a message)
2    usage: an option, argument or output name
3    damaged input
4    verification mismatch
5    no fitting engine
130  interrupted
143  terminated
==== ==========================================
"""

from __future__ import annotations

from collections.abc import Sequence

from nvc_runtime.cli import certify, compare, decode, demo, doctor, encode, probe, trace, verify
from nvc_runtime.cli.launch import launch, make_app, run_app

app = make_app(
    "nvc-run",
    "Encode and decode video with neural codecs, bit-exactly on every engine.",
    {
        "demo": demo.demo,
        "encode": encode.encode,
        "decode": decode.decode,
        "probe": probe.probe,
        "verify": verify.verify,
        "trace": trace.trace,
        "compare": compare.compare,
        "certify": certify.certify,
        "doctor": doctor.doctor,
    },
)


def main() -> None:
    """Run the tool with the process's arguments and exit."""
    launch(run)


def run(arguments: Sequence[str]) -> int:
    """Run the tool and return its exit code. Errors that are not ``NvcError`` pass through."""
    return run_app(app, arguments)
