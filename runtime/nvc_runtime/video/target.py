"""Where outputs go: a file or folder under a temporary name until it is whole, or stdout."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nvc_errors import OutputError, UsageError


class FileTarget:
    """A file that appears under its name only when it is whole."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        """Create the temporary file, ``.NAME.RANDOM.part``, beside ``path``.

        Raises:
            UsageError: ``path`` exists and may not be overwritten.
            OutputError: the folder is missing or cannot be written.

        """
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists; use -y to overwrite it")
        self.path = path
        self._temporary = temporary_beside(path)
        with output_errors(path):
            self.file: BinaryIO = self._temporary.open("xb")

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        with output_errors(self.path):
            self.file.write(data)

    def commit(self) -> None:
        """Close the file and give it its name."""
        with output_errors(self.path):
            self.file.close()
            self._temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the temporary file."""
        try:
            self.file.close()
        except OSError:
            pass  # A full disk fails again when the last bytes are flushed.
        finally:
            self._temporary.unlink(missing_ok=True)


class FolderTarget:
    """A folder whose files appear only when all of them are whole."""

    def __init__(self, path: Path, pattern: str, *, overwrite: bool) -> None:
        """Create the temporary folder: beside ``path``, or in it if it exists.

        A folder that exists may be a mount point, into which nothing beside it can be renamed.

        Args:
            path: the folder wanted.
            pattern: glob of the files that make up the output. Overwriting removes those of an
                earlier run and leaves everything else in the folder alone.
            overwrite: whether ``path`` may exist and hold something.

        Raises:
            UsageError: ``path`` is no folder, or not empty and may not be overwritten.
            OutputError: the folder cannot be written.

        """
        self.path = path
        self._pattern = pattern
        with output_errors(path):
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path}: is no folder; choose another name")
            if path.exists() and not overwrite and any(path.iterdir()):
                raise UsageError(f"{path}: holds files; use -y to overwrite its frames")
            self.folder = temporary_beside(path / "frames" if path.exists() else path)
            self.folder.mkdir()

    def commit(self) -> None:
        """Move the files to their folder; only then remove those of an earlier run."""
        with output_errors(self.path):
            if not self.path.exists():
                self.folder.rename(self.path)
                return
            written = sorted(file.name for file in self.folder.iterdir())
            for name in written:
                (self.folder / name).replace(self.path / name)
            for stale in {file.name for file in self.path.glob(self._pattern)}.difference(written):
                (self.path / stale).unlink()
            self.folder.rmdir()

    def discard(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class StandardOutput:
    """Standard output as a binary stream, with clean errors when its reader goes away.

    It writes to a duplicate of the descriptor, so that after a broken pipe nothing is left in
    ``sys.stdout`` for the interpreter to stumble over at exit.
    """

    def __init__(self) -> None:
        """Prepare to write.

        Raises:
            OutputError: standard output is closed.
            UsageError: standard output is a terminal.

        """
        with output_errors("standard output"):
            sys.stdout.flush()
            try:
                descriptor = sys.stdout.fileno()
            except (OSError, ValueError):
                # Captured within this process: no descriptor, but a buffer.
                self._stream: BinaryIO = sys.stdout.buffer
                self._owned = False
                return
            if os.isatty(descriptor):
                raise UsageError("standard output is a terminal; send it to a file or pipe")
            self._stream = os.fdopen(os.dup(descriptor), "wb", buffering=0)
            self._owned = True

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        with output_errors("standard output"):
            view = memoryview(data).cast("B")
            while view:
                view = view[self._stream.write(view) :]

    def close(self) -> None:
        """Release the stream; what was written is out already."""
        if self._owned:
            self._stream.close()

    commit = discard = close


def temporary_beside(path: Path) -> Path:
    """Return a fresh hidden name in the folder of ``path``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def output_errors(where: Path | str) -> Iterator[None]:
    """Turn an operating system's error into an ``OutputError`` that names the output."""
    try:
        yield
    except OutputError:
        raise
    except BrokenPipeError:
        raise OutputError(f"{where}: its reader has closed the pipe") from None
    except OSError as error:
        raise OutputError(f"{where}: cannot be written: {error.strerror or error}") from None
