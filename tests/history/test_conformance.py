"""The suite for histories, over the one in the database; the in-process layer tells of what it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from fullduplex.history import publishing, store
from fullduplex.history.models import KeptGroup
from fullduplex.history.store import DatabaseHistory
from fullduplex.layers.base import BaseLayer, Message
from fullduplex.layers.history import Keep, Missed, Position
from fullduplex.layers.memory import MemoryLayer
from fullduplex.testing.histories import HistoryConformance
from tests.history.databases import ALIAS, forget


class Layer(MemoryLayer):
    """Carries what the database keeps. Threads are the test's, and leave no connection behind."""

    history = DatabaseHistory()

    def append(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        try:
            return self.history.append(group, data, keep, key=key)
        finally:
            connections[ALIAS].close()

    async def aappend(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        return await self.history.aappend(group, data, keep, key=key)

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        try:
            return self.history.read(group, keep, after=after, max_count=max_count, max_bytes=max_bytes)
        finally:
            connections[ALIAS].close()

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        return await self.history.aread(group, keep, after=after, max_count=max_count, max_bytes=max_bytes)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
class TestDatabase(HistoryConformance):
    ordered_count = 50

    @pytest.fixture(autouse=True)
    def _layer(self, database: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self._made = Layer()
        for module in (publishing, store):
            monkeypatch.setattr(module, "get_layer", lambda: self._made)
        yield
        asyncio.run(forget())

    def make_layer(self) -> BaseLayer:
        return self._made

    async def end_epoch(self) -> None:
        await sync_to_async(KeptGroup.objects.all().delete)()
