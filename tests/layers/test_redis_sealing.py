"""Messages as bytes, and their encryption."""

from __future__ import annotations

import sys

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.redis.sealing import Seal


@pytest.mark.parametrize("keys", [None, [], ["key"]])
@pytest.mark.parametrize("message", ["", "text", b"", b"\x00\xff", "Grüße"])
def test_there_and_back(keys: list[str] | None, message: str | bytes) -> None:
    seal = Seal(keys)
    read = seal.open(seal.close(message))
    assert (type(read), read) == (type(message), message)


def test_what_is_encrypted_cannot_be_read() -> None:
    sealed = Seal(["key"]).close("a secret")
    assert b"secret" not in sealed
    with pytest.raises(ValueError, match="no key of symmetric_encryption_keys fits"):
        Seal(["other"]).open(sealed)
    with pytest.raises(ValueError, match="not a message of this layer"):
        Seal(None).open(b"\x80" + sealed)


def test_keys_change_one_process_at_a_time() -> None:
    old, between, new = Seal(["old"]), Seal(["new", "old"]), Seal([b"new"])
    assert between.open(old.close("x")) == "x"
    assert new.open(between.close("x")) == "x"


def test_plain_text_does_not_pass_for_encrypted() -> None:
    with pytest.raises(ValueError, match="no key"):
        Seal(["key"]).open(Seal(None).close("forged"))


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="a list of keys"):
        Seal("key")
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigurationError, match="pip install cryptography"):
        Seal(["key"])
