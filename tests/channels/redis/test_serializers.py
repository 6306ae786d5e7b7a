"""Dict messages as bytes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from fullduplex.channels.redis import serializers
from fullduplex.channels.redis.core import RedisChannelLayer
from fullduplex.channels.redis.serializers import (
    BaseMessageSerializer,
    JSONSerializer,
    MsgPackSerializer,
    SerializerDoesNotExist,
    SerializersRegistry,
    registry,
)
from fullduplex.exceptions import ConfigurationError

MESSAGE = {"type": "x", "list": [1, None, True], "text": "Grüße"}


@pytest.mark.parametrize("cls", [JSONSerializer, MsgPackSerializer])
@pytest.mark.parametrize(
    "options", [{}, {"random_prefix_length": 12}, {"symmetric_encryption_keys": ["k"], "expiry": 60}]
)
def test_there_and_back(cls: Any, options: dict[str, Any]) -> None:
    serializer = cls(**options)
    data = serializer.serialize(MESSAGE)
    assert isinstance(data, bytes)
    assert serializer.deserialize(data) == MESSAGE


def test_bytes_pass_through_msgpack_alone() -> None:
    assert MsgPackSerializer().deserialize(MsgPackSerializer().serialize({"b": b"\xff"})) == {"b": b"\xff"}
    with pytest.raises(TypeError):
        JSONSerializer().serialize({"b": b"\xff"})


def test_other_keys_are_refused() -> None:
    data = JSONSerializer(symmetric_encryption_keys=["one"]).serialize(MESSAGE)
    with pytest.raises(ValueError, match="no key"):
        JSONSerializer(symmetric_encryption_keys=["two"]).deserialize(data)


def test_a_project_may_register_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dates(BaseMessageSerializer):
        def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
            return str(message["date"]).encode()

        def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
            return {"date": datetime.date.fromisoformat(message.decode())}

    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    registry.register_serializer("dates", Dates)
    layer = RedisChannelLayer(serializer_format="dates")
    message = {"date": datetime.date(2026, 1, 2)}
    assert layer.deserialize(layer.serialize(message)) == message


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SerializerDoesNotExist, match="yaml"):
        RedisChannelLayer(serializer_format="yaml")
    for wrong in (lambda: None, object):
        with pytest.raises(AssertionError, match="serialize and deserialize"):
            SerializersRegistry().register_serializer("x", wrong)
    monkeypatch.setattr(serializers, "msgpack", None)
    with pytest.raises(ConfigurationError, match=r"needs the package `msgpack`.*serializer_format='json'"):
        RedisChannelLayer()
