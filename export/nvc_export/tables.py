"""Integer frequency tables of a codec, computed once, at export."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nvc_calib import ScaleLevels
from nvc_models.graph import CodecGraphs
from nvc_models.latent import FactorizedPrior
from nvc_models.symbol_shape import MAGNITUDES, SymbolShape
from nvc_runtime.entropy import FrequencyTable, TableSet, laplace_tables, table_from_probabilities

HYPER_RADIUS = 255
"""Hyperlatents beyond this are coded by the escape."""
TAIL_MASS = 2.0**-16
"""Mass that a table may leave to its escape."""
MIN_ESCAPE = 2.0**-18


def factorized_tables(prior: FactorizedPrior) -> TableSet:
    """One table per channel of a hyperlatent: the masses of the unit intervals round integers.

    Computed in double precision on a copy; the prior stays as it is.
    """
    symbols = torch.arange(-HYPER_RADIUS, HYPER_RADIUS + 1, dtype=torch.float64)
    exact = copy.deepcopy(prior).cpu().double()
    with torch.no_grad():
        masses = exact.probability(symbols.expand(prior.channels, 1, -1))[:, 0].numpy()
    return TableSet([_table_from_masses(row) for row in masses])


def _table_from_masses(masses: NDArray[np.float64]) -> FrequencyTable:
    """Keep the shortest run of symbols that leaves at most TAIL_MASS to the escape."""
    total = float(masses.sum())
    low, high = 0, masses.size
    outside = max(0.0, 1.0 - total)
    while high - low > 1:
        smaller = low if masses[low] <= masses[high - 1] else high - 1
        if outside + masses[smaller] > TAIL_MASS:
            break
        outside += float(masses[smaller])
        low, high = (low + 1, high) if smaller == low else (low, high - 1)
    return table_from_probabilities(masses[low:high], low - HYPER_RADIUS, max(outside, MIN_ESCAPE))


def tables_from_codec(codec: CodecGraphs, levels: ScaleLevels) -> dict[str, TableSet]:
    """Every table set of a codec by name."""
    tables = {name: factorized_tables(prior) for name, prior in codec.factorized.items()}
    for name, shape in codec.shapes.items():
        tables[name] = scale_tables(levels, shape)
    return tables


def scale_tables(levels: ScaleLevels, shape: SymbolShape | None) -> TableSet:
    """One table per scale level: Laplace, or Laplace with the factors of ``shape``.

    Corrected tables name the same symbols.
    """
    laplace = laplace_tables(list(levels.representatives()))
    if shape is None:
        return laplace
    log_factors = copy.deepcopy(shape).cpu().double().log_factors().detach().numpy()
    tables = []
    for table, sigma, factors in zip(
        laplace, levels.representatives(), np.exp(log_factors), strict=True
    ):
        masses = laplace_masses_of(float(sigma), -table.offset)
        magnitude = np.abs(np.arange(len(masses)) + table.offset)
        corrected = masses * factors[np.minimum(magnitude, MAGNITUDES - 1)]
        outside = max(1.0 - float(corrected.sum()), MIN_ESCAPE)
        tables.append(table_from_probabilities(corrected, table.offset, outside))
    return TableSet(tables)


def laplace_masses_of(sigma: float, radius: int) -> NDArray[np.float64]:
    """Probability of each symbol from ``-radius`` to ``radius`` by a Laplace distribution."""
    edges = np.maximum(np.arange(radius + 2) - 0.5, 0.0)
    beyond = np.exp(-math.sqrt(2.0) * edges / sigma)
    one_sided = beyond[:-1] - beyond[1:]
    return np.concatenate((one_sided[:0:-1] / 2, one_sided[:1], one_sided[1:] / 2))


def arrays_from_tables(
    tables: Mapping[str, TableSet], vectors: Mapping[str, torch.Tensor]
) -> dict[str, NDArray[np.generic]]:
    """Return the content of ``tables.safetensors``: table sets, and vectors (Q, C) float32."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, table_set in tables.items():
        frequencies, sizes, offsets = table_set.to_arrays()
        arrays[f"{name}.frequencies"] = frequencies
        arrays[f"{name}.sizes"] = sizes
        arrays[f"{name}.offsets"] = offsets
    for name, vector in vectors.items():
        arrays[f"quality.{name}"] = vector.detach().cpu().float().numpy()
    return arrays
