"""What a server says, read and checked; and what the application sees of it. Pure."""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as NoBase64
from dataclasses import dataclass
from typing import Any, NamedTuple

PROTOCOL = "fullduplex.v1"
BAD_MESSAGE = 4500


class Position(NamedTuple):
    """A place in the history of one group; equal to those of :mod:`fullduplex.layers.history`."""

    offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The subscription has begun, or goes on after a reconnect.

    Attributes:
        recovered: nothing is missing before what follows. False: something may be; fetch the state anew.
        position: where what follows begins; None: the group keeps no history.
        latest: offset of the newest message; when it has come, all that was missed has. None: no history.
    """

    group: str
    recovered: bool
    position: Position | None
    latest: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a group.

    Attributes:
        data: an object or array, a str, or bytes.
        position: its own; None: the group keeps no history.
    """

    group: str
    data: Any
    position: Position | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages may be missing here; what follows begins behind ``position``."""

    group: str
    position: Position | None


Event = Subscribed | Message | Gap


class NotThisProtocol(Exception):
    """What came is no message of this protocol."""


def read_message(text: str | bytes) -> dict[str, Any]:
    """Read what a server says, of any type.

    Raises:
        NotThisProtocol: it is no JSON object with a ``type``, or one whose type has other members.
    """
    try:
        message = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise NotThisProtocol("no JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise NotThisProtocol("no object with a `type`")
    check = _CHECKS.get(message["type"])
    if check is not None and not check(message):
        raise NotThisProtocol(f"this is no {message['type']!r}")
    return message


def position_of(message: dict[str, Any]) -> Position | None:
    position = message["position"]
    return None if position is None else Position(position["offset"], position["epoch"])


def data_of(message: dict[str, Any]) -> Any:
    return message["data"] if "data" in message else b64decode(message["base64"])


def _is_position(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and _is_offset(value.get("offset")) and isinstance(value.get("epoch"), str)
    )


def _is_offset(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _is_welcome(told: dict[str, Any]) -> bool:
    limits = ("heartbeat_s", "max_message_bytes", "max_groups", "max_requests")
    return told.get("protocol") == PROTOCOL and all(_is_number(told.get(name)) for name in limits)


def _is_subscribed(told: dict[str, Any]) -> bool:
    return (
        isinstance(told.get("group"), str)
        and isinstance(told.get("recovered"), bool)
        and "position" in told
        and _is_position(told["position"])
        and ("latest" not in told or _is_offset(told["latest"]))
    )


def _is_message(told: dict[str, Any]) -> bool:
    if not isinstance(told.get("group"), str) or ("offset" in told and not _is_offset(told["offset"])):
        return False
    return "data" in told or _is_base64(told.get("base64"))


def _is_base64(value: Any) -> bool:
    try:
        b64decode(value, validate=True)
    except (NoBase64, TypeError, ValueError):
        return False
    return True


def _is_gap(told: dict[str, Any]) -> bool:
    return isinstance(told.get("group"), str) and "position" in told and _is_position(told["position"])


def _is_unsubscribed(told: dict[str, Any]) -> bool:
    return isinstance(told.get("group"), str) and isinstance(told.get("code"), str)


def _is_reply(told: dict[str, Any]) -> bool:
    return type(told.get("id")) is int and _is_position(told.get("position"))


def _is_error(told: dict[str, Any]) -> bool:
    return (told.get("id") is None or type(told["id"]) is int) and isinstance(told.get("code"), str)


_CHECKS = {
    "welcome": _is_welcome,
    "subscribed": _is_subscribed,
    "message": _is_message,
    "gap": _is_gap,
    "unsubscribed": _is_unsubscribed,
    "reply": _is_reply,
    "error": _is_error,
}
