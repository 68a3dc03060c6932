"""Reports: text files that a command writes besides what it prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_report(path: Path | None, source: str) -> Iterator[Callable[[str], None]]:
    """Give a function that writes text to a report, in UTF-8; without a path it does nothing.

    A path that cannot be written is found out before the work begins. The report appears, and
    replaces one of an earlier run, when the block ends well. `source` is the command's input.

    Raises:
        UsageError: the path is the input, a folder or a device.
        OutputError: the folder is missing, or the report cannot be written.

    """
    if path is None:
        yield lambda _text: None
        return
    from nvc_runtime.files import check_stream_output, create_stream
    from nvc_runtime.video.target import output_errors

    check_stream_output(source, str(path), overwrite=True)
    with create_stream(str(path), overwrite=True) as file:

        def write(text: str) -> None:
            with output_errors(path):
                file.write(text.encode())
                file.flush()

        yield write
