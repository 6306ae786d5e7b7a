"""The one setting of the Django tower: ``FULLDUPLEX = {...}``, read in this place only.

Keys are the field names of :class:`Settings` in upper case. An unknown key is an error, since a
misspelt limit that is silently ignored is no limit.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import opt, shown

SETTING = "FULLDUPLEX"


STORES = ("layer", "database")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRule:
    """What one entry of ``HISTORY`` says of the groups whose names fit its pattern: how much of them is kept, where."""

    pattern: str
    count: int = opt(1_000, "Messages that are kept of one group; the oldest goes first.", minimum=1)
    age_s: float = opt(86_400.0, "A message is kept for so long.", minimum=0.001)
    max_bytes: int = opt(1_048_576, "Of data that is kept of one group; the oldest goes first.", minimum=1)
    store: str = opt("layer", "`layer`: the one that carries the groups; `database`: that of the project.")

    def fits(self, group: str) -> bool:
        return re.fullmatch(".*".join(re.escape(part) for part in self.pattern.split("*")), group) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``FULLDUPLEX`` may hold, with the defaults."""

    handshake_timeout_s: float = opt(
        10.0, "From the start of a handshake to its accept; then 504 and the view is cancelled. nginx proxies: 60."
    )
    disconnect_grace_s: float = opt(
        10.0, "After the client left: time for a socket view to end by itself; then it is cancelled."
    )
    read_ahead_bytes: int = opt(
        65_536,
        "Messages taken from the server before a socket view asks for them, so that a disconnect behind them is "
        "noticed. Above it the server's own flow control holds the client.",
    )
    fast: bool = opt(
        True,
        "Take requests through our chains: one thread hop for a sync view, none for an async view. False restores "
        "Django's own chain.",
    )
    threads_count: int = opt(
        16,
        "While so many threads of a process run sync code, a request that has none yet waits for one. Those that rest "
        "with their request, or wait in async_to_sync, do not count. Python's ThreadPoolExecutor: processors + 4, at "
        "most 32.",
    )
    threads_max_count: int = opt(
        1_000,
        "Threads of one process, and with them database connections; those above THREADS_COUNT end when they are idle. "
        "PostgreSQL takes 100 connections from all processes, unless told otherwise.",
    )
    threads_wait_s: float = opt(
        30.0, "A request that waited so long for a thread is answered with 503. gunicorn's worker timeout: 30."
    )
    idle_thread_s: float = opt(
        2.0,
        "A socket keeps its thread, with its database connections, for so long after a sync call, unless another one "
        "needs it; 0: it goes back after each call. Threads above THREADS_COUNT end after so long without work.",
    )
    connections_max_count: int = opt(
        100,
        "Requests and other tasks of one process that hold database connections for the async ORM, with the engine "
        "fullduplex.db.postgresql; above it they wait in order, up to THREADS_WAIT_S. Threads have their own.",
    )
    disconnect_watch_s: float = opt(
        0.1, "A request that takes longer is cancelled when its client leaves; a shorter one is not watched."
    )
    outbox_max_bytes: int = opt(
        1_048_576,
        "Messages of groups that wait for one slow client; above it OUTBOX_POLICY. Centrifugo: 1 MiB.",
    )
    outbox_policy: str = opt(
        "disconnect",
        "What happens to a client above OUTBOX_MAX_BYTES: `disconnect` (close 1013), `drop_oldest`, `drop_newest` or "
        "`keep_latest` (of each group the newest message).",
    )
    gap_policy: str = opt(
        "disconnect",
        "What happens to the members of a group when the layer was lost and is back, so that messages may be missing: "
        "`disconnect` (close 1012) or `continue`. A layer without a broker has no gaps.",
        choices=("disconnect", "continue"),
    )
    gap_spread_s: float = opt(
        2.0, "The closes after a gap are spread over this time, so that the clients do not come back all at once."
    )
    gap_message: str = opt(
        "", "With `continue`: a text message that the members get, once for each group; empty: none."
    )
    channels_alias: bool = opt(
        False,
        "`import channels` and `import channels_redis` give `fullduplex.channels`, for packages that import Channels "
        "themselves. Read once, when INSTALLED_APPS are loaded; `fullduplex` stands first there.",
    )
    history_look_s: float = opt(
        2.0,
        "Between two looks at groups that the database keeps: so late is a message whose process was killed before it "
        "published it.",
    )
    socket_observer: str = opt(
        "",
        "Dotted path of a function that takes the scope of a socket and returns a context manager; handshake and view "
        "run inside it. For error trackers that keep requests apart; empty: none.",
    )
    socket_view_observer: str = opt(
        "",
        "Dotted path of a function that takes the request of a socket, when its view is found, and returns a context "
        "manager; the view runs inside it, and what it fails with leaves through it. For tracers; empty: none.",
    )
    history: tuple[HistoryRule, ...] = opt(
        (),
        "Which groups keep what was sent, how much and where, by patterns of their names; the first that fits counts.",
        shown="{}",
    )
    prepared_frames: bool = opt(
        True,
        "Messages of groups are framed once and written by the server itself. False where ASGI middleware must see "
        "each of them in its `send`, or each disconnect in its `receive`.",
    )


