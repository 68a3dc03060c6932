"""The entropy coder: integer frequency tables and one range coder per frame."""

from nvc_runtime.entropy.coder import FrameDecoder, FrameEncoder
from nvc_runtime.entropy.digest import level_check
from nvc_runtime.entropy.priors import gaussian_tables, laplace_tables, table_from_probabilities
from nvc_runtime.entropy.tables import SYMBOL_LIMIT, FrequencyTable, TableSet

__all__ = [
    "SYMBOL_LIMIT",
    "FrameDecoder",
    "FrameEncoder",
    "FrequencyTable",
    "TableSet",
    "gaussian_tables",
    "laplace_tables",
    "level_check",
    "table_from_probabilities",
]
