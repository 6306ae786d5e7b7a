"""What is written at the end of a turn leaves for everybody, whoever fails."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.wired import Wired, ok


class Gathering:
    def __init__(self, flushed: list[str], fails: bool, cannot_abort: bool) -> None:
        self._flushed = flushed
        self._fails = fails
        self._cannot_abort = cannot_abort

    def flush(self) -> None:
        if self._fails:
            raise LookupError("flush")
        self._flushed.append("flushed")

    def abort(self) -> None:
        if self._cannot_abort:
            raise LookupError("abort")
        self._flushed.append("aborted")


async def test_one_that_can_be_neither_written_nor_dropped_keeps_no_other_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wired = Wired(ok())
    flushed: list[str] = []
    kinds = [(True, True), (False, False), (True, False), (False, True)]
    wired.gateway.unflushed = [Gathering(flushed, *kind) for kind in kinds]
    wired.gateway.begin_turn(asyncio.get_running_loop())
    await wired.settle()
    assert flushed == ["flushed", "aborted", "flushed"]
    assert caplog.text.count("could not be written") == 2
    assert caplog.text.count("could not be dropped") == 1
    await wired.finish()
