"""Request ids: a trusted proxy's, else our own."""

from __future__ import annotations

import pytest

from fullduplex.gateway.forwarded import TrustedPeers
from fullduplex.gateway.request_id import RequestIds, names


def named(*values, client=("127.0.0.1", 1)):
    headers = [(b"host", b"h"), *((b"x-request-id", value) for value in values)]
    scope = {"headers": headers, "client": client, "server": ("127.0.0.1", 80), "extensions": {}}
    RequestIds(TrustedPeers(["127.0.0.1"])).apply(scope)
    name = names(scope)["id"]
    assert [value for header, value in scope["headers"] if header == b"x-request-id"] == [name.encode()]
    assert scope["headers"][0] == (b"host", b"h")
    assert len(headers) == 1 + len(values)
    return name


def test_a_trusted_proxy_s_id_is_kept():
    assert named(b"a-1.b_2~c=") == "a-1.b_2~c="


@pytest.mark.parametrize("values", [(), (b"",), (b"a b",), (b"a\x1b",), (b"x" * 129,), (b'"',), (b"\xff",)])
def test_without_a_good_one_a_new_one_is_made(values):
    first, second = named(*values), named(*values)
    assert len(first) == 32
    assert first != second


def test_a_client_cannot_choose_its_id():
    assert named(b"mine", client=("9.9.9.9", 1)) != "mine"


def test_without_ids_there_is_none():
    assert names({}) == {}
    assert names({"extensions": {}}) == {}


TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "known"),
    [
        (b"00-%b-00f067aa0ba902b7-01" % TRACE, True),
        (b"cc-%b-00f067aa0ba902b7-01-of-a-later-version" % TRACE, True),
        (b"ff-%b-00f067aa0ba902b7-01" % TRACE, False),
        (b"00-%b-0000000000000000-01" % TRACE, False),
        (b"00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        (b"00-%b-00f067aa0ba902b7-01" % TRACE.upper(), False),
        (b"00-%b" % TRACE, False),
    ],
)
def test_the_trace_that_a_request_belongs_to(traceparent, known):
    scope = {"headers": [(b"traceparent", traceparent)], "client": None, "server": None, "extensions": {}}
    RequestIds(TrustedPeers([])).apply(scope)
    assert names(scope).get("trace_id") == (TRACE.decode() if known else None)
