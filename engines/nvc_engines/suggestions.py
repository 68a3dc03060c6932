"""Say which known name a mistyped one probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def known_names_hint(word: str, known: Iterable[str]) -> str:
    """Return ``"known: a, b, c; did you mean b?"`` for the unknown name ``word``.

    The question is left out when nothing in ``known`` is near; order is that of ``known``.
    """
    names = list(known)
    by_folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.5)
    hint = f"known: {', '.join(names) or 'none'}"
    return f"{hint}; did you mean {by_folded[near[0]]!r}?" if near else hint
