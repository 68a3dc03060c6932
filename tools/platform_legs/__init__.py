"""The legs of the platform matrix: genuinely different float platforms on one machine."""

from platform_legs.cache import Cache
from platform_legs.catalog import all_legs, choose_legs
from platform_legs.leg import REFERENCE, Leg

__all__ = ["REFERENCE", "Cache", "Leg", "all_legs", "choose_legs"]
