from __future__ import annotations

from base64 import b64decode
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullduplex.endpoint import grammar
from fullduplex.exceptions import RequestRefused
from fullduplex.layers.history import Position
from tests.endpoint.vectors import each, entries


def judged(text: str) -> dict[str, Any]:
    """What a server makes of a first message, as the vectors say it."""
    request_id = None
    try:
        message = grammar.read_message(text)
        if message["type"] in ("ping", "pong"):
            return {"message": {"type": "pong"} if message["type"] == "ping" else None}
        request_id = grammar.read_id(message)
        request = grammar.read_request(message, request_id)
        grammar.check_text(text, message)
    except grammar.NotThisProtocol:
        return {"close": grammar.BAD_MESSAGE}
    except RequestRefused as error:
        return {"error": {"id": request_id, "code": error.code}}
    told = {"type": type(request).__name__.lower(), **asdict(request)}
    if isinstance(told.get("after"), Position):
        told["after"] = told["after"]._asdict()
    return {"request": told}


@pytest.mark.parametrize("entry", entries("client_messages"), ids=lambda entry: entry["name"].replace(" ", "-"))
def test_reads_what_clients_say(entry: dict[str, Any]) -> None:
    assert judged(entry["text"]) == entry["then"]


@each("envelopes")
def test_envelopes(entry: dict[str, Any]) -> None:
    data = b64decode(entry["base64"]) if "base64" in entry else entry["text"]
    text = grammar.envelope(data, "chat.1", entry["offset"])
    assert grammar.read_message(text) == entry["message"]
    assert text == entry.get("exact", text)
    assert not set("\r\n") & set(text)  # an event of a stream is one line


@each("event_ids")
def test_event_ids(entry: dict[str, Any]) -> None:
    count = len(entry["groups"])
    if not entry.get("valid", True):
        with pytest.raises(RequestRefused):
            grammar.read_event_id(entry["id"], count)
        return
    positions = [position and Position(**position) for position in entry["positions"]]
    assert grammar.read_event_id(entry["id"], count) == positions
    assert grammar.write_event_id(positions) == entry["id"]


def test_a_number_that_cannot_be_said_again_is_no_message() -> None:
    assert grammar.read_message('{"type":"publish","n":1e308}')["n"] == 1e308
    with pytest.raises(grammar.NotThisProtocol):
        grammar.read_message('{"type":"publish","n":1e999}')


def test_deep_nesting_is_no_message() -> None:
    with pytest.raises(grammar.NotThisProtocol):
        grammar.read_message("[" * 100_000)
    text = "[" * 100_000 + "]" * 100_000
    assert grammar.read_message(grammar.envelope(text, "a", None))["data"] == text


@given(st.text())
def test_any_text_arrives_as_it_was(text: str) -> None:
    data = grammar.read_message(grammar.envelope(text, "a", 1))["data"]
    assert data == text or not isinstance(data, str)
