"""The folder that holds what legs need, and the programs that fill it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nvc_errors import EngineUnavailableError

DEFAULT_CACHE = "~/.cache/nvc/platforms"
SET_UP_LIMIT_S = 900.0


class Cache:
    """Folders by name, each filled once. A folder appears under its name only when complete.

    ``offline`` forbids filling: legs whose folder is missing are unavailable then.
    """

    def __init__(self, root: Path, *, offline: bool = False) -> None:
        self.root = root
        self.offline = offline

    def folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        """Return the folder ``name``; if it is missing, let ``fill`` fill a new one first.

        Raises ``EngineUnavailableError`` if it is missing and cannot be filled.
        """
        folder = self.root / name
        if folder.is_dir():
            return folder
        if self.offline:
            raise EngineUnavailableError(f"{folder} is missing, and nothing may be set up")
        self.root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".partial", dir=self.root))
        try:
            fill(partial)
            if not folder.is_dir():
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder


def require_tools(*names: str) -> None:
    """Raise ``EngineUnavailableError`` unless every program is on the PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise EngineUnavailableError(f"needs {', '.join(missing)} on the PATH")


def run_tool(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    ``env`` is added to the environment. Raises ``EngineUnavailableError`` with the program's last
    words if it fails.
    """
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            [os.fspath(argument) for argument in arguments],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SET_UP_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailableError(f"{name} cannot be run: {error}") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise EngineUnavailableError(
            f"{name} failed with exit code {done.returncode}: {' '.join(words[-3:])[:400]}"
        )
    return done.stdout


def install_wheels(target: Path, packages: Sequence[str], *options: str) -> None:
    """Install wheels from the configured package index into ``target``, without dependencies."""
    run_tool(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--target", target),
            *options,
            *packages,
        ]
    )
