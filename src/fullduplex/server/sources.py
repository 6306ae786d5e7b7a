"""Where settings come from: options, the environment, a TOML file; what stands first wins."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import suggest
from fullduplex.server.config import ServerConfig
from fullduplex.server.settings import VARIABLE_PREFIX, all_settings, build, value_of

CONFIG_VARIABLE = "FULLDUPLEX_CONFIG"
PROJECT_FILE = "pyproject.toml"
DEFAULT = "default"

# Kubernetes describes a service called "fullduplex" to every pod with these names, which are not meant
# for us. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_is_service_link = re.compile(r"SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*").fullmatch
_SERVICE_PORT = "tcp://"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and for each setting that somebody set, by name, who it was."""

    config: ServerConfig
    origins: Mapping[str, str]

    def describe(self) -> str:
        """What is in force and from where: one line for each setting, those under one heading together."""
        rows = [
            (setting.name, setting.show(value_of(self.config, setting)), self.origins.get(setting.name, DEFAULT))
            for setting in all_settings().values()
        ]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{name:<{widths[0]}} = {value:<{widths[1]}}  {origin}" for name, value, origin in rows)


def load(
    options: Mapping[str, Any], *, config_file: str | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Put the sources together: options before the environment before the file before the defaults.

    Args:
        options: values of the command line by name of setting; None where an option was not given.
        config_file: a TOML file; else the variable ``FULLDUPLEX_CONFIG`` names one, else the table
            ``[tool.fullduplex]`` of ``pyproject.toml`` in the current directory is read, if it is there.
        environ: instead of the process's environment.

    Raises:
        ConfigurationError: a file cannot be read, a key is unknown, or a value makes no sense.
    """
    environ = os.environ if environ is None else environ
    settings = all_settings()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config_file or environ.get(CONFIG_VARIABLE)
    for name, value in read_file(path).items():
        values[name], origins[name] = value, f"{name} in {path or PROJECT_FILE}"
    for name, value in read_environment(environ).items():
        values[name], origins[name] = value, settings[name].variable
    for name, value in options.items():
        if value is not None:
            values[name] = tuple(value) if isinstance(value, list) else value
            origins[name] = settings[name].flags[0] if settings[name].flags else "command line"
    return Loaded(build(values, origins), origins)


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings among ``FULLDUPLEX_*`` variables.

    Raises:
        ConfigurationError: an unknown variable, or a value of the wrong kind.
    """
    variables = {setting.variable: setting for setting in all_settings().values()}
    values = {}
    for variable, text in environ.items():
        if not variable.startswith(VARIABLE_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        rest = variable.removeprefix(VARIABLE_PREFIX)
        if _is_service_link(rest) or (rest == "PORT" and text.startswith(_SERVICE_PORT)):
            continue
        setting = variables.get(variable)
        if setting is None:
            raise ConfigurationError(f"{variable}: there is no such setting{suggest(variable, variables)}.")
        if text:  # composed environments often hold empty variables for what is not set
            values[setting.name] = _located(variable, setting.parse, text)
    return values


def read_file(path: str | None) -> dict[str, Any]:
    """The settings of a TOML file: its table ``[tool.fullduplex]`` in a ``pyproject.toml``, else the whole file.

    Raises:
        ConfigurationError: the file that was asked for cannot be read, is no TOML, or has a wrong key or value.
    """
    file = Path(path or PROJECT_FILE)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        raise ConfigurationError(f"{file}: there is no such file.") from None
    except (OSError, ValueError) as error:  # a TOMLDecodeError and a UnicodeDecodeError are ValueErrors
        raise ConfigurationError(f"{file}: {error}.") from None
    if file.name == PROJECT_FILE:
        content = content.get("tool", {}).get("fullduplex", {})
    settings = all_settings()
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in settings:
            raise ConfigurationError(f"{file}: there is no setting {key}{suggest(name, settings)}.")
        values[name] = _located(f"{file}: {key}", settings[name].convert, value)
    return values


def _located(place: str, read: Any, value: Any) -> Any:
    """Call ``read(value)``; say in its error where the value stands."""
    try:
        return read(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}.") from None
