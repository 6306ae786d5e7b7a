"""What Django logs and nobody writes: in production its default LOGGING discards all but mail to the ADMINS.

An exception then leaves a bare 500, and a refused handshake not even that: a browser tells its page no reason. So
errors, and all lines about handshakes, go where our own lines go, unless a handler of the project writes them.
"""

from __future__ import annotations

import copy
import logging

from django.utils.log import AdminEmailHandler

_OURS = "fullduplex"


class Unwritten(logging.Handler):
    """Hands a record of ``django.*`` to our logger, if no other handler on its way writes it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        ours = logging.getLogger(_OURS)
        if not ours.isEnabledFor(record.levelno) or not _matters(record) or self._is_written(record):
            return
        if record.name.startswith("django.security."):  # its line says all; anybody can cause these
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        self._write(ours, record)

    def _write(self, ours: logging.Logger, record: logging.LogRecord) -> None:
        """As ``Logger.callHandlers`` does; who has patched that, as error trackers do, has seen the record already."""
        handlers = [*ours.handlers, *(ours.parent.handlers if ours.propagate and ours.parent is not None else ())]
        for handler in handlers or [logging.lastResort]:
            if handler is not None and record.levelno >= handler.level:
                handler.handle(record)

    def _is_written(self, record: logging.LogRecord) -> bool:
        """As ``Logger.callHandlers`` goes; mail is no log."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            for handler in logger.handlers:
                if (
                    handler is not self
                    and not isinstance(handler, (AdminEmailHandler, logging.NullHandler))
                    and record.levelno >= handler.level
                    and handler.filter(record)
                ):
                    return True
            logger = logger.parent if logger.propagate else None
        return False


def _matters(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.ERROR:
        return True
    request = getattr(record, "request", None)
    scope = getattr(request, "scope", None) or {}
    # With the key alone it is a handshake, too, of which a proxy has dropped the rest.
    return scope.get("type") == "websocket" or "HTTP_SEC_WEBSOCKET_KEY" in getattr(request, "META", ())


def write_the_unwritten() -> None:
    """Add the handler to the logger ``django``, once; ``django.setup()`` takes it away each time."""
    logger = logging.getLogger("django")
    if not any(isinstance(handler, Unwritten) for handler in logger.handlers):
        logger.addHandler(Unwritten())
