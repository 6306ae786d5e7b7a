"""Django's handler against ours, with many requests in progress at once: each has one thread, and all that is on it.

Django promises a request one thread for its sync code, from ``request_started`` to ``request_finished``
(``ThreadSensitiveContext`` in ``ASGIHandler.__call__``), and with it one connection per database. What the steps of a
request see must be the same in both handlers; that others are in progress is forced by gates, which all pass together.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from fullduplex.handler.application import ASGIHandler
from fullduplex.threads.context import get_pool
from tests.handler import crowd
from tests.handler.concurrency import ALIAS, CLEAN, Case, closed_connections, noted_logs
from tests.handler.crowd_driver import Member, Plan, Round, draw, run_round
from tests.handler.project import project
from tests.handler.test_differential import DjangoHandler

# Seeds that have found something; they stay.
FAILED_BEFORE = [5, 12, 20, 27, 29, 30, 33, 42, 63, 64, 69, 76, 84, 85, 93]
SEEDS = sorted({*FAILED_BEFORE, *range(int(os.environ.get("CROWD_SEEDS", "100")))})
AGAIN = [Member("sync", {}, []), Member("async", {}, [])] * 8  # whoever comes next, on what the crowd has left
CUT_SHORT = ("leave_view", "leave_call", "socket_left")  # hooks of the response may have been skipped

pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators:Warning")


@pytest.fixture
def database(django_db_blocker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A database in a file: each connection has its own view of it, and its own temporary tables."""
    options = {**connections.settings["default"], "NAME": str(tmp_path / "db")}
    monkeypatch.setitem(connections.settings, ALIAS, options)
    get_pool().close()
    with django_db_blocker.unblock(), noted_logs(), closed_connections():
        yield options
        get_pool().close()


def in_django(plan: Plan) -> Round:
    return asyncio.run(run_round(DjangoHandler(), plan, plan.members))


def in_ours(plan: Plan) -> tuple[Round, Round]:
    """Return the round of the plan, and one after it."""

    async def rounds() -> tuple[Round, Round]:
        application = ASGIHandler()
        first = await run_round(application, plan, plan.members + plan.own_members)
        return first, await run_round(application, plan, AGAIN, first.trace)

    return asyncio.run(rounds())


def record(case: Case) -> list[tuple[str, Any]]:
    """What is the same in both handlers; which step comes first may be an error step."""
    seen = [(step.name, {} if step.is_error else step.seen) for step in case.steps if step.name != "begins"]
    answer = {"answer": case.answer, "error": case.error, "logged": len(case.logged)}
    return [(case.kind, case.acts), *answer.items(), *seen]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crowd_sees_what_it_sees_in_django(seed: int, database: dict[str, Any]) -> None:
    plan = draw(seed)
    database["CONN_MAX_AGE"] = plan.max_age_s
    middleware = [f"{crowd.__name__}.{name}" for name in plan.middleware]
    limits = {"THREADS_COUNT": plan.threads_count, "DISCONNECT_WATCH_S": 0}
    with (
        project(*crowd.ROUTES, MIDDLEWARE=middleware, FULLDUPLEX=limits, error_handlers=crowd.ERROR_HANDLERS),
        crowd.receivers(plan.has_receivers),
    ):
        theirs = in_django(plan)
        ours, after = in_ours(plan)
    for case in theirs.cases:
        check_steps(case)
    check_threads(theirs.trace)
    for own, django in zip(ours.cases, theirs.cases, strict=False):
        assert record(own) == record(django), plan
    for case in ours.cases + after.cases:
        check_steps(case)
        check_ends(case, plan)
        assert {*case.logged} <= {case.thread}, (plan, record(case))
    check_threads(ours.trace)


# What holds in each of the handlers --------------------------------------------------------------


def check_steps(case: Case) -> None:
    """All steps of a request run on its one thread, which is not the loop's, and find there what the first left."""
    assert case.thread is not threading.main_thread(), record(case)
    for step in case.steps:
        if step.is_error and case.in_django:
            continue
        assert step.seen["thread"] == "own", (step, record(case))
        if step.name == "begins":
            assert {**step.seen, **CLEAN} == step.seen, (step, record(case))
        elif step.name != "committed":
            assert step.seen["local"] == step.seen["attribute"] == "own", (step, record(case))
            assert step.seen["wrappers"] == 1, (step, record(case))
            assert step.seen["counted"][1] == 0, (step, record(case))
            assert step.seen["debug"] == ("debug" in case.habits), (step, record(case))
            assert step.seen.get("table", (100,)) == (100,), (step, record(case))
    read = [step.seen["cursor"] for step in case.steps if "cursor" in step.seen]
    assert read == [(row,) for row in range(len(read))], record(case)


def check_ends(case: Case, plan: Plan) -> None:
    """``request_finished`` is sent once, and last; a stream has ended, and its response is closed, before it."""
    names = [step.name for step in case.steps]
    assert bool(case.error) == (case.kind == "broken_stream" and "part 2" in names), record(case)
    if plan.has_receivers:
        assert names[:3] == ["begins", "started", "started, async"], record(case)
        assert names[-2:] == ["finished", "finished, async"], record(case)
        assert names.count("finished") == 1, record(case)
    if "part 0" in names:
        assert names.count("stream's end") == 1, record(case)
        assert names.index("stream's end") < names.index("closing"), record(case)


def check_threads(trace: list[Any]) -> None:
    """Nobody else's step is between two of one request, and none comes after an end that was cut short.

    A step of a socket is on such a thread only where its own handshake has left something open there.
    """
    threads = {thread for _, thread in trace}
    for thread in threads:
        owners = [owner for owner, _ in groupby(owner for owner, used in trace if used is thread)]
        requests = [owner for owner in owners if isinstance(owner, Case)]
        assert len(requests) == len({*requests}), f"interleaved on {thread}: {requests}"
        for owner in owners[:-1]:
            assert not isinstance(owner, Case) or not was_cut_short(owner), f"used after {record(owner)}"
        for before, owner in pairwise([None, *owners]):
            if requests and not isinstance(owner, Case):
                is_open = owner.case.cursor is not None or owner.case.block is not None
                assert is_open, f"a socket on a thread of requests: {owners}"
                assert before is owner.case, f"a socket on a stranger's thread: {owners}"


def was_cut_short(case: Case) -> bool:
    return bool(case.error) or (case.kind in CUT_SHORT and any(step.name == "view's end" for step in case.steps))
