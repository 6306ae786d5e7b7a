"""Routers: by type, by path, by channel."""

from __future__ import annotations

import types
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import Resolver404, URLPattern, include, path, re_path, register_converter
from django.urls.converters import StringConverter

from fullduplex.channels.http import AsgiHandler
from fullduplex.channels.routing import (
    ChannelNameRouter,
    ProtocolTypeRouter,
    RouteNotFound,
    URLRouter,
    get_default_application,
)
from fullduplex.channels.testing import WebsocketCommunicator
from fullduplex.handler.application import get_asgi_application
from fullduplex.sockets.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.threads.context import current_lease
from tests.handler.asgi_driver import refusal, request, websocket
from tests.handler.project import project


class Shout(StringConverter):
    def to_python(self, value: str) -> str:
        return value.upper()


register_converter(Shout, "shout")


async def route(scope: dict[str, Any], receive: Any, send: Any) -> Any:
    """An application that returns where it was found."""
    return scope["url_route"]


def named(name: str) -> Any:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> str:
        return name

    return application


async def at(router: Any, path: str, **scope: Any) -> Any:
    return await router({"type": "websocket", "path": path, **scope}, None, None)


# By path -----------------------------------------------------------------------------------------


async def test_converters_names_groups_and_defaults() -> None:
    router = URLRouter(
        [
            path("rooms/<shout:name>/<int:page>/", route, {"extra": 1}, name="room"),
            re_path(r"^old/(\w+)/$", route),
        ]
    )
    assert await at(router, "/rooms/lobby/3/") == {"args": (), "kwargs": {"name": "LOBBY", "page": 3, "extra": 1}}
    assert await at(router, "/old/lobby/") == {"args": ("lobby",), "kwargs": {}}
    for nowhere in ("/", "/rooms/lobby/x/", "/rooms/lobby/3/more/"):
        with pytest.raises(RouteNotFound, match="No route found for path"):
            await at(router, nowhere)
    with pytest.raises(ValueError, match="No 'path' key"):
        await router({"type": "websocket"}, None, None)


async def test_include_in_include() -> None:
    """ch#1428: Channels refuses include()."""
    inner = [path("<int:page>/", route), path("", named("index"))]
    rooms = types.SimpleNamespace(urlpatterns=[path("<name>/", include((inner, "pages"))), path("", named("rooms"))])
    router = URLRouter([path("rooms/", include(rooms), {"extra": 1}), path("rooms/other", named("other"))])
    expected = {"args": (), "kwargs": {"name": "lobby", "page": 3, "extra": 1}}
    assert await at(router, "/rooms/lobby/3/") == expected
    assert await at(router, "/rooms/lobby/") == "index"
    assert await at(router, "/rooms/") == "rooms"
    assert await at(router, "/rooms/other") == "other"


async def test_routers_in_include_and_middleware_around_them() -> None:
    class Middleware:
        _path_routing = True

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            return await self.inner(scope, receive, send)

    inner = URLRouter([path("<int:page>/", route)])
    router = URLRouter(
        [
            path("a/", include([path("<name>/", Middleware(inner))])),
            re_path(r"^b/(?P<name>\w+)/", inner),
            path("b/lobby/last/", named("last")),
        ]
    )
    expected = {"args": (), "kwargs": {"name": "lobby", "page": 3}}
    assert await at(router, "/a/lobby/3/") == expected
    assert await at(router, "/b/lobby/3/") == expected
    assert await at(router, "/b/lobby/last/") == "last"


async def test_root_path() -> None:
    router = URLRouter([path("a/", named("a"))])
    assert await at(router, "/prefix/a/", root_path="/prefix") == "a"
    with pytest.raises(ValueError):
        await at(router, "/a/", root_path="/prefix")


async def test_a_404_of_an_application_is_its_own() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise Resolver404

    router = URLRouter([path("a/", fail), path("a/", named("second"))])
    with pytest.raises(Resolver404):
        await at(router, "/a/")


