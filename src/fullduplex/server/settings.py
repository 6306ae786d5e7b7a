"""What the fields of :class:`~fullduplex.server.config.ServerConfig` are called outside Python.

A setting has one name, that of its option: ``--ws-max-size`` is ``ws_max_size`` in the file and
``FULLDUPLEX_WS_MAX_SIZE`` in the environment. Inside, it is a field with its unit in its name,
``config.websocket.max_message_bytes``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import HIDDEN, check_value, in_words, kind_of, shown
from fullduplex.server.config import ServerConfig

VARIABLE_PREFIX = "FULLDUPLEX_"

_UNITS = {"_per_s": "N", "_s": "SECONDS", "_bytes": "BYTES", "_count": "N"}
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the configuration.

    Attributes:
        path: where it is, ``"websocket.max_message_bytes"``.
        group: heading under which it is listed.
        flags: its options, the long one first; none for the application itself.
    """

    path: str
    group: str
    flags: tuple[str, ...]
    field: dataclasses.Field[Any]

    @property
    def name(self) -> str:
        """The key in a file, and what the option and the variable are called after."""
        return self.flags[0].lstrip("-").replace("-", "_") if self.flags else self.path

    @property
    def variable(self) -> str:
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def default(self) -> Any:
        return self.field.default

    @property
    def help(self) -> str:
        return str(self.field.metadata["help"])

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.field.metadata.get("choices", ()))

    @property
    def is_secret(self) -> bool:
        """Whether nobody may read its value in a log."""
        return "secret" in self.field.metadata

    @property
    def kind(self) -> type:
        return kind_of(self.field)

    @property
    def metavar(self) -> str:
        """What the value is, in words: its unit where it has one."""
        metadata = self.field.metadata
        if "metavar" in metadata:
            return str(metadata["metavar"])
        if metadata.get("octal"):
            return "MODE"
        for suffix, unit in _UNITS.items():
            if self.field.name.endswith(suffix):
                return unit
        return self.field.name.upper()

    def parse(self, text: str) -> Any:
        """Read a value from a command line or an environment variable.

        Raises:
            ConfigurationError: the text is no such value.
        """
        try:
            if text == "auto" and "auto" in self.field.metadata:
                return self.field.metadata["auto"]()
            if self.kind is bool:
                return _BOOLEANS[text.strip().lower()]
            if self.kind is tuple:
                return tuple(part.strip() for part in text.split(",") if part.strip())
            if self.field.metadata.get("octal"):
                return int(text, 8)
            return self.kind(text)
        except (ValueError, KeyError):
            raise ConfigurationError(f"{self._repr(text)} is not {in_words(self.field)}") from None

    def convert(self, value: Any) -> Any:
        """Check a value of a TOML file.

        Raises:
            ConfigurationError: it has another type.
        """
        kind = self.kind
        if kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if value == "auto" and "auto" in self.field.metadata:
            return self.parse(value)
        if isinstance(value, str) and (kind is tuple or self.field.metadata.get("octal")):
            return self.parse(value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ConfigurationError(f"{self._repr(value)} is not {in_words(self.field)}")
        return value

    def _repr(self, value: Any) -> str:
        return shown(value, is_secret=self.is_secret)

    def check(self, value: Any) -> None:
        """Refuse a value that nobody can mean; see :func:`~fullduplex.limits.check_value`."""
        check_value(self.field, value)

    def show(self, value: Any) -> str:
        """A value as a person reads it: as it would stand on the command line."""
        if value in (None, "", ()):
            return "none"
        if self.is_secret:
            return HIDDEN
        if self.kind is bool:
            return "on" if value else "off"
        if self.kind is tuple:
            return ",".join(value)
        if self.field.metadata.get("octal"):
            return f"{value:o}"
        return f"{value:g}" if self.kind is float else str(value)


@functools.cache
def all_settings() -> Mapping[str, Setting]:
    """Every setting by its name, in the order of the groups."""
    return {setting.name: setting for setting in _settings(ServerConfig, "", "", "")}


def build(values: Mapping[str, Any], described: Mapping[str, str] | None = None) -> ServerConfig:
    """Make the configuration from values by name of setting.

    Args:
        values: those that differ from the defaults.
        described: for each name where the value comes from, for the messages; else the option.

    Raises:
        ConfigurationError: a value, or a combination of them, makes no sense.
    """
    settings = all_settings()
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        setting = settings[name]
        try:
            setting.check(value)
        except ConfigurationError as error:
            place = (described or {}).get(name) or (setting.flags[0] if setting.flags else setting.name)
            raise ConfigurationError(f"{place}: {error}.") from None
        group, _, field = setting.path.rpartition(".")
        groups.setdefault(group, {})[field] = value
    config = ServerConfig(**groups.pop("", {}))
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **fields) for name, fields in groups.items()}
    )


def value_of(config: ServerConfig, setting: Setting) -> Any:
    """The value of a setting in a configuration."""
    return functools.reduce(getattr, setting.path.split("."), config)


def _settings(cls: Any, path: str, prefix: str, group: str) -> Iterator[Setting]:
    for field in dataclasses.fields(cls):
        metadata = field.metadata
        heading = metadata.get("group", group)
        if "nested" in metadata:
            yield from _settings(type(field.default), f"{path}{field.name}.", metadata["nested"], heading)
        elif metadata.get("positional"):
            yield Setting(path + field.name, heading, (), field)
        else:
            words = [*filter(None, [prefix]), *field.name.split("_")]
            yield Setting(path + field.name, heading, metadata.get("flags") or ("--" + "-".join(words),), field)
