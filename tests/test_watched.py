"""What runs for ever goes on after a failure, and says so."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fullduplex import watched as module
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.tests")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


async def test_what_fails_is_logged_and_started_again_and_what_returns_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts: list[int] = []

    async def run() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise LookupError("once")
        if len(attempts) == 2:
            inner = asyncio.get_running_loop().create_future()
            inner.cancel()  # somebody else's mistake, which looks like the end
            await inner

    await watched("The pump", run, logger)
    assert attempts == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "The pump failed; it is started again",
        "The pump was cancelled from within; it is started again",
    ]
    assert isinstance(caplog.records[0].exc_info[1], LookupError)  # type: ignore[index]


async def test_a_cancellation_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(watched("The pump", run, logger))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caplog.records == []
