"""The clients of a crowd: each makes its request, stays or leaves, and all are there at once."""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import random
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fullduplex.handler.application import ASGIHandler
from tests.handler.asgi_driver import Connection, WebSocketConnection, http_scope, websocket_scope
from tests.handler.concurrency import DEADLINE_S, Case, Gates, current
from tests.handler.crowd import (
    ERRORS,
    HOOKS,
    KINDS,
    OWN_KINDS,
    PLACES,
    SENT_PART,
    SENT_START,
    SOCKETS,
    STARTED,
    VIEW,
)

TURNS = 20  # of the loop, in which a cancellation comes through all tasks of a request
HABITS = ("atomic", "debug", "tidy")

_numbers = itertools.count()


@dataclass(frozen=True)
class Member:
    """One request that is planned."""

    kind: str
    acts: dict[str, str]
    habits: Collection[str]


@dataclass(frozen=True)
class Plan:
    """What a seed says.

    Attributes:
        middleware: names of the stack, outermost first.
        members: requests that both handlers take.
        own_members: and those that only ours takes, in the same way as the contract has it.
        places: of the gates.
    """

    middleware: list[str]
    has_receivers: bool
    threads_count: int
    max_age_s: int
    members: list[Member]
    own_members: list[Member]
    places: frozenset[int]


def draw(seed: int) -> Plan:
    rng = random.Random(seed)
    middleware = rng.sample(list(HOOKS), rng.randint(0, 5))
    has_receivers = rng.random() < 0.8
    places = {VIEW, *rng.sample(PLACES, 3)}
    # Where the first sync call of a request is request_started's, all have a thread behind its gate, however many may
    # run. Without one a gate in a thread is itself a first call, and needs as many threads as there are requests.
    if has_receivers:
        places.add(STARTED)
    return Plan(
        middleware=middleware,
        has_receivers=has_receivers,
        threads_count=rng.choice([2, 2, 16, 64]) if has_receivers else 64,
        max_age_s=rng.choice([0, 60]),
        members=[_member(rng, KINDS, middleware) for _ in range(rng.randint(3, 7))],
        own_members=[_member(rng, OWN_KINDS, middleware) for _ in range(rng.randint(1, 4))],
        places=frozenset(places),
    )


def _member(rng: random.Random, kinds: Collection[str], middleware: list[str]) -> Member:
    acts = {}
    if middleware and rng.random() < 0.25:
        name = rng.choice(middleware)
        acts[f"{name} {rng.choice(HOOKS[name])}"] = rng.choice(["answer", *ERRORS])
    return Member(rng.choice(list(kinds)), acts, [habit for habit in HABITS if rng.random() < 0.3])


# Clients -----------------------------------------------------------------------------------------


class Gated(Connection):
    """Waits at the gates of what is sent; the client of a slow stream takes one part and no more."""

    case: Case

    async def _send(self, event: Any) -> None:
        is_start = event["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start")
        await self.case.gates.wait_on_loop(self.case, SENT_START if is_start else SENT_PART)
        await super()._send(event)
        if self.case.kind.startswith("slow") and event.get("more_body"):
            self.case.told.set()
            await asyncio.sleep(DEADLINE_S)


class GatedHTTP(Gated):
    def __init__(self, application: Any, case: Case) -> None:
        self.case = case
        super().__init__(application, http_scope(f"/{case.kind}/"))


class GatedWebSocket(Gated, WebSocketConnection):
    def __init__(self, application: Any, case: Case) -> None:
        self.case = case
        super().__init__(application, websocket_scope(f"/{case.kind}/"))


async def drive(application: Any, case: Case) -> None:
    """Make one request, and note its answer and its error."""
    current.set(case)
    connection: Any
    if case.kind in SOCKETS:
        connection = GatedWebSocket(application, case)
        connection.connect()
    else:
        connection = GatedHTTP(application, case)
        connection.put(type="http.request", body=b"", more_body=False)
    try:
        if await _is_told(case, connection):
            await _leave(case, connection)
        await connection.end()
    except Exception as error:
        case.error = repr(error)
    finally:
        case.gates.leave(case)
    case.answer = _answer(connection)


async def _is_told(case: Case, connection: Connection) -> bool:
    """Wait for the place where the client leaves; return False where the request ends without."""
    told = asyncio.ensure_future(case.told.wait())
    async with asyncio.timeout(2 * DEADLINE_S):
        await asyncio.wait({told, connection.task}, return_when=asyncio.FIRST_COMPLETED)
    return told.done() or not told.cancel()


async def _leave(case: Case, connection: Any) -> None:
    if case.kind in SOCKETS:
        connection.leave()
        return
    connection.put(type="http.disconnect")
    for _ in range(TURNS):
        await asyncio.sleep(0)
    case.released.set()


def _answer(connection: Connection) -> tuple[Any, ...]:
    events = []
    while not connection.events.empty():
        events.append(connection.events.get_nowait())
    kinds = [event["type"] for event in events]
    body = b"".join(event.get("body", b"") for event in events)
    return kinds[:1], events[0].get("status") if events else None, body


# Rounds ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """Requests that were in progress at once.

    Attributes:
        cases: in the order of the plan.
        trace: who ran where, in order, also of the rounds before on the same pool.
    """

    cases: list[Case]
    trace: list[Any]


async def run_round(application: Any, plan: Plan, members: list[Member], trace: list[Any] | None = None) -> Round:
    gates = Gates(plan.places)
    layers = {name: layer for layer, name in enumerate(plan.middleware)}
    in_django = not isinstance(application, ASGIHandler)
    trace = [] if trace is None else trace
    cases = [
        Case(next(_numbers), member.kind, member.acts, member.habits, layers, gates, in_django, trace)
        for member in members
    ]
    faulthandler.dump_traceback_later(DEADLINE_S, file=sys.__stderr__)  # of the loop, too, which may be what hangs
    driving = [asyncio.create_task(drive(application, case)) for case in cases]
    _, hanging = await asyncio.wait(driving, timeout=1.5 * DEADLINE_S)
    faulthandler.cancel_dump_traceback_later()
    for task in hanging:
        task.cancel()
    assert gates.missed is None, f"not all of {cases} came to gate {gates.missed}: did somebody wait for a thread?"
    assert not hanging, f"{len(hanging)} of {cases} hang"
    for task in driving:
        task.result()
    return Round(cases, trace)
