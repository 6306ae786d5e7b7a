"""Payloads: what may be sent, and what it becomes."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest
from django.utils.safestring import mark_safe

from fullduplex.realtime.prepared import Prepared, prepare


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ("text", "text"),
        ("", ""),
        (b"\x00\xff", b"\x00\xff"),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ([], "[]"),
        ({"ä": "世"}, '{"ä":"世"}'),
        ([datetime.date(2026, 1, 2), decimal.Decimal("1.5"), uuid.UUID(int=1)],
         '["2026-01-02","1.5","00000000-0000-0000-0000-000000000001"]'),
    ],
)  # fmt: skip
def test_what_may_be_sent(payload: Any, data: str | bytes) -> None:
    prepared = prepare(payload)
    assert type(prepared.data) is type(data)
    assert prepared.data == data
    assert prepared.frames == {}


@pytest.mark.parametrize("payload", [None, 1, 1.5, ("a",), {"a"}, bytearray(b"a"), object(), {"a": object()}, [{1, 2}]])
def test_type_errors(payload: Any) -> None:
    with pytest.raises(TypeError):
        prepare(payload)


@pytest.mark.parametrize("payload", [{"a": float("nan")}, [float("inf")], "\ud800", {"a": "\ud800"}])
def test_value_errors(payload: Any) -> None:
    with pytest.raises(ValueError):
        prepare(payload)


def test_a_payload_that_holds_itself() -> None:
    payload: list[Any] = []
    payload.append(payload)
    with pytest.raises(ValueError):
        prepare(payload)


def test_subclasses_become_plain() -> None:
    class Bytes(bytes):
        pass

    assert type(prepare(mark_safe("<b>")).data) is str
    assert type(prepare(Bytes(b"x")).data) is bytes


@pytest.mark.parametrize(("data", "size_bytes"), [("abc", 3), ("äb", 3), ("\U0001f600", 4), (b"abc", 3), ("", 0)])
def test_size_in_bytes(data: str | bytes, size_bytes: int) -> None:
    assert Prepared(data).size_bytes == size_bytes
