"""RFC 6455 sections 1.3 and 4.2.1, and RFC 8441 section 5: which requests open a socket."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.handshake import accept_value, read_handshake

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def head(
    *, method: str = "GET", http_version: str = "1.1", end_stream: bool = True, **fields: bytes | None
) -> RequestHead:
    """The example of section 1.2, with fields changed, or left out where None."""
    values: dict[str, bytes | None] = {
        "host": b"server.example.com",
        "upgrade": b"websocket",
        "connection": b"Upgrade",
        "sec_websocket_key": KEY,
        "origin": b"http://example.com",
        "sec_websocket_protocol": b"chat, superchat",
        "sec_websocket_version": b"13",
        **fields,
    }
    headers = [(name.replace("_", "-").encode(), value) for name, value in values.items() if value is not None]
    return RequestHead(method, b"/chat", headers, http_version, end_stream, upgrade=b"websocket")


def refusal(request: RequestHead) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        read_handshake(request)
    return caught.value


def test_1_3_the_accept_value() -> None:
    assert accept_value(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_1_2_the_example() -> None:
    handshake = read_handshake(head())
    assert handshake.key == KEY
    assert handshake.subprotocols == ["chat", "superchat"]
    assert handshake.extensions == []


@pytest.mark.parametrize(
    "request_head",
    [
        head(upgrade=b"WebSocket"),
        head(upgrade=b"h2c, websocket"),
        head(connection=b"keep-alive, Upgrade"),  # Firefox
        head(connection=b"UPGRADE"),
        head(sec_websocket_protocol=None),
        head(origin=None),
    ],
)
def test_4_2_1_variants_that_are_valid(request_head: RequestHead) -> None:
    assert read_handshake(request_head).key == KEY


@pytest.mark.parametrize(
    "request_head",
    [
        head(method="POST"),
        head(method="HEAD"),
        head(http_version="1.0"),
        head(end_stream=False),
        head(upgrade=None),
        head(upgrade=b"h2c"),
        head(upgrade=b"websocketx"),
        head(connection=None),
        head(connection=b"keep-alive"),
        head(sec_websocket_key=None),
        head(sec_websocket_key=b""),
        head(sec_websocket_key=b"dGhlIHNhbXBsZSBub25j"),  # 15 bytes
        head(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZSE="),  # 17 bytes
        head(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZ@=="),
        head(sec_websocket_key=b"=" * 24),
        head(sec_websocket_protocol=b"chat room"),
        head(sec_websocket_protocol=b"chat, (x)"),
        head(sec_websocket_extensions=b"a b"),
    ],
)
def test_4_2_1_what_gets_400(request_head: RequestHead) -> None:
    assert refusal(request_head).status_hint == 400


def test_4_2_1_a_key_in_two_lines() -> None:
    request = head()
    request.headers.append((b"sec-websocket-key", KEY))
    assert refusal(request).status_hint == 400


@pytest.mark.parametrize("version", [None, b"", b"8", b"14", b"013", b"13, 8"])
def test_4_4_another_version_gets_426_and_is_told_ours(version: bytes | None) -> None:
    error = refusal(head(sec_websocket_version=version))
    assert error.status_hint == 426
    assert (b"sec-websocket-version", b"13") in error.headers
    assert (b"upgrade", b"websocket") in error.headers  # RFC 9110 section 15.5.22


# RFC 8441 ---------------------------------------------------------------------------------------

HTTP2: Fields = [(b"host", b"a"), (b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat")]


def test_8441_5_extended_connect() -> None:
    request = RequestHead("CONNECT", b"/chat", HTTP2, "2", end_stream=False, upgrade=b"websocket", stream_id=1)
    handshake = read_handshake(request)
    assert handshake.key is None
    assert handshake.subprotocols == ["chat"]


@pytest.mark.parametrize(
    ("method", "upgrade", "end_stream"),
    [
        ("GET", b"websocket", False),
        ("CONNECT", b"other", False),
        ("CONNECT", None, False),
        ("CONNECT", b"websocket", True),
    ],
)
def test_8441_5_what_gets_400(method: str, upgrade: bytes | None, end_stream: bool) -> None:
    assert refusal(RequestHead(method, b"/", HTTP2, "2", end_stream, upgrade=upgrade)).status_hint == 400


def test_8441_5_another_version_gets_426() -> None:
    error = refusal(RequestHead("CONNECT", b"/", [], "2", False, upgrade=b"websocket"))
    assert error.status_hint == 426
    assert error.headers == [(b"sec-websocket-version", b"13")]  # HTTP/2 has no Upgrade field
