"""What a client can cause as often as it likes reaches the log once a minute for each cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fullduplex import failures as module
from fullduplex.failures import failures

logger = logging.getLogger("fullduplex.tests")


def raised(kind: type[Exception], text: str) -> Exception:
    try:
        raise kind(text)
    except kind as error:
        return error


async def test_each_cause_is_told_once_in_its_minute_and_then_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timers: list[tuple[float, Callable[..., Any], tuple[Any, ...]]] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda seconds, call, *args: timers.append((seconds, call, args))
    )
    admits = failures().admits
    assert admits(logger, "Doing", raised(ValueError, "one"))
    assert [admits(logger, "Doing", raised(ValueError, str(number))) for number in range(500)] == [False] * 500
    assert admits(logger, "Doing", raised(TypeError, "another kind"))
    assert admits(logger, "Other", raised(ValueError, "something else was done"))
    assert admits(logger, "Doing", ValueError("raised elsewhere, or nowhere"))
    assert [seconds for seconds, _, _ in timers] == [module.PERIOD_S] * 4
    for _, call, args in timers:
        call(*args)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("Doing: 500 more of ValueError at ")
    assert admits(logger, "Doing", raised(ValueError, "the next minute"))
