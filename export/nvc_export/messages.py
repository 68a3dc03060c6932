"""What PyTorch's exporter says to nobody in particular, kept off standard error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

CHATTY_LOGGERS = ("torch.onnx", "onnxscript")
"""Report their progress and passes as warnings."""

_IR_LOGGER = "onnx_ir._convenience"
_EMPTY_ATTRIBUTE = "Attribute type is ambiguous because it is an empty sequence"


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a message says more than that an empty list was taken for integers.

    torch's lowering of some operators writes such a list; taking it for integers is right.
    """
    return not record.getMessage().startswith(_EMPTY_ATTRIBUTE)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence warnings of the exporter's own making; loggers are as before afterwards."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in CHATTY_LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        ir_logger = logging.getLogger(_IR_LOGGER)
        ir_logger.addFilter(_is_news)
        stack.callback(ir_logger.removeFilter, _is_news)
        yield
