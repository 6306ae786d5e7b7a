"""What every test may use: ``async def`` tests run in a loop of their own, in debug-free asyncio.

Hypothesis tries the same examples in every run, and takes the time that it needs: what a test finds must depend
neither on luck nor on how busy the machine is. Looking for something new is what ``tests.fuzz`` is for.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

_in_memory: list[tuple[threading.Thread, sqlite3.Connection]] = []  # with the thread that opened it
_get_new_connection = DatabaseWrapper.get_new_connection


def _note_new_connection(wrapper: Any, params: Any) -> Any:
    connection = _get_new_connection(wrapper, params)
    if wrapper.is_in_memory_db():
        _in_memory.append((threading.current_thread(), connection))
    return connection


DatabaseWrapper.get_new_connection = _note_new_connection  # type: ignore[method-assign]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end in a fresh event loop; a task left behind fails it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        await pyfuncitem.obj(**arguments)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left behind: {left}"

    asyncio.run(run())
    return True


@pytest.fixture(autouse=True)
def _closes_memory_databases() -> Iterator[None]:
    """Django closes no SQLite database in memory; where its own handler used one, nobody does: 3.13 warns."""
    yield
    for thread, connection in _in_memory[:]:
        if not thread.is_alive():
            connection.close()
            _in_memory.remove((thread, connection))
