"""Server-sent events, and requests by POST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.test import AsyncClient

from fullduplex import Group
from fullduplex.endpoint.stream import EventStream
from fullduplex.handler.application import ASGIHandler
from fullduplex.realtime.hub import get_hub
from tests.endpoint.site import Site
from tests.handler.asgi_driver import Connection, http_scope


class SlowConnection(Connection):
    """Takes what is sent when it is ``taking``."""

    def __init__(self, path: str, headers: dict[str, str]) -> None:
        self.taking = asyncio.Event()
        self.taking.set()
        super().__init__(ASGIHandler(), http_scope(path, headers=headers))

    async def _send(self, event: Any) -> None:
        await self.taking.wait()
        await super()._send(event)


class Stream:
    """Reads one event stream, as a server hands it on."""

    def __init__(self, path: str, headers: dict[str, str]) -> None:
        self._call = SlowConnection(path, headers)
        self._call.put(type="http.request", body=b"", more_body=False)
        self.id = ""

    async def head(self) -> dict[str, str]:
        event = await self._call.event()
        assert event["status"] == 200
        return {name.decode().lower(): value.decode() for name, value in event["headers"]}

    async def read(self) -> list[Any] | None:
        """The messages of the next chunk; None: the stream has ended."""
        event = await self._call.event()
        if not event.get("more_body", False):
            return None
        messages = []
        for line in event["body"].decode().split("\n"):
            if line.startswith("data: "):
                messages.append(json.loads(line[6:]))
            elif line.startswith("id: "):
                self.id = line[4:]
            else:
                assert line in ("", ":", "retry: 1000")
        return messages

    async def read_count(self, count: int) -> list[Any]:
        """The next messages."""
        messages: list[Any] = []
        while len(messages) < count:
            messages += await self.read() or ()
        return messages

    @property
    def taking(self) -> asyncio.Event:
        """Cleared, it reads no more, as a slow client."""
        return self._call.taking

    async def close(self) -> None:
        self.taking.set()
        self._call.put(type="http.disconnect")
        async with asyncio.timeout(5):
            await self._call.task


@asynccontextmanager
async def streaming(query: str, path: str = "/realtime/events/", **headers: str) -> AsyncIterator[Stream]:
    stream = Stream(f"{path}?{query}", {name.lower(): value for name, value in headers.items()})
    try:
        told = await stream.head()
        assert told["content-type"] == "text/event-stream"
        assert told["x-accel-buffering"] == "no"
        (welcome,) = await stream.read() or ()
        assert welcome["type"] == "welcome"
        yield stream
    finally:
        await stream.close()


async def post(body: Any, path: str = "/realtime/events/", client: AsyncClient | None = None, **headers: str) -> Any:
    client = client or AsyncClient(raise_request_exception=False)
    return await client.post(path, json.dumps(body), content_type="application/json", headers=headers)


async def test_messages_and_positions() -> None:
    async with streaming("group=chat.1&group=news.1&group=secret.1") as stream:
        told = await stream.read_count(3)
        assert [message["type"] for message in told] == ["subscribed", "subscribed", "unsubscribed"]
        epoch = told[0]["position"]["epoch"]
        assert "id" not in told[0]
        await Group("chat.1").asend({"text": "a\nb"})
        await Group("news.1").asend("x\r\ny")
        told = await stream.read_count(2)
        assert [message["data"] for message in told] == [{"text": "a\nb"}, "x\r\ny"]
        assert stream.id == f"1:{epoch},,"
    assert get_hub().groups == []
    assert Site.last is not None
    assert Site.last.told == [1006]


async def test_resume_by_header_and_by_parameter() -> None:
    async with streaming("group=chat.1") as stream:
        await stream.read()
        at = stream.id
    for n in range(2):
        await Group("chat.1").asend({"n": n})
    async with streaming("group=chat.1", **{"Last-Event-ID": at}) as stream:
        told = await stream.read_count(3)
        assert told[0]["recovered"]
        assert [message["data"] for message in told[1:]] == [{"n": 0}, {"n": 1}]
    async with streaming(f"group=chat.1&last_event_id={stream.id}") as stream:
        (told,) = await stream.read_count(1)
        assert (told["recovered"], told["latest"]) == (True, 2)


async def test_a_heartbeat_and_the_end_without_groups() -> None:
    async with streaming("group=news.1", "/brisk/events/") as stream:
        await stream.read()
        assert await stream.read() == []
    async with streaming("group=secret.1") as stream:
        (told,) = await stream.read_count(1)
        assert told["code"] == "forbidden"
        assert await stream.read() is None


async def test_heartbeats_do_not_wait_for_the_project() -> None:
    async with streaming("group=news.1&group=slow.1", "/brisk/events/") as stream:
        (told,) = await stream.read_count(1)
        assert told["group"] == "news.1"
        assert await stream.read() == [], "a heartbeat"
        await Group("news.1").asend("meanwhile")
        assert (await stream.read_count(1))[0]["data"] == "meanwhile"
        assert Site.last is not None
        Site.last.answer.set()
        assert (await stream.read_count(1))[0]["group"] == "slow.1"
    async with streaming("group=slow.1", "/brisk/events/") as stream:
        assert await stream.read() == []
    assert Site.last.told == [1006], "who leaves meanwhile is gone"
    assert get_hub().groups == []


async def test_no_middleware_compresses_the_stream(settings: Any) -> None:
    """Django's makes each part a file of its own, and a browser reads the first one."""
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    async with streaming("group=news.1", **{"Accept-Encoding": "gzip"}) as stream:
        (told,) = await stream.read_count(1)
        assert told["type"] == "subscribed"