@socket_view
async def view(socket: Any) -> None:
    """A socket view of the URLconf."""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (AsyncWebsocketConsumer, r"pass AsyncWebsocketConsumer.as_asgi\(\)"),
        (AsyncWebsocketConsumer.as_view(), "belongs to your URLconf"),
        (view, "view is a socket view"),
    ],
)
def test_what_is_no_application_is_refused_at_once(wrong: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        URLRouter([path("a/", wrong)])


def test_an_unknown_kind_of_pattern() -> None:
    with pytest.raises(ValueError, match="Unsupported pattern type"):
        URLRouter([URLPattern(object(), URLRouter([]))])  # type: ignore[arg-type]


# By type -----------------------------------------------------------------------------------------


async def test_a_path_without_a_route_is_404_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    router = ProtocolTypeRouter({"websocket": URLRouter([])})
    with project():
        assert (await refusal(router, "/nowhere/")).status == 404
        async with websocket(router, "/nowhere/", extensions={}) as connection:
            assert (await connection.event())["type"] == "websocket.close"
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    http = ProtocolTypeRouter({"http": URLRouter([])})
    with pytest.raises(ValueError):
        await http({"type": "http", "path": "/"}, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("http", [None, get_asgi_application, DjangoASGIHandler])
async def test_what_the_router_has_not_the_urlconf_may_have(http: Any) -> None:
    class Here(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.send(self.scope["path"])

    with project(path("moved/", Here.as_view()), path("page/", lambda request: HttpResponse("here"))):
        pages = {"http": http()} if http else {}
        router = ProtocolTypeRouter({"websocket": URLRouter([path("old/", Here.as_asgi())]), **pages})
        for place in ("/old/", "/moved/"):
            async with websocket(router, place) as connection:
                await connection.accepted()
                assert await connection.message() == place
        assert (await refusal(router, "/page/")).status == 404
        assert (await request(router, "/page/")).body == b"here"


async def test_our_django_beside_consumers() -> None:
    class Echo(WebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            self.send(str(current_lease() is not None))

    router = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter([path("ws/", Echo.as_asgi())])})
    with override_settings(MIDDLEWARE=[]):
        assert (await request(router, "/nowhere/")).status == 404
    async with websocket(router, "/ws/") as connection:
        await connection.accepted()
        assert await connection.message() == "True"


async def test_pages_need_no_entry() -> None:
    router = ProtocolTypeRouter({"websocket": URLRouter([])})
    with project(path("page/", lambda request: HttpResponse("here"))):
        assert (await request(router, "/page/")).body == b"here"
        assert (await request(router, "/nowhere/")).status == 404


@pytest.mark.parametrize("application", [AsgiHandler, AsgiHandler()])
async def test_the_handler_of_channels_2_and_3(application: Any) -> None:
    with project(path("page/", lambda request: HttpResponse("here"))):
        assert (await request(ProtocolTypeRouter({"http": application}), "/page/")).body == b"here"


async def test_threads_that_somebody_else_provides_are_used() -> None:
    class Where(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.send(await sync_to_async(_thread_name)())

    router = ProtocolTypeRouter({"websocket": Where.as_asgi()})
    communicator = WebsocketCommunicator(router, "/")
    await communicator.connect()
    assert await communicator.receive_from() == await sync_to_async(_thread_name)()
    await communicator.disconnect()


def _thread_name() -> str:
    import threading

    return threading.current_thread().name


class Lifespan:
    """A server's side of lifespan."""

    def __init__(self) -> None:
        self.events = ["lifespan.startup", "lifespan.shutdown"]
        self.answers: list[str] = []

    async def receive(self) -> dict[str, Any]:
        return {"type": self.events.pop(0)}

    async def send(self, event: Any) -> None:
        self.answers.append(event["type"])


async def only_http(scope: Any, receive: Any, send: Any) -> None:
    """Asks first, and then does not know what it got."""
    raise ValueError((await receive())["type"])


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"http": named("http")},
        {"http": only_http},
        {"http": get_asgi_application()},
        {"http": DjangoASGIHandler()},
    ],
)
async def test_lifespan_needs_no_entry(mapping: dict[str, Any]) -> None:
    server = Lifespan()
    await ProtocolTypeRouter(mapping)({"type": "lifespan", "state": {}}, server.receive, server.send)
    assert server.answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_application_inside_another_one_gets_lifespan() -> None:
    ours, server = get_asgi_application(), Lifespan()

    class Around:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await ours(scope, receive, send)

    await ProtocolTypeRouter({"http": Around()})({"type": "lifespan", "state": {"a": 1}}, server.receive, server.send)
    assert ours.state == {"a": 1}
    assert server.answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_http_application_that_fails_to_start_says_so() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})
        raise RuntimeError("after its answer")

    server = Lifespan()
    with pytest.raises(RuntimeError, match="after its answer"):
        await ProtocolTypeRouter({"http": failing})({"type": "lifespan"}, server.receive, server.send)
    assert server.answers == ["lifespan.startup.failed"]


async def test_lifespan_may_have_an_entry() -> None:
    assert await ProtocolTypeRouter({"lifespan": named("mine")})({"type": "lifespan"}, None, None) == "mine"  # type: ignore[arg-type]


async def test_types_and_channels_that_nobody_serves() -> None:
    with pytest.raises(ValueError, match="No application configured for scope type 'mqtt'"):
        await ProtocolTypeRouter({})({"type": "mqtt"}, None, None)  # type: ignore[arg-type]
    router = ChannelNameRouter({"thumbnails": named("thumbnails")})
    assert await router({"type": "channel", "channel": "thumbnails"}, None, None) == "thumbnails"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channel name 'other'"):
        await router({"type": "channel", "channel": "other"}, None, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without a 'channel' key"):
        await router({"type": "http"}, None, None)  # type: ignore[arg-type]


# The setting -------------------------------------------------------------------------------------


@override_settings(ASGI_APPLICATION=f"{__name__}.route")
def test_the_default_application() -> None:
    assert get_default_application() is route


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Cannot find"),
        ("application", "Cannot find"),
        ("nowhere.application", "Cannot import"),
        (f"{__name__}.nothing", "Cannot import"),
    ],
)
def test_a_wrong_setting(value: Any, message: str) -> None:
    with override_settings(ASGI_APPLICATION=value), pytest.raises(ImproperlyConfigured, match=message):
        get_default_application()


@pytest.mark.parametrize("router", [ProtocolTypeRouter, ChannelNameRouter])
def test_a_class_is_found_when_the_router_is_made(router: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"AsyncWebsocketConsumer\.as_asgi\(\) to {router.__name__}"):
        router({"websocket": AsyncWebsocketConsumer})


def test_a_class_in_an_include_is_found_when_the_router_is_made() -> None:
    inner = [path("b/", AsyncWebsocketConsumer)]  # type: ignore[call-overload]
    with pytest.raises(ImproperlyConfigured, match=r"AsyncWebsocketConsumer\.as_asgi\(\) to URLRouter"):
        URLRouter([path("a/", include([path("a/", include(inner))]))])
