"""``WebSocketResponse``."""

from __future__ import annotations

from fullduplex.sockets.response import WebSocketResponse, may_accept_with


def test_it_is_a_101_without_content() -> None:
    response = WebSocketResponse()
    assert (response.status_code, response.content, response.streaming) == (101, b"", False)
    assert response.reason_phrase == "Switching Protocols"


def test_the_accept_event_has_lower_case_headers_and_every_cookie() -> None:
    response = WebSocketResponse("chat", {"X-One": "1"})
    response["Content-Language"] = "de"
    response.set_cookie("a", "1")
    response.delete_cookie("b")
    event = response.accept_event()
    assert (event["type"], event["subprotocol"]) == ("websocket.accept", "chat")
    names = [name for name, _ in event["headers"]]
    assert names == [b"x-one", b"set-cookie", b"set-cookie"]
    assert event["headers"][1][1] == b"a=1; Path=/"


def test_what_may_go_out_with_an_accept() -> None:
    assert may_accept_with("X-Anything")
    assert may_accept_with("Set-Cookie")
    for name in ("Content-Type", "content-security-policy", "ETag", "Connection", "UPGRADE", "Sec-WebSocket-Accept"):
        assert not may_accept_with(name)
