"""Request ids: a trusted proxy's, else our own."""

from __future__ import annotations

import pytest

from fullduplex.gateway.forwarded import TrustedPeers
from fullduplex.gateway.request_id import RequestIds, request_id


def named(*values, client=("127.0.0.1", 1)):
    headers = [(b"host", b"h"), *((b"x-request-id", value) for value in values)]
    scope = {"headers": headers, "client": client, "server": ("127.0.0.1", 80), "extensions": {}}
    RequestIds(TrustedPeers(["127.0.0.1"])).apply(scope)
    name = request_id(scope)
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
    assert request_id({}) is None
    assert request_id({"extensions": {}}) is None
