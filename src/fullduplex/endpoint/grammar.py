"""The grammar of ``fullduplex.v1``: what clients say, read and checked, and what servers say. Pure.

The law is docs/reference/protocol.md; tests/vectors/v1 has it as examples.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fullduplex.exceptions import RequestRefused
from fullduplex.layers.events import encode_json
from fullduplex.layers.history import Position
from fullduplex.realtime.groups import is_group_name

PROTOCOL = "fullduplex.v1"

MAX_INTEGER = 2**53 - 1  # what every JSON parser keeps exactly. RFC 8259 section 6

# Close codes of the protocol's own.
HEARTBEAT_LOST = 4000
TOKEN_EXPIRED = 4001
BAD_MESSAGE = 4500
UNAUTHORIZED = 4501

_METHOD = re.compile(r"[A-Za-z0-9_]{1,99}")
_EPOCH = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[!-~]{1,128}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a pair, perhaps with the other half behind it
_OFFSET = re.compile(r"[0-9]{1,16}")


class NotThisProtocol(Exception):
    """What came is no message of this protocol: the connection ends with :data:`BAD_MESSAGE`."""


# What clients say --------------------------------------------------------------------------------


@dataclass(slots=True)
class Subscribe:
    id: int
    group: str
    after: Position | None


@dataclass(slots=True)
class Unsubscribe:
    id: int
    group: str


@dataclass(slots=True)
class Publish:
    id: int
    group: str
    data: dict[str, Any] | list[Any]
    key: str


@dataclass(slots=True)
class Call:
    id: int
    method: str
    params: Any


@dataclass(slots=True)
class Token:
    id: int
    token: str


Request = Subscribe | Unsubscribe | Publish | Call | Token


def read_message(text: str) -> dict[str, Any]:
    """Read one message, as far as every message goes.

    Raises:
        NotThisProtocol: it is no JSON object with a string ``type``.
    """
    try:
        message = _decode(text)
    except (ValueError, RecursionError) as error:
        raise NotThisProtocol("a message is a JSON object") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise NotThisProtocol("a message is a JSON object with a string `type`")
    return message


def check_text(text: str, message: dict[str, Any]) -> None:
    """
    Raises:
        RequestRefused: a string of the message has half a surrogate pair, which UTF-8 cannot say: not to be sent on.
    """
    if _SURROGATE.search(text) is None:
        return
    try:
        encode_json(message).encode()
    except UnicodeEncodeError:
        raise _wrong("A string has no half of a surrogate pair") from None


def read_id(message: dict[str, Any]) -> int | None:
    """Return the id of a request; None where it has none that can be used."""
    request_id = message.get("id")
    return request_id if type(request_id) is int and 0 < request_id <= MAX_INTEGER else None


def read_request(message: dict[str, Any], request_id: int | None) -> Request:
    """Read what a request asks for.

    Raises:
        RequestRefused: its type is unknown, or one of its members is missing or wrong.
    """
    reader = _READERS.get(message["type"])
    if reader is None:
        raise RequestRefused("unsupported", "This server knows no such type of message.")
    if request_id is None:
        raise _wrong("A request has an `id`, an integer from 1 to 2^53 - 1")
    return reader(message, request_id)


def _read_subscribe(message: dict[str, Any], request_id: int) -> Request:
    return Subscribe(request_id, _group(message), read_position(message.get("after")))


def _read_unsubscribe(message: dict[str, Any], request_id: int) -> Request:
    return Unsubscribe(request_id, _group(message))


def _read_publish(message: dict[str, Any], request_id: int) -> Request:
    group, data, key = _group(message), message.get("data"), message.get("key")
    if not isinstance(data, (dict, list)):
        raise _wrong("`data` is an object or an array")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise _wrong("`key` has 1 to 128 printable ASCII characters and no space")
    return Publish(request_id, group, data, key or "")


def _read_call(message: dict[str, Any], request_id: int) -> Request:
    method = message.get("method")
    if not (isinstance(method, str) and _METHOD.fullmatch(method)):
        raise _wrong("`method` has 1 to 99 ASCII letters, digits and underscores")
    return Call(request_id, method, message.get("params"))


def _read_token(message: dict[str, Any], request_id: int) -> Request:
    token = message.get("token")
    if not isinstance(token, str):
        raise _wrong("`token` is a string")
    return Token(request_id, token)


_READERS: dict[str, Callable[[dict[str, Any], int], Request]] = {
    "subscribe": _read_subscribe,
    "unsubscribe": _read_unsubscribe,
    "publish": _read_publish,
    "call": _read_call,
    "token": _read_token,
}


def read_position(position: Any) -> Position | None:
    """Read a position, or null.

    Raises:
        RequestRefused: it is neither.
    """
    if position is None:
        return None
    if isinstance(position, dict):
        offset, epoch = position.get("offset"), position.get("epoch")
        if type(offset) is int and 0 <= offset <= MAX_INTEGER and isinstance(epoch, str) and _EPOCH.fullmatch(epoch):
            return Position(offset, epoch)
    raise _wrong('a position is {"offset": 0 or more, "epoch": "..."}')


def check_group(name: Any) -> str:
    """
    Raises:
        RequestRefused: no group may have this name.
    """
    if isinstance(name, str) and is_group_name(name):
        return name
    raise _wrong("`group` has 1 to 99 ASCII letters, digits, hyphens, underscores and full stops")


def _group(message: dict[str, Any]) -> str:
    return check_group(message.get("group"))


def _wrong(rule: str) -> RequestRefused:
    return RequestRefused("bad_request", f"{rule}.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that can be said again")
    return value


_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode


# What servers say --------------------------------------------------------------------------------

PING = '{"type":"ping"}'
PONG = '{"type":"pong"}'


def write(message: dict[str, Any]) -> str:
    """Write one message.

    Raises:
        TypeError, ValueError: it holds what JSON cannot say.
    """
    return encode_json(message)


def welcome(
    heartbeat_s: float, max_message_bytes: int, max_groups: int, max_requests: int, takes_tokens: bool
) -> dict[str, Any]:
    return {
        "type": "welcome",
        "protocol": PROTOCOL,
        "heartbeat_s": heartbeat_s,
        "max_message_bytes": max_message_bytes,
        "max_groups": max_groups,
        "max_requests": max_requests,
        "token": takes_tokens,
    }


def error(request_id: int | None, code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "id": request_id, "code": code, "message": message}


def subscribed(
    request_id: int | None, group: str, recovered: bool, position: Position | None, latest: int | None
) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "subscribed"}
    if request_id is not None:
        told["id"] = request_id
    told |= {"group": group, "recovered": recovered, "position": position_object(position)}
    if latest is not None:
        told["latest"] = latest
    return told


def gap(group: str, position: Position | None) -> dict[str, Any]:
    return {"type": "gap", "group": group, "position": position_object(position)}


def unsubscribed(group: str, code: str, reason: str) -> dict[str, Any]:
    return {"type": "unsubscribed", "group": group, "code": code, "reason": reason}


def position_object(position: Position | None) -> dict[str, Any] | None:
    return None if position is None else {"offset": position.offset, "epoch": position.epoch}


def envelope(data: str | bytes, group: str, offset: int | None) -> str:
    """Return the ``message`` that subscribers get of what was sent to a group; it is one line.

    Text that is a JSON object or array goes in as it is: so that 1,000 subscribers cost no parsing and writing of it.
    """
    head = f'{{"type":"message","group":"{group}"' + ("" if offset is None else f',"offset":{offset}')
    if isinstance(data, bytes):
        return f'{head},"base64":"{b64encode(data).decode()}"}}'
    if _is_container(data):
        if "\n" in data or "\r" in data:  # between values: in a string they are escaped
            data = data.replace("\n", " ").replace("\r", " ")
        return f'{head},"data":{data}}}'
    return f'{head},"data":{encode_json(data)}}}'


def _is_container(text: str) -> bool:
    """Whether ``text`` is a JSON object or array."""
    start = text.lstrip(" \t\r\n")[:1]
    if start not in ("{", "["):
        return False
    try:
        _decode(text)
    except (ValueError, RecursionError):
        return False
    return True


# Of event streams --------------------------------------------------------------------------------

#: Statuses of the answer to a POST, by the code of the error.
STATUSES = {
    "bad_request": 400,
    "unsupported": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "too_large": 413,
    "limit": 429,
    "internal": 500,
    "unavailable": 503,
    "timeout": 504,
}


def write_event_id(positions: Sequence[Position | None]) -> str:
    """Write the positions of a stream's groups as the id of an event."""
    return ",".join("" if at is None else f"{at.offset}:{at.epoch}" for at in positions)


def read_event_id(event_id: str, group_count: int) -> list[Position | None]:
    """Read the id of an event.

    Raises:
        RequestRefused: it is none, or one of a stream of other groups.
    """
    parts = event_id.split(",")
    if len(parts) != group_count:
        raise _wrong("the id of an event has one position for each group, or nothing")
    return [_read_id_part(part) if part else None for part in parts]


def _read_id_part(part: str) -> Position:
    offset, _, epoch = part.partition(":")
    if _OFFSET.fullmatch(offset) and int(offset) <= MAX_INTEGER and _EPOCH.fullmatch(epoch):
        return Position(int(offset), epoch)
    raise _wrong("a position in the id of an event is `offset:epoch`")
