"""Django's ``runtests.py``, with every test on an event loop, where the environment says so.

A test that is sync is one turn, and what it asks of the ORM goes through the ``a...`` methods: ``Model.objects.get()``
is ``await Model.objects.aget()`` in it. One that is async is awaited as it is. Both use the connections of the thread,
in which Django has begun the transaction of the test.
"""

from __future__ import annotations

import asyncio
import functools
import os
import runpy
import sys
import unittest
import weakref
from collections import Counter
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

METHODS = {
    "QuerySet": "aggregate count get create bulk_create bulk_update get_or_create update_or_create earliest latest "
    "first last in_bulk delete update exists contains explain",
    "Model": "save delete refresh_from_db",
}
calls: Counter[str] = Counter()


def put_in_place() -> None:
    from asgiref.sync import AsyncToSync
    from django.db import models
    from django.db.models import query

    from fullduplex.db import turns
    from fullduplex.db.calls import _sessions, adapt, install
    from fullduplex.db.seats import Seat, seats_of
    from fullduplex.db.sessions import Session, current_inside, inside
    from fullduplex.threads.connections import thread_connections

    class TestSession(Session):
        """That of a test: it has the connections of the thread, and keeps them."""

        def __init__(self) -> None:
            super().__init__(seats_of(asyncio.get_running_loop()), None)
            self._seat = Seat(True)
            self.wrappers = self._seat.wrappers = thread_connections()

        def _is_open(self) -> bool:
            return True

        def __del__(self) -> None:
            pass

    class Inline(Executor):
        """Runs what tests give to ``sync_to_async`` as a turn: a thread would have another connection."""

        def __init__(self, session: Session) -> None:
            self.session = session

        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            caller: Any = current_inside() or self.session
            return asyncio.get_running_loop().create_task(caller.call(function, args, kwargs))

    async def on_loop(method: Any) -> None:
        session = TestSession()
        AsyncToSync.loop_thread_executors[asyncio.get_running_loop()] = Inline(session)
        _sessions.set((weakref.ref(asyncio.current_task()), session))  # type: ignore[type-var]  # there is one
        if isinstance(method, AsyncToSync):
            await method.awaitable()
            return
        assert await session.enter()
        turn, outcome = turns.begin(session, lambda: (setattr(turns.current_turn(), "is_test", True), method())[1])
        await turns.finish(turn, outcome)

    def call_test_method(self: unittest.TestCase, method: Any) -> None:
        asyncio.run(on_loop(method))

    def through(name: str, original: Any, twin: Any) -> Any:
        @functools.wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            turn: Any = turns.current_turn()
            if turn is None or not getattr(turn, "is_test", False):
                return original(self, *args, **kwargs)
            calls[name] += 1

            async def wait() -> Any:
                with inside(turn.owner):
                    return await twin(self, *args, **kwargs)

            return turns.wait_for(wait())

        return call

    install()
    unittest.TestCase._callTestMethod = call_test_method  # type: ignore[attr-defined]
    for kind, names in METHODS.items():
        holder: Any = query.QuerySet if kind == "QuerySet" else models.Model
        for name in names.split():
            original = getattr(holder, name)

            def twin(self: Any, *args: Any, _name: str = f"a{name}", **kwargs: Any) -> Any:
                return getattr(self, _name)(*args, **kwargs)

            setattr(holder, name, through(name, original, twin))
    fetch = query.QuerySet._fetch_all

    async def afetch(self: Any) -> None:
        await adapt(fetch)(self)

    query.QuerySet._fetch_all = through("async for", fetch, afetch)


if __name__ == "__main__":
    sys.argv[0] = str(Path.cwd() / "runtests.py")
    sys.path.insert(0, str(Path.cwd()))
    if os.environ["ENGINE"].startswith("fullduplex"):
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.db.django_settings")
        import django.test.runner

        setup = django.test.runner.DiscoverRunner.setup_databases

        def setup_databases(self: Any, **kwargs: Any) -> Any:
            databases = setup(self, **kwargs)
            put_in_place()
            return databases

        django.test.runner.DiscoverRunner.setup_databases = setup_databases
        import atexit

        atexit.register(lambda: sys.stdout.write(f"through a...: {dict(calls)}\n"))
    runpy.run_path(sys.argv[0], run_name="__main__")
