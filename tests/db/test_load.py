"""Half a minute of the load that ``python -m tests.db.load`` puts on the project for an hour."""

from __future__ import annotations

import asyncio

import pytest

from tests.db.load import Load, prepare
from tests.e2e.process import ROOT, fullduplex
from tests.packages.postgresql import server

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_nothing_is_left_of_requests_that_were_cancelled_or_lost_their_database() -> None:
    with server(max_connections=100) as postgresql:
        env = prepare(postgresql)
        with fullduplex("tests.db.project.asgi:application", "--no-access-log", app_dir=ROOT, env=env) as process:
            assert asyncio.run(Load(process, postgresql, seed=1).run(30.0, client_count=12)) == []
    assert "Warning" not in process.output, process.output
