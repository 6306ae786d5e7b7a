"""Where the server's lines go, and how they look."""

from __future__ import annotations

import json
import logging
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.access_log import AccessLog, LoggerAccessLog, StructuredAccessLog
from fullduplex.log_lines import escape_line
from fullduplex.server.config import ServerConfig

_encode = json.JSONEncoder(default=str).encode  # json.dumps would make an encoder for every line


def configure_logging(config: ServerConfig) -> None:
    """Send the loggers ``fullduplex.*`` to standard error, unless they have handlers already or a file says where.

    Raises:
        ConfigurationError: the file of ``--log-config`` cannot be read or makes no sense.
    """
    logger = logging.getLogger("fullduplex")
    logger.setLevel(config.log_level.upper())
    if config.log_config is not None:
        _configure_from(config.log_config)
        return
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if config.log_format == "json" else TextFormatter())
    logger.addHandler(handler)
    logger.propagate = False  # an application that configures the root logger must not repeat our lines


def tell_failed_start(message: str, *args: object) -> None:
    """Log why a server does not start; standard error has it in any case, whatever the project says of logging."""
    logger = logging.getLogger("fullduplex.server")
    logger.error(message, *args)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message, args, None)
    if not _is_on_stderr(logger, record):
        print(f"error: {escape_line(record.getMessage())}", file=sys.stderr)


def _is_on_stderr(logger: logging.Logger | None, record: logging.LogRecord) -> bool:
    """Whether a record of ``logger`` is written there; as ``Logger.handle`` and ``callHandlers`` go."""
    if logger is None or logger.disabled or not (logger.isEnabledFor(record.levelno) and logger.filter(record)):
        return False
    if not logger.hasHandlers():
        return logging.lastResort is not None
    while logger is not None:
        for handler in logger.handlers:
            is_there = getattr(handler, "stream", None) is sys.stderr
            if is_there and record.levelno >= handler.level and handler.filter(record):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def make_access_log(config: ServerConfig) -> AccessLog | None:
    """The access log that the configuration asks for."""
    if not config.access_log:
        return None
    return StructuredAccessLog() if config.log_format == "json" else LoggerAccessLog()


# What every record has, and what our own lines carry.
_STANDARD = frozenset(
    {*vars(logging.makeLogRecord({})), "asctime", "message", "taskName", "fields", "server_time", "status_code"}
)
_STANDARD_COUNT = len(vars(logging.makeLogRecord({}))) + 2  # with message and asctime


def added(record: logging.LogRecord) -> dict[str, str | int | float | bool]:
    """What filters and record factories have added to a record: names of requests and traces, most often."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and isinstance(value, str | int | float | bool)
    }


class TextFormatter(logging.Formatter):
    """One line per record, and a traceback below it, indented: its errors may name what a client sent.

    What filters and record factories have added stands at the end, as ``name=value``. What is not printable is escaped.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:
        if len(vars(record)) > _STANDARD_COUNT:
            record.message += "".join([f" {name}={value}" for name, value in added(record).items()])
        record.message = escape_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        line, *below = super().format(record).split("\n")
        if not below:
            return line
        return "\n".join((line, *(f"    {escape_line(text)}" for text in below)))


class JSONFormatter(logging.Formatter):
    """One JSON object per line.

    Keys: ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``message``; what filters and record factories have added;
    the fields of an access line; ``exception`` with a traceback, ``stack`` with others.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **added(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return _encode(line)


def _configure_from(path: str) -> None:
    """Apply a dictionary of ``logging.config.dictConfig`` from a JSON or TOML file."""
    import logging.config  # brings a server of its own along, which hardly any process needs

    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        settings = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        # The default of dictConfig would silence every logger that exists and is not named.
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **settings})
    except OSError as error:
        raise ConfigurationError(f"--log-config {path}: {error.strerror or error}.") from None
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise ConfigurationError(f"--log-config {path}: {error.__cause__ or error}.") from None
