"""What a request puts into its session of the database is there in all its code, and in nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.process import Process
from tests.postgresql.conftest import Database
from tests.postgresql.database import CLIENT_COUNT, DOCUMENT_COUNT, NUMBER_COUNT, lock_count, role, tenant
from tests.postgresql.sites import DEADLINE_S, LOOP, SESSION_MIDDLEWARE, SIDES, Side, Site, client, site

pytestmark = pytest.mark.e2e

KINDS = ["sync", "async", "orm", "stream", "astream"]
MEETING_KINDS = {"async", "astream", "orm"}  # all clients are between two calls at once


SLOW = [pytest.param(side, marks=pytest.mark.slow) for side in (Side(), LOOP)]


@pytest.fixture(scope="module", params=[*SIDES, *SLOW], ids=str)
def process(request: pytest.FixtureRequest, database: Database) -> Iterator[Process]:
    side: Side = request.param
    with site(database.postgresql, side, middleware=SESSION_MIDDLEWARE) as process:
        yield process


@pytest.mark.parametrize("kind", KINDS)
async def test_each_answer_has_its_own_role(process: Process, kind: str) -> None:
    answers = await ask(process, f"/role/{kind}/", lambda number: {"role": role(number)})
    assert wrong(answers, lambda number, lines: {line["user"] for line in lines} == {role(number)}) == {}
    assert wrong(answers, lambda number, lines: len({line["pid"] for line in lines}) == 1) == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_sees_the_rows_of_another_tenant(process: Process, kind: str) -> None:
    answers = await ask(process, f"/tenant/{kind}/", lambda number: {"tenant": tenant(number)})
    expected = {number: [tenant(number)] * DOCUMENT_COUNT for number in range(CLIENT_COUNT)}
    assert wrong(answers, lambda number, lines: all(line["tenants"] == expected[number] for line in lines)) == {}


@pytest.mark.parametrize("kind", ["sync", "async", "stream", "astream"])
async def test_a_lock_is_released_by_the_session_that_took_it(database: Database, process: Process, kind: str) -> None:
    answers = await ask(process, f"/lock/{kind}/", lambda number: {"key": number + 1_000})
    assert wrong(answers, lambda number, lines: [line["done"] for line in lines] == [True, True, True]) == {}
    assert await lock_count(database.dsn, granted=True) == 0


@pytest.mark.slow
async def test_views_of_every_kind_at_once(process: Process) -> None:
    for _ in range(5):
        roles = [ask(process, f"/role/{kind}/", lambda number: {"role": role(number)}) for kind in KINDS]
        for answers in await asyncio.gather(*roles):
            assert wrong(answers, lambda number, lines: {line["user"] for line in lines} == {role(number)}) == {}


@pytest.mark.parametrize("kind", ["stream", "astream"])
async def test_a_cursor_outlives_the_pages_of_others(process: Process, kind: str) -> None:
    expected = "".join(f"{number} {'x' * 200}\n" for number in range(1, NUMBER_COUNT + 1))
    async with asyncio.timeout(DEADLINE_S), client() as http:
        running = Site(process, http)
        streams = [running.text(f"/numbers/{kind}/") for _ in range(CLIENT_COUNT)]
        pages = [running.text("/page/", number=number) for number in range(1, CLIENT_COUNT + 1)]
        texts = await asyncio.gather(*streams, *pages)
    assert Counter(shown(text, expected) for text in texts[:CLIENT_COUNT]) == {"all": CLIENT_COUNT}
    assert texts[CLIENT_COUNT:] == [str(number) for number in range(1, CLIENT_COUNT + 1)]


async def ask(process: Process, path: str, parameters: Callable[[int], dict[str, Any]]) -> dict[int, list[Any]]:
    """The lines that each client gets; all ask at once, and as many pages are asked for meanwhile."""
    meet = CLIENT_COUNT if path.split("/")[2] in MEETING_KINDS else 1
    async with asyncio.timeout(DEADLINE_S), client() as http:
        running = Site(process, http)
        requests = [running.text(path, meet=meet, **parameters(number)) for number in range(CLIENT_COUNT)]
        pages = [running.text("/page/", number=number) for number in range(1, CLIENT_COUNT + 1)]
        texts = await asyncio.gather(*(each for pair in zip(requests, pages, strict=True) for each in pair))
    assert texts[1::2] == [str(number) for number in range(1, CLIENT_COUNT + 1)]
    return {number: read(text) for number, text in enumerate(texts[::2])}


def read(text: str) -> list[Any]:
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return [text]


def wrong(answers: dict[int, list[Any]], is_right: Callable[[int, list[Any]], bool]) -> dict[int, list[Any]]:
    """Those that are not as they should be, or not there at all."""
    return {
        number: lines
        for number, lines in answers.items()
        if len(lines) != 3 or not all(isinstance(line, dict) for line in lines) or not is_right(number, lines)
    }


def shown(text: str, expected: str) -> str:
    if text == expected:
        return "all"
    return f"{text.count(chr(10))} rows" if text.startswith("1 ") else text[:80]