async def test_what_a_slow_client_does_not_take_ends_its_stream(settings: Any) -> None:
    settings.FULLDUPLEX = {**settings.FULLDUPLEX, "OUTBOX_MAX_BYTES": 10_000}
    async with streaming("group=news.1") as stream:
        await stream.read()
        stream.taking.clear()
        for _ in range(20):
            await Group("news.1").asend({"text": "x" * 1_000})
            await asyncio.sleep(0)
        stream.taking.set()
        assert len(await stream.read_count(1)) == 1  # it was on its way
        assert await stream.read() is None


async def test_what_is_refused_has_a_status() -> None:
    client = AsyncClient()
    for query, status in {
        "": 400,
        "group=a&group=a": 400,
        "group=a b": 400,
        "group=a&group=b&group=c": 429,
        "group=a&last_event_id=1:a,2:b": 400,
    }.items():
        response = await client.get(f"/brisk/events/?{query}")
        assert response.status_code == status, query
        assert response.json()["type"] == "error"
    assert (await client.put("/brisk/events/")).status_code == 405
    assert (await client.get("/realtime/events/?refuse&group=a")).status_code == 403
    assert (await client.head("/realtime/events/?group=a")).status_code == 200


async def test_requests_by_post() -> None:
    reply = await post({"type": "publish", "id": 1, "group": "chat.1", "data": {"n": 1}, "key": "k"})
    assert (reply.status_code, reply.json()["position"]["offset"]) == (200, 1)
    again = await post({"type": "publish", "id": 7, "group": "chat.1", "data": {"n": 1}, "key": "k"})
    assert again.json() == {**reply.json(), "id": 7}
    reply = await post({"type": "call", "id": 1, "method": "echo", "params": [1]})
    assert reply.json() == {"type": "reply", "id": 1, "result": [1]}
    for body, status in [
        ({"type": "publish", "id": 1, "group": "news.1", "data": {}}, 403),
        ({"type": "call", "id": 1, "method": "fail"}, 500),
        ({"type": "call", "id": 1, "method": "nothing"}, 404),
        ({"type": "subscribe", "id": 1, "group": "chat.1"}, 400),
        ({"type": "call", "method": "echo"}, 400),
        ([], 400),
    ]:
        assert (await post(body)).status_code == status, body
    assert (
        await post({"type": "call", "id": 1, "method": "echo", "params": "x" * 1_000}, "/brisk/events/")
    ).status_code == 413
    text = await AsyncClient().post("/realtime/events/", "{}", content_type="text/plain")
    assert text.status_code == 400


async def test_who_was_let_in_is_said_to_be_gone() -> None:
    client = AsyncClient(raise_request_exception=False)

    def told() -> list[Any]:
        assert Site.last is not None
        return Site.last.told

    for query in ("", "group=a&last_event_id=1"):
        assert (await client.get(f"/realtime/events/?{query}")).status_code == 400
        assert told() == [1006]
    assert (await client.get("/tokens/events/?group=a")).status_code == 401
    assert told() == [1006]
    assert (await client.head("/realtime/events/?group=a")).status_code == 200
    assert told() == [1006]
    assert (await post({"type": "call", "id": 1, "method": "fail"})).status_code == 500
    assert told() == [1006]
    assert Site.last is not None
    await EventStream(Site.last, ["a"], [None], None).aclose()  # the client left before it began
    assert told() == [1006, 1006]


async def test_posts_of_other_sites_are_refused() -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    body = {"type": "call", "id": 1, "method": "echo", "params": 1}
    assert (await post(body, client=client)).status_code == 403
    client.cookies["csrftoken"] = "a" * 32
    assert (await post(body, client=client, **{"X-CSRFToken": "a" * 32})).status_code == 200
    assert (await post(body, "/tokens/events/", client, Authorization="Bearer good")).status_code == 200


async def test_tokens() -> None:
    client = AsyncClient()
    assert (await client.get("/tokens/events/?group=chat.1")).status_code == 401
    assert (
        await client.get("/tokens/events/?group=chat.1", headers={"Authorization": "Bearer bad"})
    ).status_code == 401
    async with streaming("group=chat.1", "/tokens/events/", Authorization="Bearer short") as stream:
        await stream.read()
        assert await stream.read() is None
