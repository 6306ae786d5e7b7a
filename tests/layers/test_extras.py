"""A layer whose extra is not installed says how to install it."""

from __future__ import annotations

import sys

import pytest
from django.test import override_settings

from fullduplex.checks import check_layer
from fullduplex.exceptions import InvalidChannelLayerError
from fullduplex.layers.channels import ChannelLayerManager


@pytest.mark.parametrize("backend", ["fullduplex.layers.redis.RedisLayer", "channels_redis.core.RedisChannelLayer"])
def test_redis(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    ours = ("fullduplex.layers.redis", "fullduplex.channels.redis")
    for name in [name for name in sys.modules if name.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend}}):
        [error] = check_layer()
        assert "pip install 'fullduplex[redis]'" in error.msg
        with pytest.raises(InvalidChannelLayerError, match=r"pip install 'fullduplex\[redis\]'"):
            ChannelLayerManager()["default"]
