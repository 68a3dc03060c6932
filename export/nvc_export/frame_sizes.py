"""Frame sizes a plan is compiled for, and the shapes that follow for a graph's inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nvc_engines.plans import ShapeRange
from nvc_errors import UsageError
from nvc_runtime.bundle import Manifest

DEFAULT_OPTIMAL: Final = (1280, 768)
DEFAULT_LARGEST: Final = (1920, 1088)
MAX_SIDE: Final = 16384


@dataclass(frozen=True)
class FrameSize:
    """Width and height of a padded frame, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    def aligned(self, alignment: int) -> FrameSize:
        """Return the smallest multiple of ``alignment`` that holds this size."""
        return FrameSize(_up(self.width, alignment), _up(self.height, alignment))


@dataclass(frozen=True)
class FrameSizes:
    """The sizes of an optimisation profile: any size between the first and the last will run."""

    smallest: FrameSize
    optimal: FrameSize
    largest: FrameSize

    def __post_init__(self) -> None:
        pairs = ((self.smallest, self.optimal), (self.optimal, self.largest))
        if any(a.width > b.width or a.height > b.height for a, b in pairs):
            raise UsageError(
                f"sizes {self.smallest}, {self.optimal} and {self.largest} are not in order: "
                "neither side may shrink from --min-size to --opt-size to --max-size"
            )

    @property
    def is_fixed(self) -> bool:
        """Whether only one size fits."""
        return self.smallest == self.largest

    @property
    def texts(self) -> tuple[str, str, str]:
        """The sizes as plan records keep them."""
        return str(self.smallest), str(self.optimal), str(self.largest)


def frame_size_from_text(text: str) -> FrameSize:
    """Return the size written as ``1280x768``. Raises ``UsageError`` for another form."""
    match = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text.strip())
    size = FrameSize(int(match[1]), int(match[2])) if match else FrameSize(0, 0)
    if not (0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE):
        raise UsageError(
            f"size {text!r} is not of the form WIDTHxHEIGHT, such as 1280x768, with sides from 1 "
            f"to {MAX_SIDE}"
        )
    return size


def _padded_size(text: str, alignment: int) -> FrameSize:
    """Return a size; ``UsageError`` naming the one to use if it is no multiple of ``alignment``."""
    size = frame_size_from_text(text)
    fitting = size.aligned(alignment)
    if size != fitting:
        raise UsageError(
            f"size {size} is no multiple of {alignment}, which this bundle's frames are padded "
            f"to; use {fitting}"
        )
    return size


def frame_sizes_from_options(
    alignment: int,
    *,
    size: str | None = None,
    smallest: str | None = None,
    optimal: str | None = None,
    largest: str | None = None,
) -> FrameSizes:
    """Return the sizes that the options ask for.

    ``size`` is short for the optimal and the largest size. Left out, the smallest is one block of
    ``alignment``, the largest 1920x1088, and the optimal 1280x768 as far as these allow: shapes
    stay dynamic, for a plan of one fixed size can be ten times larger.
    """
    if size is not None and (optimal is not None or largest is not None):
        raise UsageError("--size says the same as --opt-size and --max-size; give one or the other")
    low = FrameSize(alignment, alignment) if smallest is None else _padded_size(smallest, alignment)
    if size is not None:
        only = _padded_size(size, alignment)
        return FrameSizes(low, only, only)
    wanted = None if optimal is None else _padded_size(optimal, alignment)
    if largest is not None:
        high = _padded_size(largest, alignment)
    else:
        high = _at_least(FrameSize(*DEFAULT_LARGEST).aligned(alignment), wanted or low)
    if wanted is None:
        usual = FrameSize(*DEFAULT_OPTIMAL).aligned(alignment)
        wanted = _at_least(
            FrameSize(min(usual.width, high.width), min(usual.height, high.height)), low
        )
    return FrameSizes(low, wanted, high)


def input_shapes(manifest: Manifest, graph: str, sizes: FrameSizes) -> dict[str, ShapeRange]:
    """Return smallest, optimal and largest shape of every input of ``graph``."""
    shapes: dict[str, ShapeRange] = {}
    for name in manifest.graphs[graph].inputs:
        tensor = manifest.tensors[name]
        low, usual, high = (
            tensor.shape(size.height, size.width)
            for size in (sizes.smallest, sizes.optimal, sizes.largest)
        )
        shapes[name] = low, usual, high
    return shapes


def _at_least(size: FrameSize, floor: FrameSize) -> FrameSize:
    return FrameSize(max(size.width, floor.width), max(size.height, floor.height))


def _up(side: int, alignment: int) -> int:
    return -(-side // alignment) * alignment
