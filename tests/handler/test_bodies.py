"""Bodies of requests on their way to the view: in memory or on disk, and how much of all of them."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import RequestAborted
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from fullduplex.handler import body as module
from fullduplex.handler.body import bodies, read_body
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert bodies.used_bytes == 0


def events_of(*parts: bytes) -> Any:
    events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    events[-1]["more_body"] = False

    async def receive() -> Any:
        return events.pop(0)

    return receive


async def test_pieces_are_held_together() -> None:
    body = await read_body(events_of(*[b"ab"] * 10_000, b""))
    assert isinstance(body, io.BytesIO)
    assert bodies.used_bytes == 20_000
    assert body.read() == b"ab" * 10_000
    body.close()
    body.close()


async def test_a_large_body_goes_to_disk_and_counts_no_more(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000
    body = await read_body(events_of(*[b"x" * 300] * 9))
    assert not isinstance(body, io.BytesIO)
    assert bodies.used_bytes == 0
    assert body.read() == b"x" * 2_700
    body.close()


@pytest.mark.parametrize("parts", [[b"ab\n"] * 1_000, [b"x" * 70_000, b"y", b"z" * 70_000, b"\n"], [b"", b"a" * 3_000]])
async def test_a_body_that_has_its_place_stays_in_memory(settings: Any, parts: list[bytes]) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 20_000 if len(b"".join(parts)) > 3_000 else 2_000
    whole = b"".join(parts)
    body = await read_body(events_of(*parts), lambda: len(whole))
    assert type(body) is io.BufferedReader, "no file"
    assert bodies.used_bytes == len(whole)
    assert body.read(10) + body.read(7) == whole[:17]
    assert body.readline() == whole[17:].split(b"\n")[0] + (b"\n" if b"\n" in whole[17:] else b"")
    assert body.seek(-5, io.SEEK_END) == len(whole) - 5
    assert body.read() == whole[-5:]
    body.seek(0)
    assert body.read() == whole
    assert body.read(1) == b""
    body.close()


async def test_a_body_without_a_place_goes_to_disk(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000
    for length in (8_001, 0):  # too long, and not announced
        body = await read_body(events_of(b"x" * 8_001), partial(int, length))
        assert bodies.used_bytes == 0
        body.close()
    monkeypatch.setattr(module, "BODIES_BYTES", 10_000)
    monkeypatch.setattr(module, "ROOM_WAIT_S", 0.0)
    first = await read_body(events_of(b"x" * 4_000), lambda: 4_000)
    second = await read_body(events_of(b"x" * 4_000), lambda: 4_000)  # above three quarters
    assert bodies.used_bytes == 4_000
    assert first.read() == second.read() == b"x" * 4_000
    first.close()
    second.close()


@pytest.fixture
def scarce(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one body of 4,000 bytes and one of 3,000, and all the time to wait for it."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000
    monkeypatch.setattr(module, "BODIES_BYTES", 10_000)
    monkeypatch.setattr(module, "ROOM_WAIT_S", 600.0)


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("scarce")
async def test_a_body_waits_for_the_place_of_another() -> None:
    first = await read_body(events_of(b"x" * 4_000), lambda: 4_000)
    second = asyncio.ensure_future(read_body(events_of(b"y" * 4_000), lambda: 4_000))
    third = asyncio.ensure_future(read_body(events_of(b"z" * 3_000), lambda: 3_000))  # would fit; is the second
    await _turns()
    assert not second.done()
    assert not third.done()
    first.close()
    for waited, content in ((await second, b"y" * 4_000), (await third, b"z" * 3_000)):
        assert type(waited) is io.BufferedReader, "no file"
        assert waited.read() == content
    assert bodies.used_bytes == 7_000
    (await second).close()
    (await third).close()


@pytest.mark.usefixtures("scarce")
@pytest.mark.parametrize("is_granted", [False, True])
async def test_who_is_cancelled_in_line_takes_no_place(is_granted: bool) -> None:
    first = await read_body(events_of(b"x" * 4_000), lambda: 4_000)
    second = asyncio.ensure_future(read_body(events_of(b"y" * 6_000), lambda: 6_000))
    third = asyncio.ensure_future(read_body(events_of(b"z" * 3_000), lambda: 3_000))
    await _turns()
    if is_granted:
        first.close()  # the second has its place, and has not heard of it
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    (await third).close()
    first.close()


@pytest.mark.usefixtures("scarce")
async def test_so_many_wait_and_none_that_will_never_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_COUNT", 1)
    first = await read_body(events_of(b"x" * 4_000), lambda: 4_000)
    too_large = await read_body(events_of(b"x" * 7_600), lambda: 7_600)
    second = asyncio.ensure_future(read_body(events_of(b"y" * 4_000), lambda: 4_000))
    await _turns()
    third = await read_body(events_of(b"z" * 4_000), lambda: 4_000)
    for body in (too_large, third):
        assert type(body) is not io.BufferedReader, "on disk"
    first.close()
    for body in (await second, too_large, third):
        body.close()


async def test_many_small_parts_take_little_more_than_their_bytes(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10_000
    body = await read_body(events_of(*[b"x"] * 70_000), lambda: 70_000)
    assert len(body.raw._parts) == 2  # type: ignore[attr-defined]
    body.close()


async def test_a_client_that_leaves_gives_the_place_of_its_body_up(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000
    events = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return events.pop(0)

    with pytest.raises(RequestAborted):
        await read_body(receive, lambda: 4_000)


async def test_when_bodies_take_too_much_the_next_goes_to_disk_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODIES_BYTES", 1_000_000)
    gates = [asyncio.Event() for _ in range(20)]
    arrived = asyncio.Semaphore(0)

    async def receive_then_wait(number: int, parts: list[bytes]) -> Any:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": True}
        arrived.release()
        await gates[number].wait()
        return {"type": "http.request", "body": b"end", "more_body": False}

    reading = []
    for number in range(20):
        parts = [b"%02d" % number * 16_000] * 10
        reading.append(
            asyncio.ensure_future(read_body(lambda number=number, parts=parts: receive_then_wait(number, parts)))
        )  # type: ignore[misc]
        await arrived.acquire()
    assert bodies.used_bytes <= 1_000_000 + 20 * 65_536 + 32_000, "of 6.4 MB that have come"
    for number, gate in enumerate(gates):
        gate.set()
        body = await reading[number]
        assert body.read() == b"%02d" % number * 160_000 + b"end"
        body.close()


async def test_a_client_that_leaves_takes_its_body_with_it() -> None:
    with project() as application:
        client = Connection(application, http_scope(method="POST"))
        client.put(type="http.request", body=b"part", more_body=True)
        client.put(type="http.disconnect")
        await client.end()


async def test_a_body_counts_until_its_response_is_sent() -> None:
    seen = []

    @csrf_exempt
    async def view(request: HttpRequest) -> HttpResponse:
        seen.append((bodies.used_bytes, request.body))
        return HttpResponse()

    with project(path("", view)) as application:
        client = Connection(application, http_scope(method="POST"))
        client.put(type="http.request", body=b"a" * 100, more_body=True)
        client.put(type="http.request", body=b"b" * 50, more_body=False)
        await client.end()
    assert seen == [(150, b"a" * 100 + b"b" * 50)]


async def test_what_came_first_is_held_once() -> None:
    references: list[int] = []
    first = b"a" * 100
    events = [
        {"type": "http.request", "body": first, "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
    ]

    async def receive() -> Any:
        references.append(sys.getrefcount(first))
        return events.pop(0)

    body = await read_body(receive)
    assert references[1] == references[0] - 1, "the event's is gone, and there is no other"
    assert body.read() == b"a" * 100 + b"b"
    body.close()
