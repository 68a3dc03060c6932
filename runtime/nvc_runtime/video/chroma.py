"""Chroma resampling in integers: up to full resolution, and back down.

Upsampling is Catmull-Rom interpolation at the position where the samples lie (*siting*).
Downsampling is its inverse for left siting, not a general low-pass: chroma that came from
subsampled chroma is returned as it was. Subsampled output is made only of videos whose source
was subsampled as well, so there is nothing above the lower band to alias.

Siting by axis: *co-sited* samples lie on the even luma positions, *centred* samples half way
between an even luma position and the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE_LOG2 = 7
"""Upsampled chroma is in units of 2**-7 code values."""


@dataclass(frozen=True)
class Siting:
    """Where chroma samples lie relative to luma; an axis without subsampling ignores its field."""

    centred_x: bool
    centred_y: bool


SITING_LEFT = Siting(centred_x=False, centred_y=True)
"""H.264 and HEVC default, ``C420mpeg2``; every output of this package."""
SITING_CENTER = Siting(centred_x=True, centred_y=True)
"""JPEG, MPEG-1, ``C420jpeg``."""
SITING_TOP_LEFT = Siting(centred_x=False, centred_y=False)
"""``C420paldv``."""


def pad_chroma(plane: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the plane around zero with its edge repeated twice on every side.

    Args:
        plane: uint8 (h, w).

    Returns:
        int16 (h + 4, w + 4), -128..127.

    """
    height, width = plane.shape
    padded = np.empty((height + 4, width + 4), np.int16)
    centre = padded[2:-2, 2:-2]
    np.subtract(plane, np.int16(128), out=centre, dtype=np.int16)
    padded[2:-2, :2] = centre[:, :1]
    padded[2:-2, -2:] = centre[:, -1:]
    padded[:2] = padded[2]
    padded[-2:] = padded[-3]
    return padded


def upsample_rows(
    padded: NDArray[np.int16], first: int, count: int, centred: bool
) -> NDArray[np.int16]:
    """Double the rows of a padded plane.

    Args:
        padded: int16 (h + 4, w + 4), -128..127, from ``pad_chroma``.
        first: first luma row wanted, even.
        count: luma rows wanted.
        centred: vertical siting.

    Returns:
        int16 (count, w + 4), in eighths of a code value, within +-1280.

    """
    start = first // 2
    pairs = (count + 1) // 2
    # Chroma row j of the plane is row j + 2 here; these views hold rows j - 2 .. j + 2.
    above2, above, here, below, below2 = (padded[start + k : start + k + pairs] for k in range(5))
    rows = np.empty((pairs, 2, padded.shape[1]), np.int16)
    if centred:
        _quarter(here, above, below, above2, rows[:, 0])
        _quarter(here, below, above, below2, rows[:, 1])
    else:
        np.multiply(here, 8, out=rows[:, 0])
        odd = rows[:, 1]
        np.add(here, below, out=odd)
        odd *= 9
        odd -= above
        odd -= below2
        odd += 1
        odd >>= 1
    return rows.reshape(pairs * 2, -1)[:count]


def upsample_columns(
    rows: NDArray[np.int16], width: int, scale: int, centred: bool
) -> NDArray[np.int16]:
    """Double the columns of padded rows.

    Args:
        rows: int16 (n, w + 4), in units of 1 / ``scale`` code value, within +-1280 / 8 * ``scale``.
        width: luma columns wanted.
        scale: 1 or 8.
        centred: horizontal siting.

    Returns:
        int16 (n, width), in units of 2**-7 code values.

    """
    gain = (1 << SCALE_LOG2) // scale
    above2, above, here, below, below2 = (rows[:, k : k + rows.shape[1] - 4] for k in range(5))
    full = np.empty((rows.shape[0], here.shape[1], 2), np.int16)
    if centred:
        for index, near, far, farther in ((0, above, below, above2), (1, below, above, below2)):
            # (-9, 111, 29, -3) / 128 needs 32 bits at this scale.
            total = here.astype(np.int32)
            total *= 111
            total += np.multiply(near, 29, dtype=np.int32)
            total -= np.multiply(far, 9, dtype=np.int32)
            total -= np.multiply(farther, 3, dtype=np.int32)
            total += scale // 2
            total >>= scale.bit_length() - 1
            full[:, :, index] = total
    else:
        np.multiply(here, gain, out=full[:, :, 0])
        odd = here + below
        odd *= 9
        odd -= above
        odd -= below2
        np.multiply(odd, gain // 16, out=full[:, :, 1])
    return full.reshape(rows.shape[0], -1)[:, :width]


def downsample_rows(planes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Halve the rows to centred siting, with the taps (-1, 9, 9, -1) / 16.

    Args:
        planes: int32 (3, n, w), 0..255, n even, from one row above the wanted ones to one below:
            output row j is made of rows 2j .. 2j + 3.

    Returns:
        int32 (3, n / 2 - 1, w), in sixteenths, -510..4590.

    """
    total = planes[:, 1:-2:2] + planes[:, 2:-1:2]
    total *= 9
    total -= planes[:, :-3:2]
    total -= planes[:, 3::2]
    return total


def _quarter(
    here: NDArray[np.int16],
    near: NDArray[np.int16],
    far: NDArray[np.int16],
    farther: NDArray[np.int16],
    out: NDArray[np.int16],
) -> None:
    """Interpolate a quarter of the way from ``here`` to ``near``, in eighths of a code value.

    ``farther`` is the sample beyond ``near``. The taps (28, 7, -2, -1) / 32 are Catmull-Rom's
    rounded to 32nds, so that everything fits 16 bits.
    """
    np.multiply(here, 28, out=out)
    out += near * np.int16(7)
    out -= far * np.int16(2)
    out -= farther
    out += 2
    out >>= 2
