"""Put finished folders in the place of others, so that either all of them are there or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nvc_errors import OutputError


def put_in_place(moves: Sequence[tuple[Path, Path]], folder: Path) -> None:
    """Rename each first path of ``moves`` to the second, and delete what was there at the end.

    What is replaced waits in a temporary folder inside ``folder``, on the same disk. Raises
    ``OutputError`` if one cannot be renamed: all that was there is back then, or the message says
    where it is.
    """
    place, begun = folder, list[tuple[Path, Path, Path | None]]()
    aside: Path | None = None
    try:
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=".nvc-"))
        for new, place in moves:
            old = aside / f"{place.name}.old" if os.path.lexists(place) else None
            begun.append((new, place, old))
            if old is not None:
                place.rename(old)
            new.rename(place)
    except BaseException as error:
        for begun_move in reversed(begun):
            _put_back(*begun_move)
        left = ""
        if aside is not None and any(aside.iterdir()):
            left = f"; what was there before is in {aside}"
        elif aside is not None:
            aside.rmdir()
        if isinstance(error, OSError):
            raise OutputError(
                f"{place}: cannot be written: {error.strerror or error}{left}"
            ) from error
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(new: Path, place: Path, old: Path | None) -> None:
    """Undo one move as far as it went; another error must not hide the one that led here."""
    with suppress(OSError):
        if place.exists() and not new.exists():
            shutil.rmtree(place, ignore_errors=True)
        if old is not None and os.path.lexists(old):
            old.rename(place)
