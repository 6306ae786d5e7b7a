"""A handshake is a request: each sentence of that contract, event by event."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import wraps
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.signals import got_request_exception, request_finished, request_started
from django.http import (
    BadHeaderError,
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import include, path, reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from fullduplex.exceptions import DenyConnection, Disconnected, RemoteProtocolError
from fullduplex.realtime.groups import Group
from fullduplex.realtime.hub import get_hub
from fullduplex.sockets.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from fullduplex.sockets.response import WebSocketResponse
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import Connection, accept, http_scope, refusal, request, websocket, websocket_scope
from tests.handler.project import project

FOREVER_S = 3600.0
of_all_servers = pytest.mark.parametrize("tells", [False, True], ids=["reading ahead", "told by the server"])
flavour: contextvars.ContextVar[str] = contextvars.ContextVar("flavour", default="none")


@socket_view
async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


@socket_view
async def one_word(socket: WebSocket) -> None:
    await socket.send("word")


def middleware(hook: Any) -> Any:
    """An async middleware made of one function ``hook(request, get_response)``."""

    def factory(get_response: Any) -> Any:
        async def run(request: HttpRequest) -> Any:
            return await hook(request, get_response)

        return run

    factory.async_capable = True  # type: ignore[attr-defined]
    factory.sync_capable = False  # type: ignore[attr-defined]
    return factory


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give middleware defined in a test a dotted path for MIDDLEWARE."""

    def install(*factories: Any) -> list[str]:
        paths = []
        for number, factory in enumerate(factories):
            monkeypatch.setattr(f"{__name__}.installed_{number}", factory, raising=False)
            paths.append(f"{__name__}.installed_{number}")
        return paths

    return install


