"""Frequency tables from probabilities. Runs at export only; see ``tables`` for why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.entropy.tables import (
    MAX_ENTRIES,
    MAX_TOTAL_LOG2,
    MIN_TOTAL_LOG2,
    FrequencyTable,
    TableSet,
)

TOTAL_LOG2 = 16
"""Tables made here sum to ``2**TOTAL_LOG2`` unless told otherwise."""

TAIL_MASS = 2.0**-14
"""Probability a zero-mean table may leave to its escape."""

_MAX_SIGMA = 4096.0


def table_from_probabilities(
    probabilities: NDArray[np.float64],
    offset: int,
    escape_mass: float,
    *,
    total_log2: int = TOTAL_LOG2,
) -> FrequencyTable:
    """Make the table that costs the fewest bits for symbols of the given distribution.

    The frequencies minimise ``-sum(p * log2(frequency))`` over all integers of at least 1 with
    the required sum. The cost is convex and separable, so no exchange of one unit between two
    entries helping means that nothing helps. Ties go to the lowest entry: the result is
    deterministic.

    Args:
        probabilities: float64 (n,), not negative, n >= 1, of the symbols from `offset` on. They
            and `escape_mass` need not sum to one; they are normalised together.
        offset: symbol of the first probability.
        escape_mass: probability of all other symbols, not negative.
        total_log2: the frequencies sum to ``2**total_log2``, at least n + 1.

    Raises:
        ValueError: an argument is outside its range.
        BundleError: the symbols do not fit a table.

    """
    weights = np.append(np.asarray(probabilities, dtype=np.float64), escape_mass)
    if weights.ndim != 1 or weights.size < 2 or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError("probabilities and escape mass must be finite and not negative")
    if not MIN_TOTAL_LOG2 <= total_log2 <= MAX_TOTAL_LOG2:
        raise ValueError(f"total_log2 is {total_log2}, expected {MIN_TOTAL_LOG2}..{MAX_TOTAL_LOG2}")
    total = 1 << total_log2
    mass = math.fsum(weights)
    if mass <= 0 or weights.size > min(total, MAX_ENTRIES):
        raise ValueError(f"cannot share {total} among {weights.size} entries of mass {mass}")
    weights /= mass
    counts = np.maximum(1, np.floor(weights * total)).astype(np.int64)
    _spend(weights, counts, total - int(counts.sum()))
    _exchange(weights, counts)
    return FrequencyTable(counts.astype(np.uint32), offset)


def laplace_tables(sigmas: Sequence[float], *, tail_mass: float = TAIL_MASS) -> TableSet:
    """Tables of the zero-mean Laplace distribution, one per standard deviation.

    Symbol s has the probability of the interval from s - 0.5 to s + 0.5. Each table names the
    symbols up to the least magnitude, at least 1, beyond which less than `tail_mass` remains:
    tables of small sigmas are short, and short tables decode fast.

    Args:
        sigmas: standard deviations, each above 0 and at most 4096.
        tail_mass: see above, 2**-30..0.5.

    Raises:
        ValueError: an argument is outside its range.

    """
    return _zero_mean_tables(sigmas, tail_mass, lambda x: math.exp(-math.sqrt(2.0) * x))


def gaussian_tables(sigmas: Sequence[float], *, tail_mass: float = TAIL_MASS) -> TableSet:
    """Tables of the zero-mean Gaussian distribution; otherwise as `laplace_tables`."""
    return _zero_mean_tables(sigmas, tail_mass, lambda x: math.erfc(x / math.sqrt(2.0)))


def _zero_mean_tables(
    sigmas: Sequence[float], tail_mass: float, outside: Callable[[float], float]
) -> TableSet:
    """`outside(x)`: probability that the magnitude exceeds x standard deviations."""
    if not 2.0**-30 <= tail_mass <= 0.5:
        raise ValueError(f"tail_mass is {tail_mass}, expected 2**-30..0.5")
    tables = []
    for sigma in sigmas:
        if not 0 < sigma <= _MAX_SIGMA:
            raise ValueError(f"sigma is {sigma}, expected above 0 and at most {_MAX_SIGMA}")
        tails = [outside(0.5 / sigma)]
        while len(tails) < 2 or tails[-1] >= tail_mass:
            tails.append(outside((len(tails) + 0.5) / sigma))
        one_side = -np.diff(np.array(tails)) / 2
        probabilities = np.concatenate((one_side[::-1], [1 - tails[0]], one_side))
        tables.append(table_from_probabilities(probabilities, 1 - len(tails), tails[-1]))
    return TableSet(tables)


def _gains(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Nats saved by one more unit in each entry."""
    return weights * np.log1p(1.0 / counts)


def _losses(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Nats lost by one unit less in each entry; infinite where only one is left."""
    losses = np.full(counts.shape, np.inf)
    many = counts > 1
    losses[many] = -weights[many] * np.log1p(-1.0 / counts[many])
    return losses


def _spend(weights: NDArray[np.float64], counts: NDArray[np.int64], units: int) -> None:
    """Hand out `units` one by one where they gain most, or take them where they lose least."""
    for _ in range(units):
        counts[np.argmax(_gains(weights, counts))] += 1
    for _ in range(-units):
        counts[np.argmin(_losses(weights, counts))] -= 1


def _exchange(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Move single units as long as a move gains clearly more than a rounding error."""
    for _ in range(4 * counts.size):
        gains, losses = _gains(weights, counts), _losses(weights, counts)
        buyer, seller = int(np.argmax(gains)), int(np.argmin(losses))
        if gains[buyer] <= losses[seller] * (1 + 1e-9):
            return
        counts[buyer] += 1
        counts[seller] -= 1
