"""Messages to bytes and back, encrypted where keys are configured."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.base import Event, Message

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_TEXT = b"t"
_BINARY = b"b"
_EVENT = b"e"
_KEY = b"i"  # an idempotency key, behind its length, in front of the others


class Seal:
    """One byte for the kind of a message, then its data; a Fernet token of both where there are keys.

    Args:
        keys: the first encrypts, all decrypt: to change it, put the new one in front, and take the old one
            away when every process knows the new. Any strings; they are hashed to the size of a key.

    Raises:
        ConfigurationError: ``keys`` is no list, or the package ``cryptography`` is missing.
    """

    def __init__(self, keys: Sequence[str | bytes] | None) -> None:
        self._fernet = make_fernet(keys)

    def close(self, message: Message, key: str = "") -> bytes:
        """
        Args:
            key: an idempotency key that travels with the message.
        """
        if isinstance(message, str):
            data = _TEXT + message.encode()
        else:
            data = (_EVENT if isinstance(message, Event) else _BINARY) + message
        if key:
            encoded = key.encode()
            data = _KEY + len(encoded).to_bytes(2) + encoded + data
        return self._fernet.encrypt(data) if self._fernet is not None else data

    def open(self, data: bytes) -> Message:
        """Undo :meth:`close`.

        Raises:
            ValueError: ``data`` was sealed with other keys, or was never sealed here.
        """
        return self.open_keyed(data)[0]

    def open_keyed(self, data: bytes) -> tuple[Message, str]:
        """Like :meth:`open`; return the idempotency key, too."""
        if self._fernet is not None:
            data = decrypt(self._fernet, data)
        if data[:1] != _KEY:
            return self._read(data), ""
        end = 3 + int.from_bytes(data[1:3])
        return self._read(data[end:]), data[3:end].decode()

    def _read(self, data: bytes) -> Message:
        if data[:1] == _TEXT:
            return data[1:].decode()
        if data[:1] == _BINARY:
            return data[1:]
        if data[:1] == _EVENT:
            return Event(data[1:])
        raise ValueError("not a message of this layer: other keys, or another program uses this prefix")


def make_fernet(keys: Sequence[str | bytes] | None) -> MultiFernet | None:
    if not keys:
        return None
    if isinstance(keys, (str, bytes)):
        raise ConfigurationError("symmetric_encryption_keys is a list of keys, even for a single one.")
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ConfigurationError("symmetric_encryption_keys needs cryptography: pip install cryptography.") from error
    return MultiFernet([Fernet(_derive(key)) for key in keys])


def decrypt(fernet: MultiFernet, token: bytes, ttl_s: int | None = None) -> bytes:
    """
    Raises:
        ValueError: none of the keys fits, or it is older than ``ttl_s``.
    """
    from cryptography.fernet import InvalidToken

    try:
        return fernet.decrypt(token, ttl_s)
    except InvalidToken:
        raise ValueError("no key of symmetric_encryption_keys fits") from None


def _derive(key: str | bytes) -> bytes:
    """As channels_redis makes keys of the same setting."""
    data = key.encode() if isinstance(key, str) else key
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest())
