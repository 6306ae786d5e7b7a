"""How the input is cut changes nothing: what fuzzing has found."""

from __future__ import annotations

import pytest

from fullduplex.wire.events import ProtocolFailed
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_library import LIBRARIES
from tests.wire.http2_frames import (
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    POST,
    Peer,
    connection_error,
    frame,
    headers,
    reset,
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_that_is_reset_and_used_again(library: str, whole: bool) -> None:
    peer = Peer(library)
    pieces = [headers(POST, end=False), reset(1) + headers(GET)]
    assert connection_error(peer, *([b"".join(pieces)] if whole else pieces)) == ErrorCode.STREAM_CLOSED


def test_a_reason_says_nothing_of_memory(library: str) -> None:
    peer = Peer(library)
    events = peer.feed(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x87\x1f\xff\xff\xff"))
    [failed] = [event for event in events if isinstance(event, ProtocolFailed)]
    assert "memory at" not in str(failed.error)
    assert len(str(failed.error)) < 200
