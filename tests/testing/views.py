"""A project for the tests of the test client."""

from __future__ import annotations

import asyncio
import itertools

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path

from fullduplex import Group, WebSocket, websocket


@websocket
async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


numbers = itertools.count()


@websocket
async def count_users(socket: WebSocket) -> None:
    """Count users in both ways, as often as asked; "add" adds one."""
    async for message in socket:
        if message == "add":
            await User.objects.acreate(username=f"user {next(numbers)}")
        await socket.send({"asynchronous": await User.objects.acount(), "synchronous": await in_sync()})


@sync_to_async
def in_sync() -> int:
    return User.objects.count()


@websocket
async def room(socket: WebSocket, name: str) -> None:
    await socket.join(Group(name))
    await socket.send("joined")
    async for message in socket:
        await Group(name).asend(message)


@login_required
@websocket
async def whoami(socket: WebSocket) -> None:
    user = await socket.request.auser()
    await socket.send(user.get_username())


@websocket
async def about_handshake(socket: WebSocket) -> None:
    request = socket.request
    await socket.accept(subprotocol=socket.subprotocols[0] if socket.subprotocols else None, headers={"X-Answer": "42"})
    await socket.send(
        {
            "headers": dict(socket.headers),
            "query": request.GET.dict(),
            "path": request.path,
            "secure": request.is_secure(),
            "address": request.META["REMOTE_ADDR"],
            "language": request.META.get("LANGUAGE_SETTING"),
        }
    )


@websocket
async def set_cookie(socket: WebSocket) -> None:
    await sync_to_async(socket.request.session.__setitem__)("visited", "yes")
    await socket.accept()


@websocket
async def close_with_reason(socket: WebSocket) -> None:
    await socket.send("last words")
    await socket.close(4001, "enough")


@websocket
async def fail(socket: WebSocket) -> None:
    async for message in socket:
        if message == "fail":
            raise ZeroDivisionError("in the view")
        await socket.send(message)


@websocket
async def fail_at_once(socket: WebSocket) -> None:
    raise ZeroDivisionError("before the accept")


@websocket
async def forbid(socket: WebSocket) -> HttpResponse | None:
    how = socket.request.GET.get("how")
    if how == "raise":
        raise PermissionDenied
    if how == "redirect":
        return HttpResponseRedirect("/echo/?moved")
    if how == "page":
        return HttpResponse("pay first", status=402, headers={"X-Price": "1"})
    return None


ended: list[str] = []


@websocket
async def deaf(socket: WebSocket) -> None:
    """Never notice that the client left."""
    await socket.accept()
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("deaf")


@websocket
async def tidy(socket: WebSocket) -> None:
    """Use the database when the client has left."""
    async for _ in socket:
        pass
    ended.append(f"tidy: {await User.objects.acount()} users")


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


urlpatterns = [
    path("echo/", echo),
    path("users/", count_users),
    path("room/<str:name>/", room),
    path("whoami/", whoami),
    path("handshake/", about_handshake),
    path("handshake/<str:odd>/", lambda request, odd: page(request)),
    path("cookie/", set_cookie),
    path("close/", close_with_reason),
    path("fail/", fail),
    path("fail-at-once/", fail_at_once),
    path("forbid/", forbid),
    path("deaf/", deaf),
    path("tidy/", tidy),
    path("page/", page),
]
