"""The entropy coder: integer frequency tables and one range coder per frame."""

from nvc_runtime.entropy.adaptation import CodedGroups, StreamTables
from nvc_runtime.entropy.coder import FrameDecoder, FrameEncoder
from nvc_runtime.entropy.priors import gaussian_tables, laplace_tables, table_from_probabilities
from nvc_runtime.entropy.tables import SYMBOL_LIMIT, FrequencyTable, Tables, TableSet

__all__ = [
    "SYMBOL_LIMIT",
    "CodedGroups",
    "FrameDecoder",
    "FrameEncoder",
    "FrequencyTable",
    "StreamTables",
    "TableSet",
    "Tables",
    "gaussian_tables",
    "laplace_tables",
    "table_from_probabilities",
]
