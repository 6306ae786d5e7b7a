"""Field sections of responses, and what is remembered of the last one."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.events import Fields
from fullduplex.wire.http2_fields import whole_fields

DATE = [(b"date", b"Sat, 28 Nov 2026 22:00:00 GMT")]
TEXT = (b"content-type", b"text/plain")


def test_an_equal_response_has_the_same_fields() -> None:
    first = whole_fields(200, [TEXT, (b"content-length", b"2")], DATE, 2)
    assert first == [(b":status", b"200"), TEXT, *DATE, (b"content-length", b"2")]
    assert whole_fields(200, [TEXT, (b"content-length", b"2")], DATE, 2) == first


def test_what_differs_is_not_taken_for_the_last_response() -> None:
    headers = [TEXT]
    whole_fields(200, headers, DATE, 2)
    assert whole_fields(404, headers, DATE, 2)[0] == (b":status", b"404")
    assert whole_fields(404, headers, DATE, 3)[-1] == (b"content-length", b"3")
    assert whole_fields(404, headers, [(b"date", b"later")], 3)[-2] == (b"date", b"later")
    headers.append((b"etag", b'"1"'))
    assert (b"etag", b'"1"') in whole_fields(404, headers, DATE, 3)


def test_a_field_that_is_a_list_may_change_and_is_not_remembered() -> None:
    field = [b"x-who", b"ada"]
    headers: Fields = [field]  # type: ignore[list-item]  # ASGI allows any iterable of two
    assert (b"x-who", b"ada") in whole_fields(200, headers, DATE, 0)
    field[1] = b"bob"
    assert (b"x-who", b"bob") in whole_fields(200, headers, DATE, 0)


def test_a_response_that_cannot_be_sent_is_not_remembered() -> None:
    for headers in ([(b"content-length", b"3")], [(b"x", b"a\r\nb: c")]):
        for _ in range(2):
            with pytest.raises(LocalProtocolError):
                whole_fields(200, headers, DATE, 2)
