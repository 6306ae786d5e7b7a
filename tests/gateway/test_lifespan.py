"""The lifespan protocol, application by application."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from fullduplex.gateway.lifespan import Lifespan, LifespanFailed, Support


async def started_and_stopped(app: Any) -> Lifespan:
    lifespan = Lifespan(app, {"fullduplex.worker_count": 1})
    await lifespan.startup(5.0)
    await lifespan.shutdown(5.0)
    return lifespan


async def test_an_application_that_takes_part_shares_its_state():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])
        scope["state"]["pool"] = "ready"
        for step in ("startup", "shutdown"):
            seen.append((await receive())["type"])
            await send({"type": f"lifespan.{step}.complete"})

    lifespan = await started_and_stopped(app)
    assert seen == ["lifespan", "lifespan.startup", "lifespan.shutdown"]
    assert lifespan.support is Support.ON
    assert lifespan.state == {"fullduplex.worker_count": 1, "pool": "ready"}


@pytest.mark.parametrize("error", [ValueError("Django can only handle http"), AssertionError(), KeyError("method")])
async def test_an_application_that_raises_at_once_is_fine(error, caplog):
    async def app(scope, receive, send):
        raise error

    lifespan = await started_and_stopped(app)
    assert lifespan.support is Support.OFF
    assert lifespan.state is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_application_that_returns_at_once_is_fine():
    async def app(scope, receive, send):
        return

    assert (await started_and_stopped(app)).support is Support.OFF


async def test_a_failed_startup_says_why():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LifespanFailed, match="no database"):
        await Lifespan(app, {}).startup(5.0)


async def test_a_startup_that_never_answers_ends_at_its_deadline():
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    with pytest.raises(LifespanFailed, match=r"lifespan\.startup within 0\.01 s"):
        await Lifespan(app, {}).startup(0.01)


async def test_a_failed_shutdown_is_logged(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "disk full"})

    await started_and_stopped(app)
    assert "disk full" in caplog.text


async def test_a_crash_between_start_and_stop_is_logged_once(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise RuntimeError("late")

    await started_and_stopped(app)
    assert caplog.text.count("RuntimeError: late") == 1
