"""The two sides: Channels with channels_redis, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from tests.layers.conftest import valkey

__all__ = ["valkey"]


class Side:
    """One of the two.

    Attributes:
        is_theirs: whether it is Channels.
    """

    def __init__(self, is_theirs: bool) -> None:
        self.is_theirs = is_theirs

    def module(self, name: str) -> Any:
        """Return a module of Channels, or ours of that name."""
        return import_module(f"channels.{name}" if self.is_theirs else f"fullduplex.channels.{name}")

    def redis(self, name: str) -> Any:
        """Return a channel layer's class, ``core.RedisChannelLayer`` or ``pubsub.RedisPubSubChannelLayer``."""
        place, _, kind = name.partition(".")
        module: ModuleType = import_module(
            f"{'channels_redis' if self.is_theirs else 'fullduplex.channels.redis'}.{place}"
        )
        return getattr(module, kind)

    def of(self, *, ours: Any, theirs: Any) -> Any:
        """Return what comes of the scenario on this side."""
        return theirs if self.is_theirs else ours

    def run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        """Run it in a loop of its own; what Channels leaves behind is cancelled with it."""
        return asyncio.run(scenario)

    async def outcome(self, work: Any) -> Any:
        """Return what ``work`` returns, or the name of the exception that it raises."""
        try:
            return await work
        except Exception as error:
            return type(error).__name__


@pytest.fixture(params=[False, True], ids=["ours", "theirs"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "complaints" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))  # theirs warn; ours have tests of their own
            item.add_marker(pytest.mark.django_db(transaction=True))  # theirs may ask for connections where ours do not
