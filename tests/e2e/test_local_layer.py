"""Groups on four workers without a broker: everything arrives everywhere, in order, whatever becomes of a worker."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from django.test import override_settings

from fullduplex.layers.local.place import Place
from tests.e2e.audience import Audience, Visit, sequencer_of
from tests.e2e.process import ROOT, Process, fullduplex

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")]

COUNT = 4


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    name = uuid.uuid4().hex
    yield {"PYTHONPATH": str(ROOT), "NAME": name, "GAP": "continue"}
    with override_settings(SECRET_KEY=name + "x" * 50, BASE_DIR=str(ROOT / "tests" / "e2e")):
        shutil.rmtree(Place().path, ignore_errors=True)


@pytest.fixture
def server(env: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Process]:
    options = getattr(request, "param", ())
    app = "tests.e2e.rooms_asgi:application"
    with fullduplex(app, "--workers", str(COUNT), "--no-access-log", *options, app_dir=ROOT, env=env) as process:
        process.wait_for("All 4 workers are ready")
        yield process


@asynccontextmanager
async def audience(server: Process, env: dict[str, str], members: int = 16) -> AsyncIterator[Audience]:
    """Members on all workers, publishers of each kind; when they are done, all must be accounted for."""
    everybody = Audience(server, env)
    async with everybody.members(members, COUNT):
        async with everybody.publishers(sockets=6, views=2, shells=1):
            await everybody.all_hear(20)
            yield everybody
            await everybody.all_hear(20)
        await everybody.all_hear()
        assert everybody.check() > 1_000


async def reload(server: Process) -> None:
    before = len(server.output)
    server.signal(signal.SIGHUP)
    await asyncio.to_thread(server.wait_for, re.compile(r"Reloaded: generation \d+ serves"), after=before)


async def kill_worker(server: Process, after: int = 0) -> None:
    """One that has become ready since then."""
    ready = re.findall(r"Worker \d+ \(process (\d+)\) is ready", server.output[after:])
    before = len(server.output)
    os.kill(int(ready[-1]), signal.SIGKILL)
    await asyncio.to_thread(server.wait_for, f"(process {ready[-1]}) was killed by SIGKILL", after=before)
    await asyncio.to_thread(server.wait_for, re.compile(r"Worker \d+ \(process \d+\) is ready"), after=before)


def test_all_hear_all_through_a_reload_and_the_death_of_the_sequencer(server: Process, env: dict[str, str]) -> None:
    async def scenario() -> None:
        async with audience(server, env) as everybody:
            await reload(server)
            await everybody.all_hear(20)
            assert not any("gap" in visit.received for visit in everybody.visits)  # up to here nothing was lost
            os.kill(sequencer_of(server), signal.SIGKILL)
            await everybody.all_hear_of_a_gap()
            await everybody.all_hear(20)

    asyncio.run(scenario())


def test_the_account_finds_what_is_lost(env: dict[str, str]) -> None:
    """The same account, told of a member that misses, repeats or reorders something."""

    def told(received: list[str], ended_s: float | None = None) -> int:
        account = Audience(Process(), env)
        account.published = {"p": [(0.0, 0.1), (2.0, 2.1), (3.0, None), (4.0, 4.1), (5.0, 5.1)]}
        account.visits = [Visit(1, 1.0, received, ended_s)]
        return account.check()

    told(["p 1", "p 2", "p 3", "p 4"])
    told(["p 0", "p 1", "p 3", "p 4"])  # published before the join, perhaps; of the third nobody knows
    told(["p 1"], ended_s=3.5)
    told(["p 1", "gap", "p 4"])
    told(["p 1", "gap"])
    for received in (["p 1", "p 4"], ["p 1", "p 3"], ["p 3", "p 4"], ["p 1", "p 3", "p 1", "p 4"], ["p 1", "p 1"], []):
        with pytest.raises(AssertionError):
            told(received)
    with pytest.raises(AssertionError):
        told(["gap", "p 1", "p 4"])  # told before, and of nothing since


@pytest.mark.slow
@pytest.mark.parametrize("server", [("--limit-max-requests", "100")], indirect=True)
def test_all_hear_all_while_everything_is_replaced_all_the_time(server: Process, env: dict[str, str]) -> None:
    """Recycling goes on beside it: each handshake and each post is a request."""

    async def scenario() -> None:
        async with audience(server, env, members=32) as everybody:
            await asyncio.to_thread(server.wait_for, "a fresh one gets ready")
            for _ in range(2):
                await reload(server)
                await everybody.all_hear(50)
            await kill_worker(server)
            await everybody.all_hear(50)
            assert not any("gap" in visit.received for visit in everybody.visits)
            for _ in range(2):
                os.kill(sequencer_of(server), signal.SIGKILL)
                await reload(server)
            os.kill(sequencer_of(server), signal.SIGKILL)
            await kill_worker(server)
            await everybody.all_hear(50)
            sequencer = sequencer_of(server)
            os.kill(sequencer, signal.SIGSTOP)  # all wait, and nothing is lost
            await asyncio.sleep(2)
            os.kill(sequencer, signal.SIGCONT)
            await everybody.all_hear(50)

    asyncio.run(scenario())
