"""What an extra brings says how to install it where it is missing."""

from __future__ import annotations

import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend
from django.test import override_settings

from fullduplex.checks import check_layer
from fullduplex.exceptions import InvalidChannelLayerError
from fullduplex.layers.channels import ChannelLayerManager


@pytest.mark.parametrize("backend", ["fullduplex.layers.redis.RedisLayer", "channels_redis.core.RedisChannelLayer"])
def test_redis(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    loaded = ("fullduplex.layers.redis", "fullduplex.channels.redis", "redis.")
    for name in [name for name in sys.modules if name.startswith(loaded)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend}}):
        [error] = check_layer()
        assert "pip install 'fullduplex[redis]'" in error.msg
        with pytest.raises(InvalidChannelLayerError, match=r"pip install 'fullduplex\[redis\]'"):
            ChannelLayerManager()["default"]


@pytest.mark.parametrize("missing", ["psycopg", "greenlet"])
def test_postgresql(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    loaded = ("fullduplex.db.postgresql", "fullduplex.db.turns", "django.db.backends.postgresql", "psycopg", "greenlet")
    for name in [name for name in sys.modules if name.startswith(loaded)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'fullduplex\[postgres\]'"):
        load_backend("fullduplex.db.postgresql")
