"""Lines of the log: what clients sent as one line that looks like what it is, not ten thousand a second, and written.

For both towers, and below everything else: exceptions name what clients sent, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable


def escape(text: str) -> str:
    """A value for a log line: it ends neither the line nor the quotes around it, and passes for no escape.

    What ``repr`` would escape is escaped: control characters, and with them the sequences that steer terminals; what
    separates lines (U+2028); what turns the direction of a text (UAX #9: marks, embeddings, overrides, isolates), so
    that it reads as something else; and what cannot be seen.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char not in '"\\' else _escaped(char) for char in text)


def escape_line(text: str) -> str:
    """A whole line, whose values may be escaped already: quotes and backslashes stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def address(peer: tuple[str, int | None] | None) -> str:
    """``host:port``, ``[host]:port`` for IPv6, the path of a UNIX socket; ``-`` where there is none."""
    if not peer:
        return "-"
    host, port = peer
    if port is None:
        return escape(host)  # which the client chose, if it has one at all
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Spate:
    """Lines of one kind, of which others can cause as many as they like: some are written, the rest is counted.

    Args:
        log: writes a line, such as ``logger.warning``.
        rest: says how many more there were, ``"%d more handshakes failed"``.
        clock: seconds, such as ``loop.time``.
        most_count: lines in each second.
    """

    def __init__(self, log: Callable[..., None], rest: str, clock: Callable[[], float], most_count: int = 1) -> None:
        self._log = log
        self._rest = rest
        self._most_count = most_count
        self._clock = clock
        self._end_s = 0.0
        self._count = 0

    def tell(self, message: str, *args: object, **more: object) -> None:
        """Write a line, or count it."""
        self.sum_up()
        if not self._count:
            self._end_s = self._clock() + 1.0
        self._count += 1
        if self._count <= self._most_count:
            self._log(message, *args, **more)

    def sum_up(self) -> None:
        """Tell of those that were only counted, once their second is over. To be called now and then."""
        if self._count and self._clock() >= self._end_s:
            rest_count, self._count = self._count - self._most_count, 0
            if rest_count > 0:
                self._log(self._rest, rest_count)


def enable_loggers() -> None:
    """Enable the loggers ``fullduplex.*`` that a configuration has disabled without naming them.

    Unless it says ``"disable_existing_loggers": False``, ``logging.config.dictConfig`` disables every logger that
    exists and that it does not name; so does Django's LOGGING, and ``fileConfig``. Who wants less of a logger names it.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and f"{name}.".startswith("fullduplex."):
            logger.disabled = False
