"""Keep the libraries' own warnings and progress bars out of our log while they load files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

log = logging.getLogger(__name__)


class _ToDebug(logging.Handler):
    """Hands what transformers says to our own logger, as debugging detail."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("transformers: %s", record.getMessage())


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within it, what transformers logs goes to our logger at debug, and no progress bar shows."""
    logger = logging.getLogger("transformers")
    handlers, onward = logger.handlers, logger.propagate
    bar = transformers_logging.is_progress_bar_enabled()
    logger.handlers, logger.propagate = [_ToDebug()], False
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, onward
        if bar:
            transformers_logging.enable_progress_bar()