class SyncMiddleware:
    """The oldest form: sync only, with every hook."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        flavour.set("sync middleware")
        response: HttpResponse = self.get_response(request)
        response["X-Sync"] = str(response.status_code)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        request.seen_view = view  # type: ignore[attr-defined]


# The request ---------------------------------------------------------------------------------


async def test_the_request_is_a_get_with_the_scheme_of_http_and_the_scope_of_the_server() -> None:
    seen: list[Any] = []

    @socket_view
    async def look(socket: WebSocket) -> None:
        request = socket.request
        seen.append((request.method, request.scheme, request.is_secure(), request.build_absolute_uri()))
        assert request.scope is socket.scope  # type: ignore[attr-defined]
        assert request.GET["q"] == "1"
        assert socket.headers["Origin"].endswith("://testserver")
        await socket.accept()

    with project(path("room/", look)) as application:
        scope = websocket_scope("/room/?q=1")
        before = dict(scope)
        connection = Connection(application, scope)
        connection.put(type="websocket.connect")
        assert (await connection.event())["type"] == "websocket.accept"
        await connection.end()
        assert scope == before
        await accept(application, "/room/?q=1", scheme="wss", headers={"origin": "https://testserver"})
    assert seen == [
        ("GET", "http", False, "http://testserver/room/?q=1"),
        ("GET", "https", True, "https://testserver/room/?q=1"),
    ]


async def test_routes_have_includes_names_converters_and_reverse() -> None:
    @socket_view
    async def room(socket: WebSocket, number: int, name: str) -> None:
        await socket.send(f"{number + 1} {name} {reverse('chat:room', args=[1, 'x'])} {socket.request.path}")

    routes = ([path("<int:number>/<slug:name>/", room, {}, "room")], "chat")
    with project(path("chat/", include(routes, namespace="chat"))) as application:
        async with websocket(application, "/chat/41/lobby/") as client:
            await client.accepted()
            assert await client.message() == "42 lobby /chat/1/x/ /chat/41/lobby/"
        assert (await refusal(application, "/chat/x/lobby/")).status == 404


async def test_a_script_prefix_is_in_force() -> None:
    @socket_view
    async def where(socket: WebSocket) -> None:
        await socket.send(f"{socket.request.path_info} {reverse('where')}")

    with project(path("ws/", where, name="where")) as application:
        async with websocket(application, "/app/ws/", root_path="/app") as client:
            await client.accepted()
            assert await client.message() == "/ws/ /app/ws/"


# Accepting -----------------------------------------------------------------------------------


@of_all_servers
async def test_messages_go_both_ways_until_the_client_leaves(tells: bool) -> None:
    with project(path("", echo)) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            client.send("text")
            assert await client.message() == "text"
            client.send(b"bytes")
            assert await client.message() == b"bytes"
            client.send("")
            assert await client.message() == ""
            client.leave()
            await client.end()
            assert client.events.empty()  # nothing is sent to a client that has left


@of_all_servers
async def test_a_view_that_ends_closes_with_1000(tells: bool) -> None:
    with project(path("", one_word)) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            assert await client.message() == "word"
            assert await client.closed() == (1000, "")
            await client.end()


async def test_the_response_middleware_runs_before_the_accept_goes_out(install: Any) -> None:
    order: list[str] = []

    @middleware
    async def outer(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        assert isinstance(response, WebSocketResponse)
        assert (response.status_code, response.content) == (101, b"")
        await asyncio.sleep(0)
        order.append("middleware")
        response["X-Late"] = "yes"
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        order.append("accepted")

    with project(path("", view), MIDDLEWARE=install(outer)) as application:
        event = await accept(application)
    assert order == ["middleware", "accepted"]
    assert (b"x-late", b"yes") in event["headers"]


async def test_the_accept_carries_headers_and_cookies_but_nothing_of_content_or_connection(install: Any) -> None:
    @middleware
    async def decorate(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2", httponly=True)
        for name in ("X-Kept", "Content-Length", "Content-Language", "ETag", "Connection", "Upgrade"):
            response[name] = "1"
        response["Sec-WebSocket-Accept"] = "forged"
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept(subprotocol="two", headers={"X-Mine": "é"})

    with project(path("", view), MIDDLEWARE=install(decorate)) as application:
        event = await accept(application, subprotocols=["one", "two"])
    assert event["subprotocol"] == "two"
    assert event["headers"] == [
        (b"x-mine", "é".encode("latin-1")),
        (b"x-kept", b"1"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; HttpOnly; Path=/"),
    ]


async def test_an_accept_may_repeat_a_header_and_each_cookie_goes_out(install: Any) -> None:
    @middleware
    async def decorate(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        response.set_cookie("c", "3")
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        headers = [("Set-Cookie", "a=1; Path=/"), ("X-Mine", "1"), ("set-cookie", "b=é; HttpOnly"), ("x-mine", "2")]
        with pytest.raises(BadHeaderError):
            WebSocketResponse(headers=[("Set-Cookie", "a=1\r\nX-Forged: 1")])
        await socket.accept(headers=iter(headers))

    with project(path("", view), MIDDLEWARE=install(decorate)) as application:
        event = await accept(application)
    assert event["headers"] == [
        (b"x-mine", b"1, 2"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", "b=é; HttpOnly".encode("latin-1")),
        (b"set-cookie", b"c=3; Path=/"),
    ]


async def test_response_middleware_may_turn_an_accept_into_a_refusal(install: Any) -> None:
    ended: list[str] = []

    @middleware
    async def veto(request: HttpRequest, get_response: Any) -> Any:
        await get_response(request)
        return HttpResponse("no", status=418)

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await socket.accept()
        finally:
            ended.append("view")

    with project(path("", view), MIDDLEWARE=install(veto)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (418, b"no")
    assert ended == ["view"]


async def test_context_variables_of_middleware_stay_in_force_and_do_not_leak(install: Any) -> None:
    @middleware
    async def season(request: HttpRequest, get_response: Any) -> Any:
        flavour.set(request.GET["flavour"])
        try:
            return await get_response(request)
        finally:
            flavour.set("handshake over")

    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await socket.send(flavour.get())

    with project(path("", view), MIDDLEWARE=install(season)) as application:
        async with websocket(application, "/?flavour=salt") as one, websocket(application, "/?flavour=sugar") as two:
            await one.accepted()
            await two.accepted()
            one.send("?")
            two.send("?")
            assert (await one.message(), await two.message()) == ("salt", "sugar")
    assert flavour.get() == "none"


async def test_a_urlconf_set_by_middleware_stays_in_force_for_the_socket_and_no_other(install: Any) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await socket.send(reverse("here"))

    @middleware
    async def tenant(request: HttpRequest, get_response: Any) -> Any:
        if "tenant" in request.GET:
            request.urlconf = (path("tenant/", view, name="here"),)
        return await get_response(request)

    with project(path("plain/", view, name="here"), MIDDLEWARE=install(tenant)) as application:
        async with websocket(application, "/tenant/?tenant") as one, websocket(application, "/plain/") as two:
            await one.accepted()
            await two.accepted()
            for client, place in ((one, "/tenant/"), (two, "/plain/"), (one, "/tenant/")):
                client.send("?")
                assert await client.message() == place


async def test_request_started_and_finished_are_sent_once_and_finished_right_after_the_handshake() -> None:
    sent: list[str] = []

    def started(**kwargs: Any) -> None:
        sent.append(f"started {kwargs['scope']['type']}")

    def finished(**kwargs: Any) -> None:
        sent.append("finished")

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        sent.append("open")
        await socket.receive()

    request_started.connect(started)
    request_finished.connect(finished)
    try:
        with project(path("", view), path("no/", one_word)) as application:
            async with websocket(application) as client:
                await client.accepted()
                client.send("on")
                await client.closed()
            assert sent == ["started websocket", "finished", "open"]
            sent.clear()
            await refusal(application, "/nowhere/")
            assert sent == ["started websocket", "finished"]
    finally:
        request_started.disconnect(started)
        request_finished.disconnect(finished)


# Refusing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(Http404("x"), 404), (PermissionDenied("x"), 403), (BadRequest("x"), 400), (ZeroDivisionError("x"), 500)],
)
async def test_an_exception_before_the_accept_is_djangos_response_to_it(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await asyncio.sleep(0)
        raise error

    with project(path("", view)) as application, caplog.at_level("ERROR", "django.request"):
        response = await refusal(application)
    assert response.status == status
    assert "text/html" in response.headers["content-type"]
    assert len(caplog.records) == (1 if status == 500 else 0)


async def test_a_view_may_return_a_response_that_refuses() -> None:
    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        response = HttpResponse("come back later", status=503, headers={"Retry-After": "9"})
        response.set_cookie("a", "1")
        return response

    with project(path("", view)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (503, b"come back later")
    assert response.headers["retry-after"] == "9"
    assert response.headers["set-cookie"].startswith("a=1")


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
async def test_a_streaming_refusal_is_streamed(asynchronous: bool) -> None:
    async def parts() -> Any:
        yield b"one "
        yield b"two"

    @socket_view
    async def view(socket: WebSocket) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts() if asynchronous else iter([b"one ", b"two"]), status=409)

    with project(path("", view)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (409, b"one two")


async def test_a_streaming_refusal_runs_in_the_context_of_the_middleware(install: Any) -> None:
    @middleware
    async def season(request: HttpRequest, get_response: Any) -> Any:
        flavour.set("salt")
        return await get_response(request)

    async def parts() -> Any:
        yield flavour.get().encode()

    @socket_view
    async def view(socket: WebSocket) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts(), status=409)

    with project(path("", view), MIDDLEWARE=install(season)) as application:
        assert (await refusal(application)).body == b"salt"


async def test_an_endless_refusal_ends_when_the_client_leaves() -> None:
    closed: list[str] = []

    async def parts() -> Any:
        try:
            yield b"first"
            await asyncio.sleep(FOREVER_S)
        finally:
            closed.append("closed")

    @socket_view
    async def view(socket: WebSocket) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts(), status=409)

    with project(path("", view)) as application:
        async with websocket(application) as client:
            assert (await client.event())["status"] == 409
            assert (await client.event())["body"] == b"first"
            client.leave()
            await client.end()
    assert closed == ["closed"]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
async def test_a_file_may_refuse_and_is_closed(tmp_path: Any) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>no</p>")
    opened = page.open("rb")

    @socket_view
    async def view(socket: WebSocket) -> FileResponse:
        return FileResponse(opened, status=403)

    with project(path("", view)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (403, b"<p>no</p>")
    assert opened.closed


async def test_a_server_without_the_refusal_extension_gets_a_plain_close() -> None:
    for extensions in ({"extensions": {}}, {"extensions": None}):
        with project() as application:
            async with websocket(application, "/nowhere/", **extensions) as client:
                assert await client.event() == {"type": "websocket.close"}
                await client.end()


async def test_a_view_that_returns_none_without_accepting_is_403() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        return None

    with project(path("", view)) as application:
        assert (await refusal(application)).status == 403


async def test_a_close_before_the_accept_is_403_at_once() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.close(4001)
        assert socket.closed
        with pytest.raises(Disconnected):
            await socket.receive()
        await asyncio.sleep(FOREVER_S)

    with project(path("", view)) as application:
        assert (await refusal(application)).status == 403


@pytest.mark.parametrize("status", [101, 200, 204, 304])
async def test_a_success_that_is_no_accept_becomes_403(status: int, caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        return WebSocketResponse() if status == 101 else HttpResponse("fine", status=status)

    with project(path("", view)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (403, b"")
    assert f"answered with {status}" in caplog.text


async def test_a_redirect_passes() -> None:
    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        return HttpResponseRedirect("/elsewhere/")

    with project(path("", view)) as application:
        response = await refusal(application)
    assert (response.status, response.headers["location"]) == (302, "/elsewhere/")


async def test_a_view_that_returns_something_else_is_an_error_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def view(socket: WebSocket) -> Any:
        return {"detail": "no"}

    with project(path("", view)) as application:
        assert (await refusal(application)).status == 500
    assert "an HttpResponse refuses" in caplog.text


async def test_a_view_cancelled_from_within_is_a_500() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        raise asyncio.CancelledError

    with project(path("", view)) as application:
        assert (await refusal(application)).status == 500


async def test_error_handlers_of_the_urlconf_make_the_refusal() -> None:
    def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse(f"my 404 of {request.path}", status=404)

    def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse("my 403", status=403)

    @socket_view
    async def view(socket: WebSocket) -> None:
        return None

    handlers = {"handler404": not_found, "handler403": forbidden}
    with project(path("no/", view), error_handlers=handlers) as application:
        assert (await refusal(application, "/x/")).body == b"my 404 of /x/"
        assert (await refusal(application, "/no/")).body == b"my 403"


async def test_a_handshake_to_a_view_that_is_no_socket_view_does_not_call_it() -> None:
    called: list[str] = []

    def page(request: HttpRequest) -> HttpResponse:
        called.append(request.path)
        return HttpResponse("page")

    with project(path("", page)) as application:
        assert (await refusal(application)).status == 404
        assert called == []
        assert (await request(application)).body == b"page"


async def test_the_debug_landing_page_is_a_404_to_a_handshake() -> None:
    with project(DEBUG=True) as application:
        assert (await request(application)).status == 200
        assert (await refusal(application)).status == 404


async def test_a_query_string_that_is_no_utf8_is_400() -> None:
    with project(path("", echo)) as application:
        assert (await refusal(application, query_string=b"\xff")).status == 400


# Plain HTTP on a socket view ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_plain_http_to_a_socket_view_is_426_with_upgrade(method: str) -> None:
    with project(path("", echo)) as application:
        response = await request(application, method=method)
    assert response.status == 426
    assert (response.headers["upgrade"], response.headers["connection"]) == ("websocket", "Upgrade")


async def test_over_http_2_the_426_has_no_upgrade_field() -> None:
    with project(path("", echo)) as application:
        response = await request(application, http_version="2")
    assert response.status == 426
    assert "upgrade" not in response.headers


# Hooks of middleware ------------------------------------------------------------------------


async def test_process_view_gets_the_view_of_the_urlconf_and_may_refuse(install: Any) -> None:
    class Doorman:
        async_capable = sync_capable = True

        def __init__(self, get_response: Any) -> None:
            self.get_response = get_response
            if iscoroutinefunction(get_response):
                markcoroutinefunction(self)

        async def __call__(self, request: HttpRequest) -> Any:
            return await self.get_response(request)

        async def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> Any:
            assert view is echo
            return HttpResponse("closed", status=410) if "closed" in request.GET else None

    with project(path("", echo), MIDDLEWARE=install(Doorman)) as application:
        assert (await refusal(application, "/?closed")).status == 410
        await accept(application)


async def test_process_exception_may_answer_for_the_view(install: Any) -> None:
    class Translator:
        async_capable = True

        def __init__(self, get_response: Any) -> None:
            self.get_response = get_response

        def __call__(self, request: HttpRequest) -> Any:
            return self.get_response(request)

        def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
            return HttpResponse(f"caught {exception}", status=422)

    @socket_view
    async def view(socket: WebSocket) -> None:
        raise ValueError("tea")

    with project(path("", view), MIDDLEWARE=install(Translator)) as application:
        response = await refusal(application)
    assert (response.status, response.body) == (422, b"caught tea")


async def test_process_template_response_gets_a_template_refusal(install: Any) -> None:
    from django.template import engines
    from django.template.response import SimpleTemplateResponse

    class Context:
        def __init__(self, get_response: Any) -> None:
            self.get_response = get_response

        def __call__(self, request: HttpRequest) -> Any:
            return self.get_response(request)

        def process_template_response(self, request: HttpRequest, response: Any) -> Any:
            response.context_data["word"] = "hooked"
            return response

    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        return SimpleTemplateResponse(engines["django"].from_string("{{ word }}"), {}, status=402)  # type: ignore[arg-type]

    with project(path("", view), MIDDLEWARE=install(Context)) as application:
        assert (await refusal(application)).body == b"hooked"


@pytest.mark.parametrize("phase", ["request", "response"])
async def test_an_exception_in_middleware_is_a_500_and_ends_the_view(
    phase: str, install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    @middleware
    async def broken(request: HttpRequest, get_response: Any) -> Any:
        if phase == "request":
            raise ZeroDivisionError
        await get_response(request)
        raise ZeroDivisionError

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await socket.accept()
        finally:
            ended.append("view")

    with project(path("", view), MIDDLEWARE=install(broken)) as application:
        assert (await refusal(application)).status == 500
    assert ended == ([] if phase == "request" else ["view"])
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_sync_middleware_works_and_so_does_sync_code_of_the_view_before_and_after_the_accept(
    install: Any,
) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        assert socket.request.seen_view is view  # type: ignore[attr-defined]
        words = [await sync_to_async(flavour.get)()]
        go_on = asyncio.Event()

        async def helper() -> None:
            await go_on.wait()
            words.append(await sync_to_async(lambda: "helper")())

        async with asyncio.TaskGroup() as group:
            group.create_task(helper())  # started before the accept: it has the context of the handshake
            await asyncio.sleep(0)
            await socket.accept()
            words.append(await sync_to_async(lambda: "after")())
            go_on.set()
        await socket.send(" ".join(words))

    with project(path("", view), MIDDLEWARE=install(SyncMiddleware, SyncMiddleware)) as application:
        async with websocket(application) as client:
            assert (b"x-sync", b"101") in (await client.accepted())["headers"]
            assert await client.message() == "sync middleware after helper"
        assert (await refusal(application, "/nowhere/")).headers["x-sync"] == "404"


# Decorators above @websocket ----------------------------------------------------------------


async def test_decorators_with_wraps_see_a_view_and_its_request() -> None:
    def passing(view: Any) -> Any:
        @wraps(view)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            assert request.method == "GET"
            return view(request, *args, **kwargs)  # sync, hands the coroutine on

        return inner

    class Counting:
        calls = 0

        def __init__(self, view: Any) -> None:
            wraps(view)(self)
            self.view = view
            markcoroutinefunction(self)

        async def __call__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            Counting.calls += 1
            return await self.view(request, *args, **kwargs)

    views = [passing(echo), Counting(echo), csrf_exempt(echo), require_GET(echo), cache_control(private=True)(echo)]
    for view in views:
        with project(path("", view)) as application:
            async with websocket(application) as client:
                await client.accepted()
                client.send("x")
                assert await client.message() == "x"
            assert (await request(application)).status == 426
    assert Counting.calls == 1


async def test_a_decorator_that_calls_the_view_twice_gets_an_error(caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        raise PermissionDenied

    @wraps(view)
    async def retry(request: HttpRequest) -> Any:
        try:
            return await view(request)
        except PermissionDenied:
            return await view(request)

    with project(path("", retry)) as application:
        assert (await refusal(application)).status == 500
    assert "runs one socket view once" in caplog.text


async def test_atomic_requests_do_not_wrap_a_socket_view(settings: Any) -> None:
    from django.db import connections

    with project(path("", echo)) as application:
        connections.settings["default"]["ATOMIC_REQUESTS"] = True
        try:
            await accept(application)
            assert (await request(application)).status == 426
        finally:
            connections.settings["default"]["ATOMIC_REQUESTS"] = False


# Time ----------------------------------------------------------------------------------------


async def test_no_accept_in_time_is_504_through_the_response_middleware_and_the_view_is_cancelled(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled: list[str] = []

    @middleware
    async def mark(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        response["X-Seen"] = str(response.status_code)
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            cancelled.append("view")
            raise

    limits = {"HANDSHAKE_TIMEOUT_S": 0}
    with project(path("", view), MIDDLEWARE=install(mark), FULLDUPLEX=limits) as application:
        response = await refusal(application)
    assert (response.status, response.headers["x-seen"], cancelled) == (504, "504", ["view"])
    assert caplog.text.count("HANDSHAKE_TIMEOUT_S") == 1


async def test_a_view_that_ignores_its_cancellation_cannot_accept_any_more() -> None:
    outcome: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            pass
        try:
            await socket.send("late")
        except Disconnected as error:
            outcome.append(error.code)

    with project(path("", view), FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": 0}) as application:
        assert (await refusal(application)).status == 504
    assert outcome == [1006]


async def test_middleware_that_never_answers_is_504_too(install: Any) -> None:
    @middleware
    async def stuck(request: HttpRequest, get_response: Any) -> Any:
        await asyncio.sleep(FOREVER_S)

    limits = {"HANDSHAKE_TIMEOUT_S": 0, "DISCONNECT_GRACE_S": 0}
    with project(path("", echo), MIDDLEWARE=install(stuck), FULLDUPLEX=limits) as application:
        assert (await refusal(application)).status == 504


# Leaving -------------------------------------------------------------------------------------


@of_all_servers
@pytest.mark.parametrize("phase", ["request", "view", "response"])
async def test_a_client_that_leaves_during_the_handshake_cancels_it_and_all_is_cleaned_up(
    phase: str, install: Any, tells: bool
) -> None:
    reached = asyncio.Event()
    events: list[str] = []

    async def hang(where: str) -> None:
        if where == phase:
            reached.set()
            try:
                await asyncio.sleep(FOREVER_S)
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

    @middleware
    async def slow(request: HttpRequest, get_response: Any) -> Any:
        await hang("request")
        response = await get_response(request)
        await hang("response")
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        await hang("view")
        await socket.accept()

    def finished(**kwargs: Any) -> None:
        events.append("finished")

    request_finished.connect(finished)
    try:
        with project(path("", view), MIDDLEWARE=install(slow)) as application:
            async with websocket(application, tells=tells) as client:
                await reached.wait()
                client.leave()
                await client.end()
                assert client.events.empty()
    finally:
        request_finished.disconnect(finished)
    assert events == ["cancelled", "finished"]


async def test_a_client_that_leaves_before_the_connect_event_is_no_request() -> None:
    with project(path("", echo)) as application:
        connection = Connection(application, websocket_scope())
        connection.put(type="websocket.disconnect", code=1006)
        await connection.end()
    assert connection.events.empty()


@of_all_servers
async def test_after_the_client_left_iteration_ends_send_raises_and_the_view_may_finish(tells: bool) -> None:
    seen: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        seen.extend([message async for message in socket])
        seen.append((socket.close_code, socket.close_reason))
        try:
            await socket.send("too late")
        except Disconnected as error:
            seen.append((error.code, error.reason))
        await asyncio.sleep(0)
        seen.append("done")

    with project(path("", view)) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            client.send("one")
            client.send("two")
            client.leave(4000, "bye")
            await client.end()
    assert seen == ["one", "two", (4000, "bye"), (4000, "bye"), "done"]


@of_all_servers
async def test_any_other_wait_is_cancelled_after_the_grace(tells: bool) -> None:
    seen: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with project(path("", view), FULLDUPLEX={"DISCONNECT_GRACE_S": 0}) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            client.leave()
            await client.end()
    assert seen == ["cancelled"]


@of_all_servers
async def test_a_view_that_never_receives_notices_a_disconnect_behind_unread_messages(tells: bool) -> None:
    @socket_view
    async def push_only(socket: WebSocket) -> None:
        await socket.accept()
        await asyncio.sleep(FOREVER_S)

    with project(path("", push_only), FULLDUPLEX={"DISCONNECT_GRACE_S": 0}) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            for _ in range(3):
                client.send("are you there?")
            client.leave()
            await client.end()


async def test_a_server_that_tells_of_the_end_is_not_asked_for_messages_before_the_view_wants_them() -> None:
    @socket_view
    async def push_only(socket: WebSocket) -> None:
        await socket.join("lobby")
        await Group("lobby").asend("news")
        await asyncio.sleep(FOREVER_S)

    with project(path("", push_only), FULLDUPLEX={"DISCONNECT_GRACE_S": 0}) as application:
        async with websocket(application, tells=True) as client:
            await client.accepted()
            assert await client.message() == "news"
            assert client.receive_count == 1  # websocket.connect
            client.leave()
            await client.end()


async def test_without_prepared_frames_middleware_sees_the_disconnect_of_a_view_that_never_receives() -> None:
    @socket_view
    async def push_only(socket: WebSocket) -> None:
        await socket.accept()
        await asyncio.sleep(FOREVER_S)

    with project(path("", push_only), FULLDUPLEX={"DISCONNECT_GRACE_S": 0, "PREPARED_FRAMES": False}) as application:
        async with websocket(application, tells=True) as client:
            await client.accepted()
            client.leave()
            await client.end()
            assert client.receive_count >= 2


@of_all_servers
async def test_a_view_that_has_closed_may_finish_within_the_grace(tells: bool) -> None:
    seen: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4000, "bye")
        await asyncio.sleep(0)
        seen.append("tidied up")
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with project(path("", view), FULLDUPLEX={"DISCONNECT_GRACE_S": 0.01}) as application:
        async with websocket(application, tells=tells) as client:
            await client.accepted()
            assert await client.closed() == (4000, "bye")
            await client.end()
    assert seen == ["tidied up", "cancelled"]


async def test_a_socket_that_is_over_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    with project(path("", one_word)) as application:
        async with websocket(application, tells=True) as client:
            loop = asyncio.get_running_loop()
            timers: list[asyncio.TimerHandle] = []
            call_later = loop.call_later

            def note(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
                timers.append(call_later(*args, **kwargs))
                return timers[-1]

            await client.accepted()
            monkeypatch.setattr(loop, "call_later", note)
            assert await client.message() == "word"
            assert await client.closed() == (1000, "")
            client.leave()
            await client.end()
            monkeypatch.undo()
            await asyncio.sleep(0)
            assert all(timer.cancelled() for timer in timers if timer.when() > loop.time() + 5)


async def test_what_only_the_handshake_needs_is_gone_after_it(install: Any) -> None:
    responses: list[weakref.ref[HttpResponse]] = []

    @middleware
    async def remember(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        responses.append(weakref.ref(response))
        return response

    with project(path("", echo), MIDDLEWARE=install(remember)) as application:
        async with websocket(application, tells=True) as client:
            await client.accepted()
            client.send("settled")
            assert await client.message() == "settled"
            assert responses[0]() is None
            assert len(asyncio.all_tasks()) == 3  # this one, the call and the view


async def test_the_news_of_a_disconnect_that_a_view_lets_pass_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def straight(socket: WebSocket) -> None:
        while True:
            await socket.receive()

    @socket_view
    async def in_a_group(socket: WebSocket) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(straight_on(socket))

    async def straight_on(socket: WebSocket) -> None:
        while True:
            await socket.receive()

    for view in (straight, in_a_group):
        with project(path("", view)) as application:
            async with websocket(application) as client:
                await client.accepted()
                client.leave()
                await client.end()
                assert client.events.empty()
    assert caplog.records == []


async def test_a_lost_connection_shows_in_send_and_ends_the_socket() -> None:
    seen: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.receive()
        with pytest.raises(Disconnected) as caught:
            await socket.send("x")
        seen.append(caught.value.code)
        assert socket.closed
        with pytest.raises(Disconnected):
            await socket.send("x")
        await asyncio.sleep(FOREVER_S)

    with project(path("", view), FULLDUPLEX={"DISCONNECT_GRACE_S": 0}) as application:
        async with websocket(application) as client:
            await client.accepted()
            client.broken = True
            client.send("go")
            await client.end()
    assert seen == [1006]


async def test_a_connection_lost_before_the_accept_is_written_ends_the_view() -> None:
    seen: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await socket.accept()
        finally:
            seen.append("ended")

    with project(path("", view)) as application:
        async with websocket(application) as client:
            client.broken = True
            await client.end()
    assert seen == ["ended"]


async def test_the_server_cancels_an_open_socket_which_closes_with_1012() -> None:
    seen: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            async for _ in socket:
                pass
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await client.accepted()
            client.task.cancel()
            assert await client.closed() == (1012, "")
            with pytest.raises(asyncio.CancelledError):
                await client.end()
    assert seen == ["cleaned up"]


async def test_the_server_cancels_a_handshake() -> None:
    reached = asyncio.Event()
    seen: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            reached.set()
            await asyncio.sleep(FOREVER_S)
        finally:
            seen.append("ended")

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await reached.wait()
            client.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client.end()
            assert client.events.empty()
    assert seen == ["ended"]


# Errors after the accept ---------------------------------------------------------------------


async def test_an_exception_in_an_open_socket_is_logged_once_with_the_request_and_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        raise ZeroDivisionError("in the socket")

    def receiver(sender: Any, request: Any, **kwargs: Any) -> None:
        told.append(request.path)

    got_request_exception.connect(receiver)
    try:
        with project(path("room/", view)) as application:
            async with websocket(application, "/room/") as client:
                await client.accepted()
                assert await client.closed() == (1011, "")
                await client.end()
    finally:
        got_request_exception.disconnect(receiver)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.status_code) == ("django.request", logging.ERROR, 500)  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.request.path == "/room/"  # type: ignore[attr-defined]
    assert told == ["/room/"]


async def test_what_the_client_did_wrong_closes_with_its_code_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        try:
            await socket.receive_json()
        except RemoteProtocolError:
            await socket.receive_text()

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await client.accepted()
            client.send("{")
            client.send(b"1")
            assert await client.closed() == (1003, "a text message was expected")
            await client.end()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_response_after_the_accept_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        await socket.accept()
        return HttpResponse("who reads this?")

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.closed() == (1011, "")
            await client.end()
    assert "after it had accepted" in caplog.text


async def test_the_view_closes_with_its_own_code_once() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4002, "enough")
        await socket.close(4003)
        with pytest.raises(Disconnected) as caught:
            await socket.send("x")
        assert (caught.value.code, caught.value.reason) == (4002, "enough")

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.closed() == (4002, "enough")
            await client.end()
            assert client.events.empty()


async def test_a_server_whose_receive_fails_hears_of_it() -> None:
    async def receive() -> Any:
        raise ZeroDivisionError("a bug of the server")

    calls = iter([{"type": "websocket.connect"}])

    async def receive_connect_then_fail() -> Any:
        for event in calls:
            return event
        return await receive()

    async def send(event: Any) -> None:
        pass

    with project(path("", echo)) as application, pytest.raises(ZeroDivisionError):
        await application(websocket_scope(), receive_connect_then_fail, send)


def test_the_driver_makes_an_honest_http_scope() -> None:
    assert http_scope("/a?b=1")["query_string"] == b"b=1"


# Groups --------------------------------------------------------------------------------------


async def test_what_one_socket_sends_to_a_group_reaches_the_other_and_ends_with_the_socket() -> None:
    @socket_view
    async def room(socket: WebSocket, name: str) -> None:
        lobby = Group(f"chat.{name}")
        await socket.join(lobby)
        async for message in socket:
            await lobby.asend({"text": message})

    with project(path("<name>/", room)) as application:
        async with websocket(application, "/a/") as one, websocket(application, "/a/") as two:
            await one.accepted()
            await two.accepted()
            one.send("hi")
            assert await one.message() == await two.message() == '{"text":"hi"}'
            assert get_hub().member_count("chat.a") == 2
            one.leave()
            await one.end()
            assert get_hub().member_count("chat.a") == 1
    assert get_hub().groups == []


async def test_a_group_message_during_the_handshake_arrives_after_the_accept(install: Any) -> None:
    @middleware
    async def busy(request: HttpRequest, get_response: Any) -> Any:
        response = await get_response(request)
        await Group("lobby").asend("during the handshake")
        return response

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.join("lobby")
        await socket.receive()

    with project(path("", view), MIDDLEWARE=install(busy)) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.message() == "during the handshake"


async def test_a_refused_handshake_leaves_its_groups(install: Any) -> None:
    @middleware
    async def veto(request: HttpRequest, get_response: Any) -> Any:
        await get_response(request)
        assert get_hub().groups == ["lobby"]
        return HttpResponse(status=418)

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.join("lobby")

    with project(path("", view), MIDDLEWARE=install(veto)) as application:
        assert (await refusal(application)).status == 418
        assert get_hub().groups == []


async def test_a_join_without_a_layer_refuses_the_handshake_with_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fullduplex.layers.serving._in_tests", lambda: False)
    monkeypatch.setattr("fullduplex.layers.serving._allowed_reason", None)

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.join("lobby")

    with project(path("", view)) as application:
        assert (await refusal(application)).status == 500
    assert "CHANNEL_LAYERS" in caplog.text


async def test_a_client_too_slow_for_its_groups_hears_1013_even_when_the_view_ends_at_once() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.join("lobby")
        await Group("lobby").asend("x" * 1_000)
        await socket.send("this raises")

    with project(path("", view), FULLDUPLEX={"OUTBOX_MAX_BYTES": 100}) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.closed() == (1013, "too slow")
            await client.end()
            assert client.events.empty()


async def test_a_close_that_is_cut_short_goes_out_all_the_same() -> None:
    gate = asyncio.Event()
    sent: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.join("lobby")
        await Group("lobby").asend("the server takes its time for this")
        async with asyncio.timeout(0):
            await socket.close(4000, "bye")

    incoming: asyncio.Queue[Any] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})

    async def send(event: Any) -> None:
        if event["type"] == "websocket.send":
            await gate.wait()
        sent.append((event["type"], event.get("code")))

    with project(path("", view)) as application:
        await application(websocket_scope(), incoming.get, send)
    assert sent == [("websocket.accept", None), ("websocket.close", 4000)]


# Observed ------------------------------------------------------------------------------------

seen_by_observer: contextvars.ContextVar[str] = contextvars.ContextVar("seen_by_observer", default="nobody")


@contextmanager
def observe(scope: Any) -> Iterator[None]:
    token = seen_by_observer.set(scope["query_string"].decode().removeprefix("who="))
    try:
        yield
    finally:
        seen_by_observer.reset(token)


@asynccontextmanager
async def aobserve(scope: Any) -> AsyncIterator[None]:
    with observe(scope):
        await asyncio.sleep(0)
        yield


@pytest.mark.parametrize("name", ["observe", "aobserve"])
async def test_errors_of_many_sockets_are_told_each_inside_its_observer(name: str) -> None:
    together = asyncio.Event()
    told: list[tuple[str, str]] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await together.wait()
        raise ZeroDivisionError(socket.request.GET["who"])

    def receiver(**kwargs: Any) -> None:
        told.append((seen_by_observer.get(), str(sys.exc_info()[1])))

    got_request_exception.connect(receiver)
    try:
        with project(path("", view), FULLDUPLEX={"SOCKET_OBSERVER": f"{__name__}.{name}"}) as application:
            async with AsyncExitStack() as stack:
                sockets = [
                    await stack.enter_async_context(websocket(application, f"/?who=u{number}")) for number in range(20)
                ]
                for socket in sockets:
                    await socket.accepted()
                together.set()
                for socket in sockets:
                    assert (await socket.closed())[0] == 1011
    finally:
        got_request_exception.disconnect(receiver)
    assert sorted(told) == sorted((f"u{number}", f"u{number}") for number in range(20))


# What stays with a socket ------------------------------------------------------------------------


async def _look_at_cookies(request: HttpRequest, get_response: Any) -> Any:
    assert len(request.COOKIES) >= 200
    return await get_response(request)


async def _take_a_cookie_away(request: HttpRequest, get_response: Any) -> Any:
    del request.COOKIES["n7"]
    return await get_response(request)


looking_at_cookies = middleware(_look_at_cookies)
taking_a_cookie_away = middleware(_take_a_cookie_away)


def cookies_of(count: int) -> dict[str, Any]:
    return {"headers": {"cookie": "; ".join(f"n{number}=x" for number in range(count))}}


@pytest.mark.parametrize(("count", "kept"), [(200, True), (201, False)])
async def test_very_many_cookies_are_parsed_again_when_they_are_asked_for_again(count: int, kept: bool) -> None:
    stayed: list[bool] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            stayed.append("COOKIES" in socket.request.__dict__)
            await socket.send(str(len(socket.request.COOKIES)))

    with project(path("", view), MIDDLEWARE=[f"{__name__}.looking_at_cookies"]) as application:
        async with websocket(application, **cookies_of(count)) as client:
            await client.accepted()
            client.send("?")
            assert await client.message() == str(count)
    assert stayed == [kept]


async def test_cookies_that_somebody_has_changed_stay_changed() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await socket.send(str("n7" in socket.request.COOKIES))

    with project(path("", view), MIDDLEWARE=[f"{__name__}.taking_a_cookie_away"]) as application:
        async with websocket(application, **cookies_of(300)) as client:
            await client.accepted()
            client.send("?")
            assert await client.message() == "False"


# What the log says of a refusal --------------------------------------------------------------


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("debug", [False, True])
async def test_a_route_whose_view_is_no_socket_view_is_named(caplog: pytest.LogCaptureFixture, debug: bool) -> None:
    with project(path("a/", page), DEBUG=debug) as application:
        refused = await refusal(application, "/a/")
    assert refused.status == 404
    [line] = caplog.messages
    assert f"the view {__name__}.page is no socket view: decorate it with @websocket" in line
    if debug:
        assert "decorate it with @websocket" in refused.body.decode()


async def test_no_route_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    with project(path("a/", page)) as application:
        await refusal(application, "/b/")
    assert caplog.messages == ["Not Found (no route matches): /b/"]


async def test_plain_http_on_a_socket_view_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with project(path("a/", echo)) as application:
        response = await request(application, "/a/")
    assert response.status == 426
    [line] = caplog.messages
    assert line.startswith("Upgrade Required (open it with `new WebSocket(...)`")


async def test_a_view_that_closes_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    @socket_view
    async def closes(socket: WebSocket) -> None:
        await socket.close()

    @socket_view
    async def returns(socket: WebSocket) -> None:
        return None

    def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse(f"{type(exception).__name__}", status=403)

    handlers = {"handler403": handler403}
    with project(path("a/", closes), path("b/", returns), error_handlers=handlers) as application:
        assert (await refusal(application, "/a/")).body == b"PermissionDenied"
        assert (await refusal(application, "/b/")).status == 403
    first, second = caplog.records
    assert first.getMessage() == "Forbidden (the socket view closed it): /a/"
    assert second.getMessage() == "Forbidden (the socket view did not accept): /b/"
    assert (first.exc_info, second.exc_info) == (None, None)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize(
    ("attribute", "advice"), [("user", "socket.request.auser()"), ("session", "session.aget(key)")]
)
@pytest.mark.parametrize("observer", ["", f"{__name__}.plain_observer"])
async def test_a_lazy_user_or_session_names_what_async_code_has(
    caplog: pytest.LogCaptureFixture, accepts: bool, attribute: str, advice: str, observer: str
) -> None:
    @socket_view
    async def lazy(socket: WebSocket) -> None:
        if accepts:
            await socket.accept()
        if attribute == "user":
            str(socket.request.user)
        else:
            socket.request.session["seen"]

    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    cookie = {"cookie": "sessionid=abcdefghijklmnopqrstuvwxyz012345"}
    with project(path("", lazy), MIDDLEWARE=middleware, FULLDUPLEX={"SOCKET_VIEW_OBSERVER": observer}) as application:
        async with websocket(application, headers=cookie) as client:
            if accepts:
                await client.accepted()
            else:
                assert (await client.refused()).status == 500
            await client.end()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert advice in logging.Formatter().format(record)


@contextmanager
def plain_observer(request: Any) -> Iterator[None]:
    yield


class ClosesInConnect(WebsocketConsumer):
    def connect(self) -> None:
        self.close(code=4003, reason="not today")


class DeniesInConnect(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class SendsToWhomItHasRefused(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()
        await self.send("too late")


@pytest.mark.parametrize("consumer", [ClosesInConnect, DeniesInConnect, SendsToWhomItHasRefused])
async def test_a_consumer_that_closes_in_connect_is_no_failure(consumer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with project(path("", consumer.as_view())) as application:
        assert (await refusal(application)).status == 403
    [record] = caplog.records
    assert (record.getMessage(), record.exc_info) == ("Forbidden (the socket view closed it): /", None)