@functools.cache
def get_settings() -> Settings:
    """Return the settings in force; ``override_settings`` is honoured.

    Raises:
        ConfigurationError: a key is unknown, or a value has the wrong type or is negative.
    """
    return _read(getattr(django_settings, SETTING, {}))


def _read(given: Any) -> Settings:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{SETTING} must be a dict, not {type(given).__name__}.")
    fields = {field.name.upper(): field for field in dataclasses.fields(Settings)}
    for key, value in given.items():
        if key not in fields:
            raise ConfigurationError(f"{SETTING} has the unknown key {key!r}.{_suggestion(key, list(fields))}")
        if key == "HISTORY":
            continue
        _check(f"{SETTING}[{key!r}]", value, fields[key].default)
        choices = fields[key].metadata.get("choices", (value,))
        if value not in choices:
            raise ConfigurationError(f"{SETTING}[{key!r}] is one of {', '.join(choices)}, not {shown(value)}.")
    history = _read_history(given.get("HISTORY", {}))
    settings = Settings(**{**{key.lower(): value for key, value in given.items()}, "history": history})
    if settings.threads_max_count < settings.threads_count:
        raise ConfigurationError(
            f"{SETTING}['THREADS_MAX_COUNT'] is {settings.threads_max_count}, below THREADS_COUNT, "
            f"{settings.threads_count}: it limits all threads."
        )
    return settings


def _read_history(given: Any) -> tuple[HistoryRule, ...]:
    here = f"{SETTING}['HISTORY']"
    if not isinstance(given, dict):
        raise ConfigurationError(f"{here} must be a dict of patterns and dicts, not {type(given).__name__}.")
    rules = []
    fields = {field.name.upper(): field for field in dataclasses.fields(HistoryRule) if field.name != "pattern"}
    for pattern, entry in given.items():
        if not isinstance(pattern, str) or not re.fullmatch(r"[A-Za-z0-9._*-]+", pattern):
            raise ConfigurationError(
                f"{here} has the key {pattern!r}: it takes names of groups, in which * is for any characters."
            )
        if not isinstance(entry, dict):
            raise ConfigurationError(f"{here}[{pattern!r}] must be a dict, not {type(entry).__name__}.")
        for key, value in entry.items():
            if key not in fields:
                raise ConfigurationError(
                    f"{here}[{pattern!r}] has the unknown key {key!r}.{_suggestion(key, list(fields))}"
                )
            _check(f"{here}[{pattern!r}][{key!r}]", value, fields[key].default)
            minimum = fields[key].metadata.get("minimum", value)
            if not isinstance(value, str) and not minimum <= value < math.inf:
                raise ConfigurationError(
                    f"{here}[{pattern!r}][{key!r}] must be {minimum} at least, not {shown(value)}."
                )
        rule = HistoryRule(pattern=pattern, **{key.lower(): value for key, value in entry.items()})
        if rule.store not in STORES:
            raise ConfigurationError(
                f"{here}[{pattern!r}]['STORE'] is one of {', '.join(STORES)}, not {shown(rule.store)}."
            )
        rules.append(rule)
    return tuple(rules)


def _suggestion(key: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(key).upper(), known, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" It may hold {', '.join(known)}."


def _check(name: str, value: Any, default: Any) -> None:
    """Hold ``value`` against the type of the default; an int will do for a float, a bool for neither."""
    wanted = (int, float) if isinstance(default, float) else (type(default),)
    if default is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        raise ConfigurationError(f"{name} must be {type(default).__name__}, not {shown(value)}.")
    if isinstance(value, (int, float)) and value < 0:
        raise ConfigurationError(f"{name} must not be negative, as {shown(value)} is.")


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == SETTING:
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="fullduplex.conf")
