"""The ``fullduplex`` command."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fullduplex._version import __version__
from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import RecycleLimits, suggest
from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import configure_logging, tell_failed_start
from fullduplex.server.settings import Setting, all_settings
from fullduplex.server.sources import Loaded, load

logger = logging.getLogger("fullduplex.server")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 after a clean stop, 1 when it could not start, 2 for wrong options."""
    parser = build_parser()
    options = parser.parse_args(argv)
    try:
        loaded = load_options(options)
        if not loaded.config.app:
            raise ConfigurationError("no application is named: give module:attribute, such as mysite.asgi:application.")
        configure_logging(loaded.config)
    except ConfigurationError as error:
        parser.error(str(error))
    sys.exit(check(loaded) if options.check_config else serve(loaded.config))


def serve(config: ServerConfig, app: Any = None) -> int:
    """Run a server until it is stopped; report in one line what keeps it from starting.

    Args:
        config: where to listen, what to serve, with how many workers.
        app: for a single worker, instead of ``config.app``, which each of several imports by itself.

    Returns:
        The exit status.
    """
    try:
        if config.workers > 1 or config.reload:
            return _supervise(config)
        if config.recycle != RecycleLimits(jitter=config.recycle.jitter):
            raise ConfigurationError("--limit-max-requests and --recycle-*: a single worker has nobody to replace it.")
        return _serve_alone(config, app)
    except ConfigurationError as error:
        tell_failed_start("%s", error)
        return 1


def _serve_alone(config: ServerConfig, app: Any) -> int:
    from fullduplex.server.process import run_to_the_end  # a supervisor has no event loop, and stays small
    from fullduplex.server.worker import Worker

    return run_to_the_end(Worker(config, app))


def _supervise(config: ServerConfig) -> int:
    from fullduplex.server.supervisor import Supervisor  # what a single worker must not need

    return Supervisor(config).run()


def check(loaded: Loaded, app: Any = None) -> int:
    """Print what is in force and from where; load what a server would load before it listens.

    Returns:
        The exit status: 1, and one line that says why, where a server would refuse to start.
    """
    from fullduplex.server.worker import Worker

    print(loaded.describe())
    try:
        Worker(dataclasses.replace(loaded.config, workers=1), app).check()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of the command."""
    parser = _Parser(
        prog="fullduplex",
        usage="%(prog)s APP [options]",
        description="Serve an ASGI application: HTTP/1.1 and WebSocket.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "app", metavar="APP", nargs="?", help="The application: module:attribute, such as mysite.asgi:application."
    )
    parser.add_argument("--version", action="version", version=_version())
    add_options(parser)
    return parser


def _version() -> str:
    spec = importlib.util.find_spec("fullduplex.wire.http1")
    is_compiled = spec is not None and not str(spec.origin).endswith(".py")
    return f"fullduplex {__version__}" + (" (compiled)" if is_compiled else "")


def add_options(parser: argparse.ArgumentParser, *, without: frozenset[str] = frozenset()) -> None:
    """Add ``--config``, ``--check-config`` and an option for each setting, in groups.

    Args:
        parser: gets the options.
        without: first flags of the settings to leave out.
    """
    configuration = parser.add_argument_group("Configuration")
    configuration.add_argument(
        "--config",
        metavar="FILE",
        help="Read settings from this TOML file. Default: [tool.fullduplex] in pyproject.toml here, if there is one.",
    )
    configuration.add_argument(
        "--check-config", action="store_true", help="Print what is in force and from where, and do not serve."
    )
    groups = {}
    for setting in all_settings().values():
        if not setting.flags or setting.flags[0] in without:
            continue
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        groups[setting.group].add_argument(*setting.flags, **_argument(setting))


def load_options(options: argparse.Namespace) -> Loaded:
    """The configuration that parsed options, the environment and the file describe together.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    values = vars(options)
    given = {name: values.get(setting.path) for name, setting in all_settings().items()}
    return load(given, config_file=values.get("config"))


class _Parser(argparse.ArgumentParser):
    """Suggests an option for one that does not exist."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            words = message.removeprefix("unrecognized arguments: ").split()
            hint = suggest(words[0].partition("=")[0], self._option_string_actions)
            if any(flag in hint for flag in _secret_flags()):  # the value of a misspelt password is one, too
                message = f"unrecognized arguments: {words[0].partition('=')[0]}"
            message += hint
        super().error(message)


def _secret_flags() -> list[str]:
    return [flag for setting in all_settings().values() if setting.is_secret for flag in setting.flags]


def _argument(setting: Setting) -> dict[str, Any]:
    shown = "" if setting.show(setting.default) == "none" else f" Default: {setting.show(setting.default)}."
    argument: dict[str, Any] = {
        "dest": setting.path,
        "default": None,
        "help": (setting.help + shown).replace("%", "%%"),
    }
    if setting.kind is bool:
        return {**argument, "action": argparse.BooleanOptionalAction}
    argument["type"] = _reader(setting)
    if setting.kind is tuple:
        argument["action"] = "extend"
    if setting.choices and setting.kind is not tuple:
        argument["choices"] = setting.choices
    else:
        argument["metavar"] = setting.metavar
    return argument


def _reader(setting: Setting) -> Any:
    def read(text: str) -> Any:
        try:
            value = setting.parse(text)
            setting.check(value)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return read
