"""HTTP through our handler: disconnects, signals, threads, transactions, contexts, streams and files."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.handlers.asgi import ASGIHandler as DjangoHandler
from django.core.signals import request_finished, request_started
from django.db import connection, connections, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import get_urlconf, path
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from fullduplex.threads.context import get_pool
from fullduplex.threads.hop import arelease_thread
from tests.handler.asgi_driver import DEADLINE_S, Connection, http_scope, request
from tests.handler.project import project

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class FromQuery(MiddlewareMixin):
    """Puts the query into a context variable, the locale and the URLconf of the request."""

    def process_request(self, request: Any) -> None:
        name = request.META["QUERY_STRING"]
        if name:
            variable.set(name)
            translation.activate(name)


def threads_settled() -> bool:
    deadline_s = time.monotonic() + DEADLINE_S
    while get_pool().running_count and time.monotonic() < deadline_s:
        time.sleep(0.001)
    return get_pool().running_count == 0


@pytest.fixture
def finished() -> Any:
    """Count ``request_finished``."""
    calls: list[int] = []

    def receiver(**kwargs: Any) -> None:
        calls.append(threading.get_ident())

    request_finished.connect(receiver)
    yield calls
    request_finished.disconnect(receiver)


# Threads -------------------------------------------------------------------------------------


async def test_a_sync_view_takes_one_hop_and_an_async_view_none(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    hops: list[Any] = []
    run = type(get_pool()).run

    def counting(pool: Any, lease: Any, call: Any) -> bool:
        hops.append(call)
        return run(pool, lease, call)

    monkeypatch.setattr(type(get_pool()), "run", counting)

    def sync(request: Any) -> HttpResponse:
        return HttpResponse(threading.current_thread().name)

    async def asynchronous(request: Any) -> HttpResponse:
        return HttpResponse(threading.current_thread().name)

    with project(path("sync/", sync), path("async/", asynchronous), MIDDLEWARE=settings.MIDDLEWARE) as application:
        assert (await request(application, "/sync/")).body == b"fullduplex-thread"
        assert len(hops) == 1
        assert (await request(application, "/async/")).body == b"MainThread"
        assert len(hops) == 1


async def test_sync_views_run_at_the_same_time_and_may_call_their_own_server() -> None:
    async def inner() -> bytes:
        return (await request(application, "/inner/")).body

    loop = asyncio.get_running_loop()

    def outer_view(request: Any) -> HttpResponse:
        served = contextvars.Context().run(asyncio.run_coroutine_threadsafe, inner(), loop)  # as by a server
        return HttpResponse(served.result(DEADLINE_S))

    def inner_view(request: Any) -> HttpResponse:
        return HttpResponse("from inside")

    with project(path("outer/", outer_view), path("inner/", inner_view)) as application:
        assert (await request(application, "/outer/")).body == b"from inside"


async def test_without_a_free_thread_in_time_the_answer_is_503() -> None:
    go_on = threading.Event()

    def slow(request: Any) -> HttpResponse:
        assert go_on.wait(DEADLINE_S)
        return HttpResponse("slow")

    def quick(request: Any) -> HttpResponse:
        return HttpResponse("quick")

    settings = {"THREADS_COUNT": 1, "THREADS_WAIT_S": 0.05}
    with project(path("slow/", slow), path("quick/", quick), FULLDUPLEX=settings) as application:
        get_pool().close()
        first = asyncio.create_task(request(application, "/slow/"))
        await asyncio.sleep(0)
        second = await request(application, "/quick/")
        assert (second.status, second.headers["retry-after"]) == (503, "5")
        go_on.set()
        assert (await first).body == b"slow"
        assert (await request(application, "/quick/")).status == 200


async def test_a_background_task_outlives_its_request_and_calls_sync_code() -> None:
    go_on = asyncio.Event()
    tasks: list[asyncio.Task[str]] = []

    async def later() -> str:
        await go_on.wait()
        return await sync_to_async(lambda: threading.current_thread().name)()

    async def view(request: Any) -> HttpResponse:
        tasks.append(asyncio.create_task(later()))
        return HttpResponse()

    with project(path("", view)) as application:
        await request(application)
        go_on.set()
        assert await tasks[0] == "fullduplex-sockets"


# Databases -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keeps", [True, False])
async def test_two_hundred_streams_after_a_query_leave_orm_views_responsive(keeps: bool) -> None:
    end = asyncio.Event()

    async def events() -> Any:
        if not keeps:
            await arelease_thread()
        yield b"data: 1\n\n"
        await end.wait()

    async def stream(request: Any) -> StreamingHttpResponse:
        await Group.objects.acount()
        return StreamingHttpResponse(events(), content_type="text/event-stream")

    def count(request: Any) -> HttpResponse:
        return HttpResponse(str(Group.objects.count()))

    routes = path("stream/", stream), path("count/", count)
    with project(*routes, FULLDUPLEX={"IDLE_THREAD_S": 0}) as application:
        streams = [Connection(application, http_scope("/stream/")) for _ in range(200)]
        for one in streams:
            one.put(type="http.request", body=b"", more_body=False)
        for one in streams:
            assert (await one.event())["status"] == 200
            assert (await one.event())["body"] == b"data: 1\n\n"
        assert threads_settled()
        assert (await request(application, "/count/")).body == b"0"
        async with asyncio.timeout(DEADLINE_S):  # the thread of the page goes back behind its answer
            while get_pool().resting_count != (200 if keeps else 0):
                await asyncio.sleep(0.001)
        end.set()
        for one in streams:
            await one.end()
        while get_pool().thread_count > 16:
            await asyncio.sleep(0.001)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_transaction_leaked_by_a_view_reaches_no_other(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    def leak() -> None:
        connection.ensure_connection()
        transaction.set_autocommit(False)
        Group.objects.create(name="leaked")

    def sync_view(request: Any) -> HttpResponse:
        leak()
        return HttpResponse()

    async def async_view(request: Any) -> HttpResponse:
        await sync_to_async(leak)()
        return HttpResponse()

    def count(request: Any) -> HttpResponse:
        return HttpResponse(f"{Group.objects.count()} {connection.get_autocommit()}")

    routes = path("sync/", sync_view), path("async/", async_view), path("count/", count)
    with project(*routes) as application:
        assert (await request(application, f"/{mode}/")).status == 200
        assert threads_settled()
        assert (await request(application, "/count/")).body == b"0 True"
    assert "Autocommit was left off" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_atomic_requests_commit_and_roll_back(settings: Any) -> None:
    def view(request: Any, fails: str) -> HttpResponse:
        assert connection.in_atomic_block
        Group.objects.create(name=fails)
        if fails == "yes":
            raise ZeroDivisionError
        return HttpResponse()

    async def asynchronous(request: Any) -> HttpResponse:
        return HttpResponse()

    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        with project(path("async/", asynchronous), path("<fails>/", view)) as application:
            assert (await request(application, "/no/")).status == 200
            assert (await request(application, "/yes/")).status == 500
            assert (await request(application, "/async/")).status == 500  # as Django has it
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert [group.name async for group in Group.objects.all()] == ["no"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("max_age_s", [60, 0])
async def test_connections_stay_for_conn_max_age(max_age_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(type(connections["default"]), "close", lambda self: closed.append(self))
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", max_age_s)

    def view(request: Any) -> HttpResponse:
        connection.connect()
        return HttpResponse(str(Group.objects.count()))

    with project(path("", view)) as application:
        get_pool().close()
        closed.clear()
        for _ in range(5):
            assert (await request(application)).body == b"0"
            assert threads_settled()
    assert len(closed) >= 5 if max_age_s == 0 else closed == []  # old ones are looked for before and after


# Contexts ------------------------------------------------------------------------------------


async def test_context_variables_and_the_locale_reach_the_view_and_nobody_else() -> None:
    async def asynchronous(request: Any) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse(f"{variable.get()} {translation.get_language()} {get_urlconf() is not None}")

    def sync(request: Any) -> HttpResponse:
        return HttpResponse(f"{variable.get()} {translation.get_language()} {get_urlconf() is not None}")

    middleware = [f"{__name__}.FromQuery"]
    with project(path("async/", asynchronous), path("sync/", sync), MIDDLEWARE=middleware) as application:
        for mode in ("async", "sync"):
            names = ["de", "fr", "es", "it"] * 5
            answers = await asyncio.gather(*(request(application, f"/{mode}/?{name}") for name in names))
            assert [answer.body.decode() for answer in answers] == [f"{name} {name} True" for name in names]
            # In the same task and context, one after the other.
            await call(application, f"/{mode}/?de")
            assert (variable.get(), translation.get_language(), get_urlconf()) == ("unset", "en-us", None)
            assert (await call(application, f"/{mode}/")).startswith(b"unset en-us")


async def call(application: Any, where: str) -> bytes:
    """Call the application as a coroutine of this task."""
    body = b""
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.sleep(DEADLINE_S)
        sent = True
        return {"type": "http.request"}

    async def send(event: dict[str, Any]) -> None:
        nonlocal body
        body += event.get("body", b"")

    await application(http_scope(where), receive, send)
    return body


# The client leaves ---------------------------------------------------------------------------


async def test_a_client_that_leaves_during_its_body_is_no_request(finished: list[int]) -> None:
    with project() as application:
        client = Connection(application, http_scope(method="POST"))
        client.put(type="http.request", body=b"part", more_body=True)
        client.put(type="http.disconnect")
        await client.end()
        assert client.events.empty()
    assert finished == []


async def test_a_client_that_leaves_during_the_view_cancels_it(finished: list[int]) -> None:
    heard: list[str] = []
    started = asyncio.Event()

    async def view(request: Any) -> HttpResponse:
        started.set()
        try:
            await asyncio.sleep(DEADLINE_S)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise
        return HttpResponse()

    with project(path("", view), FULLDUPLEX={"DISCONNECT_WATCH_S": 0}) as application:
        client = Connection(application, http_scope())
        client.put(type="http.request")
        await started.wait()
        client.put(type="http.disconnect")
        await client.end()
        assert client.events.empty()
    assert heard == ["cancelled"]
    assert len(finished) == 1


async def test_a_sync_view_runs_to_its_end_when_the_client_leaves(finished: list[int]) -> None:
    started, go_on, ended = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def view(request: Any) -> HttpResponse:
        loop.call_soon_threadsafe(started.set)
        assert go_on.wait(DEADLINE_S)
        ended.append(request.body)
        return HttpResponse()

    with project(path("", view), FULLDUPLEX={"DISCONNECT_WATCH_S": 0}) as application:
        client = Connection(application, http_scope(method="POST"))
        client.put(type="http.request", body=b"body")
        await started.wait()
        client.put(type="http.disconnect")
        loop.call_later(0.01, go_on.set)
        await client.end()
    assert ended == [b"body"]
    assert len(finished) == 1


async def test_a_server_that_cancels_is_obeyed_and_the_request_finished(finished: list[int]) -> None:
    started = asyncio.Event()

    async def view(request: Any) -> HttpResponse:
        started.set()
        await asyncio.sleep(DEADLINE_S)
        return HttpResponse()

    with project(path("", view)) as application:
        client = Connection(application, http_scope())
        client.put(type="http.request")
        await started.wait()
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.end()
    assert len(finished) == 1


@pytest.mark.parametrize("streams", [False, True])
async def test_a_connection_lost_in_send_is_a_disconnect(streams: bool, finished: list[int]) -> None:
    async def parts() -> Any:
        yield b"part"

    async def view(request: Any) -> Any:
        client.broken = True
        return StreamingHttpResponse(parts()) if streams else HttpResponse("lost")

    with project(path("", view)) as application:
        client = Connection(application, http_scope())
        client.put(type="http.request")
        await client.end()
    assert len(finished) == 1


# Signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_receivers_get_both_signals(asynchronous: bool) -> None:
    calls: list[tuple[str, bool]] = []

    def started_sync(**kwargs: Any) -> None:
        calls.append(("started", threading.current_thread() is threading.main_thread()))

    def finished_sync(**kwargs: Any) -> None:
        calls.append(("finished", threading.current_thread() is threading.main_thread()))

    async def started_async(**kwargs: Any) -> None:
        started_sync()

    async def finished_async(**kwargs: Any) -> None:
        finished_sync()

    first, last = (started_async, finished_async) if asynchronous else (started_sync, finished_sync)
    request_started.connect(first)
    request_finished.connect(last)
    try:
        with project() as application:
            assert (await request(application, "/none/")).status == 404
    finally:
        request_started.disconnect(first)
        request_finished.disconnect(last)
    assert calls == [("started", asynchronous), ("finished", asynchronous)]


# Bodies and streams ---------------------------------------------------------------------------


async def test_a_small_body_stays_in_memory_and_a_large_one_goes_to_disk(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000
    seen: list[bool] = []

    def view(request: Any) -> HttpResponse:
        seen.append(isinstance(request._stream, io.BytesIO))
        return HttpResponse(str(len(request.read())))

    with project(path("", view)) as application:
        for size in (1, 250, 500):
            client = Connection(application, http_scope(method="POST"))
            for _ in range(3):
                client.put(type="http.request", body=b"x" * size, more_body=True)
            client.put(type="http.request", body=b"", more_body=False)
            await client.event()
            assert (await client.event())["body"] == str(3 * size).encode()
            await client.end()
    assert seen == [True, True, False]


async def test_a_sync_iterator_is_streamed_part_by_part() -> None:
    parts: list[str] = []

    def view(request: Any) -> StreamingHttpResponse:
        def content() -> Any:
            for number in range(3):
                parts.append(threading.current_thread().name)
                yield str(number)

        return StreamingHttpResponse(content())

    with project(path("", view)) as application:
        assert (await request(application)).body == b"012"
    assert set(parts) == {"fullduplex-thread"}


GOOD = ["good.example", "GOOD.example:8000"]


@pytest.mark.parametrize(
    ("allowed", "fine"),
    [(["good.example"], GOOD), ([".good.example"], GOOD), (["*"], [*GOOD, "evil.example"]), ([], [])],
)
async def test_a_host_that_was_allowed_is_so_while_the_settings_allow_it(allowed: list[str], fine: list[str]) -> None:
    def view(request: Any) -> HttpResponse:
        return HttpResponse(request.get_host())

    async def ask(application: Any, host: str) -> tuple[int, bytes]:
        connection = Connection(application, http_scope(headers={"host": host}))
        connection.put(type="http.request", body=b"", more_body=False)
        await connection.end()
        return connection.events.get_nowait()["status"], connection.events.get_nowait()["body"]

    logging.disable(logging.CRITICAL)
    try:
        for hosts in (allowed, ["other.example"], allowed):
            with project(path("", view), ALLOWED_HOSTS=hosts, DEBUG=False) as application:
                for host in ("good.example", "GOOD.example:8000", "bad example", "evil.example", "good.example"):
                    seen = [await ask(handler, host) for handler in (application, DjangoHandler())]
                    assert seen[0] == seen[1]
                    assert (seen[0][0] == 200) == (hosts is allowed and host in fine)
    finally:
        logging.disable(logging.NOTSET)


async def test_fast_off_is_djangos_own_handler() -> None:
    async def view(request: Any) -> HttpResponse:
        return HttpResponse(type(request).__name__)

    with project(path("", view), FULLDUPLEX={"FAST": False}) as application:
        assert application.chain is None
        assert (await request(application)).status == 200


# Streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "left"])
@pytest.mark.parametrize("middleware", [[], ["django.middleware.gzip.GZipMiddleware"]], ids=["plain", "wrapped"])
async def test_the_end_of_an_async_stream_comes_before_request_finished_on_its_thread(
    how: str, middleware: list[str]
) -> None:
    """Whoever has put another iterator around it, and whether or not the client is there to its end."""
    order: list[tuple[str, int]] = []
    waits = asyncio.Event()

    def note(what: str) -> None:
        order.append((what, threading.get_ident()))

    async def parts() -> Any:
        try:
            await sync_to_async(note)("part")
            yield b"part " * 100
            waits.set()
            if how == "left":
                await asyncio.sleep(DEADLINE_S)
        finally:
            await sync_to_async(note)("end")

    async def view(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts())

    def receiver(**kwargs: Any) -> None:
        note("finished")

    request_finished.connect(receiver)
    settings: dict[str, Any] = {"MIDDLEWARE": middleware, "FULLDUPLEX": {"DISCONNECT_WATCH_S": 0}}
    try:
        with project(path("", view), **settings) as application:
            client = Connection(application, http_scope(headers={"accept-encoding": "gzip"}))
            client.put(type="http.request", body=b"", more_body=False)
            await waits.wait()
            if how == "left":
                client.put(type="http.disconnect")
            await client.end()
    finally:
        request_finished.disconnect(receiver)
    assert [what for what, _ in order] == ["part", "end", "finished"]
    assert len({ident for _, ident in order}) == 1
