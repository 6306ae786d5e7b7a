"""Limits and deadlines of the server tower: every number with its unit, default and source.

Command line flags, environment variables, checks and the reference page are generated from this metadata.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fullduplex.exceptions import ConfigurationError

_KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "tuple": tuple}
_IN_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


HIDDEN = "(hidden)"

# Misspelt ones, too: what is wrong in a setting is most likely its name.
_is_secret = re.compile(r"pas|pwd|secret|token|cred|_keys?$", re.IGNORECASE).search
_hide_userinfo = re.compile(r"(?<=//)\S*@|[^\s:/]*:[^\s/]*@").sub
_hide_query = re.compile(r"([?&;][^=&;\s]*(?:pass|secret|token)[^=&;\s]*=)[^&;\s'\"]*", re.IGNORECASE).sub


def opt(default: Any, help: str, **metadata: Any) -> Any:
    """Declare a documented field of a configuration dataclass.

    Args:
        default: the value without configuration.
        help: what it means, what happens above it, and where the number comes from.
        metadata: more for the generators, e.g. ``flags=("--host", "-b")``, and for the check: ``choices``,
            ``minimum`` (0 without) and ``maximum``. ``secret``: no message and no ``repr`` shows it.
    """
    return dataclasses.field(default=default, repr="secret" not in metadata, metadata={"help": help, **metadata})


def kind_of(field: dataclasses.Field[Any]) -> type:
    """``bool``, ``int``, ``float``, ``str`` or ``tuple`` (of strings), whether or not it may be None."""
    return _KINDS[str(field.type).split(" ")[0].split("[")[0]]


def in_words(field: dataclasses.Field[Any]) -> str:
    """What its values are, for messages."""
    return "a mode in octal, such as 660" if field.metadata.get("octal") else _IN_WORDS[kind_of(field)]


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value that nobody can mean.

    Raises:
        ConfigurationError: it is of another kind, not among the choices, or out of range.
    """
    if value is None and field.default is None:
        return
    kind = kind_of(field)
    if not _is_of_kind(value, kind):
        raise ConfigurationError(f"{shown(value, is_secret='secret' in field.metadata)} is not {in_words(field)}")
    choices = field.metadata.get("choices", ())
    for item in (value if kind is tuple else (value,)) if choices else ():
        if item not in choices:
            raise ConfigurationError(f"{item!r} is not one of {', '.join(choices)}{suggest(item, choices)}")
    if kind in (int, float):
        minimum, maximum = field.metadata.get("minimum", 0), field.metadata.get("maximum")
        if not value >= minimum:  # so that NaN is refused, too
            raise ConfigurationError(f"{value!r} is below {minimum}")
        if maximum is not None and value > maximum:
            raise ConfigurationError(f"{value!r} is above {maximum}")


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` where something similar is known, else nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value: Any, *, is_secret: bool = False) -> str:
    """The value of a setting in a message: its ``repr`` without passwords, which logs keep and screens show.

    Args:
        value: of any kind; in mappings and lists what is called a password, a secret or a key is hidden, in texts what
            stands before the ``@`` of a URL, and passwords in its query.
        is_secret: the setting itself is one.
    """
    if is_secret:
        return HIDDEN
    if isinstance(value, str):
        before, mark, after = value.rpartition("@")
        scheme = before[: before.find("//") + 2] if "//" in before else ""
        return repr(without_secrets(f"{scheme}{HIDDEN}@{after}" if mark else after))
    if isinstance(value, bytes):
        return "b" + shown(value.decode("latin-1"))
    if isinstance(value, Mapping):
        pairs = (f"{shown(key)}: {shown(item, is_secret=_names_secret(key))}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return without_secrets(repr(value))


def without_secrets(text: str) -> str:
    """Text that may hold URLs, of an error of somebody else: without what they say of users and passwords."""
    return _hide_query(rf"\1{HIDDEN}", _hide_userinfo(f"{HIDDEN}@", text))


def _names_secret(key: Any) -> bool:
    return isinstance(key, str) and _is_secret(key) is not None


def _is_of_kind(value: Any, kind: type) -> bool:
    if kind is tuple:
        return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


class Checked:
    """Base of the dataclasses of :func:`opt` fields: none is made with a value that nobody can mean.

    Raises:
        ConfigurationError: a value is of another kind, not among the choices, or out of range.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            try:
                if "nested" not in field.metadata:
                    check_value(field, value)
                elif not isinstance(value, type(field.default)):
                    raise ConfigurationError(f"{value!r} is not a {type(field.default).__name__}")
            except ConfigurationError as error:
                raise ConfigurationError(f"{type(self).__name__}.{field.name}: {error}.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTP1Limits(Checked):
    """Limits of one HTTP/1.1 connection."""

    max_head_bytes: int = opt(65_536, "Request line and fields; above it: 431. RFC 6585 section 5.")
    max_target_bytes: int = opt(16_384, "Request target; above it: 414. RFC 9112 section 3 asks for 8000 at least.")
    max_fields_count: int = opt(100, "Fields of a head or of trailers; above it: 431. Apache httpd: 100.")
    keepalive_timeout_s: float = opt(
        75.0,
        "Idle time between requests. Longer than the pools of proxies keep a connection, or requests are lost on those "
        "that close meanwhile: nginx, Varnish, Squid 60.",
        flags=("--timeout-keep-alive",),
    )
    head_timeout_s: float = opt(15.0, "From the first byte of a head to its end; then 408. nginx: 60, Go docs: 5-10.")
    first_byte_timeout_s: float = opt(
        15.0, "From connecting to the first byte of a request; then the connection closes."
    )
    max_drain_bytes: int = opt(
        65_536, "Content discarded after an early response; with more to come the connection closes. Go: 256K."
    )
    drain_timeout_s: float = opt(5.0, "Wait for content that is discarded; then the connection closes.")
    max_chunk_line_bytes: int = opt(256, "Size line of one chunk, extensions included; above it: 400. Go: 4096.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTP2Limits(Checked):
    """Limits of one HTTP/2 connection. What is counted is counted anew every ten seconds; above it the connection ends
    with ENHANCE_YOUR_CALM (RFC 9113 section 10.5)."""

    max_streams_count: int = opt(
        128, "Requests and sockets at the same time on one connection. RFC 9113 section 6.5.2: 100 at least.", minimum=1
    )
    window_bytes: int = opt(
        262_144,
        "What a client may send of one request's content before the application takes any. Go: 1 MiB, nginx: 64 KiB.",
        minimum=65_535,
        maximum=2**23,
    )
    max_head_bytes: int = opt(
        65_536,
        "Fields of a request, counted as RFC 9113 section 6.5.2 does; above it: 431. What is twice as large before it "
        "is decoded, or four times after, ends the connection.",
        minimum=4096,
        maximum=2**24,
    )
    max_target_bytes: int = opt(16_384, "The path of a request; above it: 414. As for HTTP/1.1.")
    max_fields_count: int = opt(
        100, "Fields of a request or of trailers, cookies counting as one; above it: 431. Apache httpd: 100."
    )
    idle_timeout_s: float = opt(60.0, "Without any request for so long: GOAWAY, and closed. nginx: 75.", minimum=0.1)
    head_timeout_s: float = opt(
        15.0, "From connecting to the first SETTINGS, and from the first frame of a head to its last."
    )
    max_drain_bytes: int = opt(
        16_777_216,
        "Content discarded after an early response before its stream is reset, which some clients wait over for ever. "
        "Nothing else of the connection is lost by that.",
    )
    drain_timeout_s: float = opt(10.0, "The same in time. nginx lingering_time: 30.")
    max_resets_count: int = opt(
        300, "Requests that a client cancels, or makes us reset, in ten seconds. CVE-2023-44487, CVE-2025-8671."
    )
    max_settings_count: int = opt(30, "SETTINGS in ten seconds. CVE-2019-9515.")
    max_pings_count: int = opt(100, "PINGs in ten seconds. CVE-2019-9512.")
    max_empty_count: int = opt(
        1000,
        "Frames in ten seconds that do nothing: empty DATA, PRIORITY, unknown ones. CVE-2019-9518, CVE-2019-9513.",
    )
    max_updates_count: int = opt(
        2000, "WINDOW_UPDATEs in ten seconds beyond those that answer what was sent. CVE-2019-9511.", minimum=100
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits(Checked):
    """Limits of one WebSocket connection."""

    max_message_bytes: int = opt(
        16_777_216, "One message, after inflating; above it: close 1009. Uvicorn: 16 MiB.", flags=("--ws-max-size",)
    )
    ping_interval_s: float = opt(
        20.0, "Idle time before a ping is sent; 0 sends none. Uvicorn: 20.", flags=("--ws-ping-interval",)
    )
    ping_timeout_s: float = opt(
        20.0, "Wait for a pong (or any frame); then close 1011. Uvicorn: 20.", flags=("--ws-ping-timeout",)
    )
    message_timeout_s: float = opt(30.0, "Between two pieces of one message, whatever else comes; then close 1008.")
    handshake_timeout_s: float = opt(
        30.0, "The application must accept or refuse within this; then 504. Django's side has its own, shorter one."
    )
    close_timeout_s: float = opt(5.0, "Wait for the peer's half of the closing handshake, then drop the connection.")
    deflate: bool = opt(True, "Accept permessage-deflate when offered. RFC 7692.", flags=("--ws-per-message-deflate",))
    deflate_takeover: bool = opt(
        False,
        "Keep deflate contexts between messages: smaller messages, and about 96 KiB more for each socket, 195 KiB "
        "after messages of 100 KB.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits(Checked):
    """Byte bounds and deadlines of one connection, whatever it speaks."""

    read_buffer_bytes: int = opt(65_536, "Received and not yet taken by the application; above it reading pauses.")
    write_buffer_bytes: int = opt(
        65_536, "Written and not yet taken by the client; above it `send` waits. asyncio: 64K."
    )
    stalled_write_timeout_s: float = opt(
        60.0, "The client reads nothing at all for so long: dropped, and logged. nginx: 60."
    )
    half_close_grace_s: float = opt(1.0, "After the client closed its half: time to answer, then it counts as gone.")
    linger_timeout_s: float = opt(2.0, "Input discarded after an early response, so that it arrives. nginx: 5.")
    close_timeout_s: float = opt(5.0, "From closing to the last byte taken by the client; then dropped.")
    max_body_bytes: int = opt(
        0,
        "Content of one request; above it: 413. 0 leaves it to the application: content is never held in memory "
        "beyond read_buffer_bytes.",
        flags=("--limit-request-body",),
    )
    body_rate_bytes_per_s: int = opt(
        500,
        "Content must arrive this fast, on average and after body_grace_s; else 408. A rate and no total, so that "
        "long uploads that flow are fine. 0 never ends one. Apache httpd mod_reqtimeout: 500.",
    )
    body_grace_s: float = opt(20.0, "Waiting for content that body_rate_bytes_per_s forgives. mod_reqtimeout: 20.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits(Checked):
    """What one worker takes on at the same time."""

    max_connections_count: int = opt(
        65_536,
        "Open connections, those in a TLS handshake and those that are being closed included; above it a new one gets "
        "503 and is closed (16 at a time may take their time over it). About 1 GiB of idle WebSockets. 0: no limit.",
        flags=("--limit-connections",),
    )
    max_requests_count: int = opt(
        10_000,
        "HTTP requests in progress; above it 503 with Retry-After. WebSockets do not count. 0: no limit.",
        flags=("--limit-concurrency",),
    )
    max_unfinished_bytes: int = opt(
        67_108_864,
        "Held of messages whose ends have not come, by all WebSockets; above it the largest gets close 1009. 0: no "
        "limit.",
    )
    max_buffers_bytes: int = opt(
        268_435_456,
        "Received and not yet taken by the application, or written and not yet taken by clients, on all connections. "
        "From three quarters of it new WebSockets get 503; above it those that hold most are dropped. 0: no limit.",
    )
    retry_after_s: int = opt(2, "What Retry-After of those 503 says.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecycleLimits(Checked):
    """When one worker of several is replaced by a fresh one, which is ready before the old one stops."""

    max_requests_count: int = opt(
        0,
        "Requests and sockets that a worker takes before it is replaced. 0: no limit.",
        flags=("--limit-max-requests",),
    )
    max_lifetime_s: float = opt(0.0, "Time that a worker serves before it is replaced. 0: no limit.")
    max_memory_bytes: int = opt(
        0, "Resident memory above which a worker is replaced. Linux only. 0: no limit. See proc_pid_statm(5)."
    )
    jitter: float = opt(
        0.1,
        "Each worker's limits are up to this share higher, so that not all are replaced at the same time.",
        maximum=10.0,
    )
