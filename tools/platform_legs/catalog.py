"""Every leg there is, cheapest kind first."""

from __future__ import annotations

from collections.abc import Sequence

from nvc_errors import UsageError
from platform_legs.capped import capped_legs
from platform_legs.emulated import emulated_legs
from platform_legs.leg import REFERENCE, Leg
from platform_legs.local import local_legs
from platform_legs.masked import masked_legs
from platform_legs.wasm import wasm_legs


def all_legs() -> list[Leg]:
    """Return every leg; whether it works here is known once it is opened."""
    return [*local_legs(), *capped_legs(), *masked_legs(), *wasm_legs(), *emulated_legs()]


def choose_legs(legs: Sequence[Leg], names: Sequence[str]) -> list[Leg]:
    """Return the legs called ``names``, the reference first even if it is not named.

    Raises ``UsageError`` for a name that does not exist.
    """
    known = {leg.name: leg for leg in legs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no leg {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys([REFERENCE, *names])]
