"""How dict messages become bytes: msgpack, JSON, or what a project registers."""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.redis.sealing import decrypt, make_fernet

try:
    import msgpack
except ImportError:
    msgpack = None


class SerializerDoesNotExist(KeyError):
    """No serializer is registered under this name."""


class BaseMessageSerializer(ABC):
    """Turns messages into bytes; encrypted, and behind a random prefix, where that is asked for.

    Args:
        symmetric_encryption_keys: the first encrypts, all decrypt.
        random_prefix_length: bytes in front, which make equal messages differ.
        expiry: seconds after which an encrypted message is refused, and 10 more for clocks that differ.
    """

    def __init__(
        self,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 0,
        expiry: float | None = None,
    ) -> None:
        self.random_prefix_length = random_prefix_length
        self.expiry = expiry
        self.crypter = make_fernet(symmetric_encryption_keys)

    @abstractmethod
    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes: ...

    @abstractmethod
    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any: ...

    def serialize(self, message: Any) -> bytes:
        data = self.as_bytes(message)
        if self.crypter is not None:
            data = self.crypter.encrypt(data)
        if self.random_prefix_length > 0:
            data = random.randbytes(self.random_prefix_length) + data
        return data

    def deserialize(self, message: bytes) -> Any:
        """
        Raises:
            ValueError: it was encrypted with other keys, or is no message.
        """
        data = message[max(self.random_prefix_length, 0) :]
        if self.crypter is not None:
            data = decrypt(self.crypter, data, None if self.expiry is None else int(self.expiry) + 10)
        return self.from_bytes(data)


class JSONSerializer(BaseMessageSerializer):
    """For messages without bytes in them."""

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        return json.dumps(message, *args, **kwargs).encode()

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return json.loads(message, *args, **kwargs)


class MsgPackSerializer(BaseMessageSerializer):
    """The default. Takes the package ``msgpack``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if msgpack is None:
            raise ConfigurationError(
                "The channel layer needs the package `msgpack` (pip install 'fullduplex[redis]'), or the option "
                "serializer_format='json'."
            )
        super().__init__(*args, **kwargs)

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        data: bytes = msgpack.packb(message, *args, **kwargs)
        return data

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return msgpack.unpackb(message, *args, **kwargs)


class SerializersRegistry:
    """Serializers by the name that ``serializer_format`` says."""

    def __init__(self) -> None:
        self._classes: dict[str, Any] = {}

    def register_serializer(self, format: str, serializer_class: Any) -> None:
        """
        Raises:
            AssertionError: it is no class with ``serialize`` and ``deserialize``.
        """
        fits = isinstance(serializer_class, type) and all(
            hasattr(serializer_class, method) for method in ("serialize", "deserialize")
        )
        if not fits:
            raise AssertionError("a serializer is a class with the methods serialize and deserialize")
        self._classes[format] = serializer_class

    def get_serializer(self, format: str, *args: Any, **kwargs: Any) -> Any:
        """
        Raises:
            SerializerDoesNotExist: nothing is registered under ``format``.
        """
        try:
            serializer_class = self._classes[format]
        except KeyError:
            raise SerializerDoesNotExist(format) from None
        return serializer_class(*args, **kwargs)


registry = SerializersRegistry()
registry.register_serializer("json", JSONSerializer)
registry.register_serializer("msgpack", MsgPackSerializer)
