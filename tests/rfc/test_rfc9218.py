"""RFC 9218: priorities of requests, as far as a client can be wrong about them; over both libraries."""

from __future__ import annotations

import pytest

from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES
from tests.wire.http2_frames import GET, PRIORITY_UPDATE, Peer, connection_error, frame, settings


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(library: str) -> Peer:
    return Peer(library)


def test_2_1_the_setting_is_0_or_1(library: str) -> None:
    assert Peer(library, start=PREFACE + settings((9, 1))).head(GET).target == b"/"
    assert connection_error(Peer(library, start=b""), PREFACE + settings((9, 2))) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("value", [b"u=1, i", b"u=99", b'"', b"\xff"])
def test_4_an_unknown_priority_is_ignored(peer: Peer, value: bytes) -> None:
    assert peer.head([*GET, (b"priority", value)]).headers[1] == (b"priority", value)


def test_7_1_a_request_may_be_prioritized_before_it_comes(peer: Peer) -> None:
    assert (
        peer.feed(frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1, i"), frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01")) == []
    )
    assert peer.head(GET).target == b"/"


@pytest.mark.parametrize(
    ("stream_id", "payload", "code"),
    [
        (1, b"\0\0\0\x01u=1", ErrorCode.PROTOCOL_ERROR),
        (0, b"\0\0\0\0u=1", ErrorCode.PROTOCOL_ERROR),
        (0, b"\0\0\x01", ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_7_1_priority_update_is_of_the_connection_and_names_a_stream(
    peer: Peer, stream_id: int, payload: bytes, code: int
) -> None:
    assert connection_error(peer, frame(PRIORITY_UPDATE, 0, stream_id, payload)) == code
