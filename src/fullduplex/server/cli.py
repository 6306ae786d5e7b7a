"""The ``fullduplex`` command."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from fullduplex._version import __version__
from fullduplex.exceptions import ConfigurationError
from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import configure_logging
from fullduplex.server.worker import Worker


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 after a clean stop, 1 when it could not start, 2 for wrong options."""
    parser = build_parser()
    config = config_from(parser.parse_args(argv))
    configure_logging(config.log_level)
    sys.exit(serve(config))


def serve(config: ServerConfig, app: Any = None) -> int:
    """Run a server until it is stopped; report in one line what keeps it from starting.

    Returns:
        The exit status.
    """
    try:
        return Worker(config, app).run()
    except ConfigurationError as error:
        logging.getLogger("fullduplex.server").error("%s", error)
        return 1


def build_parser(*, with_app: bool = True, **kwargs: Any) -> argparse.ArgumentParser:
    """Make the argument parser from the configuration's metadata."""
    parser = argparse.ArgumentParser(
        **{"prog": "fullduplex", "description": "Serve an ASGI application: HTTP/1.1 and WebSocket.", **kwargs}
    )
    if with_app:
        parser.add_argument("app", metavar="APP", help="The ASGI application: module:attribute.")
        parser.add_argument("--version", action="version", version=f"fullduplex {__version__}")
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser, *, without: frozenset[str] = frozenset()) -> None:
    """Add an option for each field that has flags, except those whose first flag is in ``without``."""
    for path, field in _fields(ServerConfig):
        flags = field.metadata.get("flags", ())
        if flags and flags[0] not in without:
            parser.add_argument(*flags, dest=path, **_argument(field))


def config_from(options: argparse.Namespace) -> ServerConfig:
    """The configuration that parsed options describe."""
    values = vars(options)
    changes: dict[str, Any] = {"app": values["app"]} if "app" in values else {}
    nested: dict[str, dict[str, Any]] = {}
    for path, _ in _fields(ServerConfig):
        if values.get(path) is None:
            continue
        group, dot, name = path.rpartition(".")
        (nested.setdefault(group, {}) if dot else changes)[name] = values[path]
    config = ServerConfig(**changes)
    groups = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in nested.items()}
    return dataclasses.replace(config, **groups)


def _fields(cls: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    for field in dataclasses.fields(cls):
        if field.metadata.get("nested"):
            yield from _fields(type(field.default), f"{field.name}.")
        else:
            yield prefix + field.name, field


def _argument(field: dataclasses.Field[Any]) -> dict[str, Any]:
    metadata = field.metadata
    argument: dict[str, Any] = {"help": metadata["help"], "default": None}
    if isinstance(field.default, bool):
        return {**argument, "action": argparse.BooleanOptionalAction}
    if metadata.get("octal"):
        return {**argument, "type": _octal, "metavar": "MODE"}
    if "choices" in metadata:
        argument["choices"] = metadata["choices"]
    else:
        argument["metavar"] = metadata.get("metavar", field.name.upper())
    argument["type"] = type(field.default) if field.default is not None else _TYPES[field.type.split(" ")[0]]
    argument["help"] += f" Default: {field.default}." if field.default not in (None, "") else ""
    return argument


_TYPES: dict[str, type] = {"int": int, "str": str, "float": float}


def _octal(text: str) -> int:
    return int(text, 8)
