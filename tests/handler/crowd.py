"""The project that a crowd of requests goes through: middleware of every kind, receivers, views and sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception, request_finished, request_started
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin

from fullduplex.sockets.views import websocket
from fullduplex.sockets.websocket import WebSocket
from tests.handler.concurrency import DEADLINE_S, Socket, call, commit, current, error_step, gate, step

ERRORS: dict[str, type[Exception]] = {"404": Http404, "403": PermissionDenied, "500": ZeroDivisionError}

# Places of gates, in the order of a request's way; those of the way in have a layer added, those of the way out
# one taken away.
STARTED, REQUEST, VIEW_HOOK, VIEW, EXCEPTION, TEMPLATE, RENDERING, RESPONSE = 1, 10, 30, 50, 70, 71, 72, 99
SENT_START, PART, SENT_PART, CLOSING, FINISHED = 100, 101, 102, 110, 120
PLACES = (REQUEST, REQUEST + 1, VIEW_HOOK, VIEW, VIEW + 1, RENDERING, RESPONSE - 1, RESPONSE, SENT_START, PART)
PLACES += (SENT_PART, CLOSING, FINISHED)


# Middleware --------------------------------------------------------------------------------------


def way_in(name: str) -> int:
    return REQUEST + current.get().layers[name]


def way_out(name: str) -> int:
    return RESPONSE - current.get().layers[name]


def act(name: str, hook: str) -> HttpResponse | None:
    what = current.get().acts.get(f"{name} {hook}", "")
    if what in ERRORS:
        raise ERRORS[what](name)
    return closable(HttpResponse(f"{name} {hook}", status=202)) if what else None


class Hooks(MiddlewareMixin):
    def process_request(self, request: HttpRequest) -> Any:
        return self.hook("request", way_in(type(self).__name__))

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> Any:
        return self.hook("view", VIEW_HOOK + current.get().layers[type(self).__name__])

    def process_exception(self, request: HttpRequest, error: Exception) -> Any:
        return self.hook("exception", EXCEPTION)

    def process_template_response(self, request: HttpRequest, response: Any) -> Any:
        return self.hook("template", TEMPLATE) or response

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        return self.hook("response", way_out(type(self).__name__)) or response

    def hook(self, hook: str, place: int) -> HttpResponse | None:
        name = type(self).__name__
        step(f"{name} {hook}", place)
        return act(name, hook)


class A(Hooks): ...


class B(Hooks): ...


class AsyncViewHook(MiddlewareMixin):
    async def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> Any:
        await call("AsyncViewHook view")
        return act("AsyncViewHook", "view")


class OldStyle:
    """A class with sync ``__call__``: its thread waits for the view."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        step("OldStyle request", way_in("OldStyle"))
        try:
            return act("OldStyle", "request") or self.get_response(request)
        finally:
            step("OldStyle response", way_out("OldStyle"))

    def process_exception(self, request: HttpRequest, error: Exception) -> Any:
        step("OldStyle exception", EXCEPTION)
        return act("OldStyle", "exception")


def sync_function(name: str, get_response: Any) -> Callable[[HttpRequest], Any]:
    def middleware(request: HttpRequest) -> Any:
        step(f"{name} request", way_in(name))
        response = act(name, "request") or get_response(request)
        step(f"{name} response", way_out(name))
        return act(name, "response") or response

    return middleware


def async_function(name: str, get_response: Any) -> Callable[[HttpRequest], Awaitable[Any]]:
    async def middleware(request: HttpRequest) -> Any:
        await call(f"{name} request", way_in(name))
        response = act(name, "request") or await get_response(request)
        await call(f"{name} response", way_out(name))
        return act(name, "response") or response

    return middleware


@sync_only_middleware
def only_sync(get_response: Any) -> Any:
    return sync_function("only_sync", get_response)


@async_only_middleware
def only_async(get_response: Any) -> Any:
    return async_function("only_async", get_response)


@sync_and_async_middleware
def both(get_response: Any) -> Any:
    return (async_function if iscoroutinefunction(get_response) else sync_function)("both", get_response)


HOOKS = {
    "A": ("request", "view", "exception", "template", "response"),
    "B": ("request", "view", "exception", "template", "response"),
    "AsyncViewHook": ("view",),
    "OldStyle": ("request", "exception"),
    "only_sync": ("request", "response"),
    "only_async": ("request", "response"),
    "both": ("request", "response"),
}


# Receivers ---------------------------------------------------------------------------------------


def on_started(**kwargs: Any) -> None:
    step("started")
    case = current.get()
    case.set(case.begun)


async def on_started_async(**kwargs: Any) -> None:
    await current.get().begun.wait()  # Django's asend() runs it beside the sync ones
    await call("started, async")
    await gate(STARTED)


def on_exception(**kwargs: Any) -> None:
    error_step("exception")


async def on_exception_async(**kwargs: Any) -> None:
    await sync_to_async(error_step)("exception, async")


def on_finished(**kwargs: Any) -> None:
    step("finished", FINISHED, database=False)
    case = current.get()
    if "tidy" in case.habits and case.kind in SOCKETS:
        case.cursor = None
    case.set(case.ended)


async def on_finished_async(**kwargs: Any) -> None:
    await current.get().ended.wait()
    await call("finished, async", database=False)


@contextmanager
def receivers(connected: bool) -> Iterator[None]:
    pairs: list[tuple[Any, Any]] = [
        (request_started, on_started),
        (request_started, on_started_async),
        (got_request_exception, on_exception),
        (got_request_exception, on_exception_async),
        (request_finished, on_finished),
        (request_finished, on_finished_async),
    ]
    for signal, receiver in pairs if connected else []:
        signal.connect(receiver)
    try:
        yield
    finally:
        for signal, receiver in pairs:
            signal.disconnect(receiver)


# Views -------------------------------------------------------------------------------------------


def closable(response: Any) -> Any:
    """Give a response two resources to close, and commit what the request has begun with the first."""

    def close() -> None:
        step("closing")
        commit()

    response._resource_closers += [close, lambda: step("closing again", CLOSING)]
    return response


def sync_view(request: HttpRequest) -> HttpResponse:
    step("view", VIEW)
    step("view, later", VIEW + 1)
    return closable(HttpResponse("sync"))


async def async_view(request: HttpRequest) -> HttpResponse:
    await call("view")
    await gate(VIEW)
    await call("view, later")
    await asyncio.gather(*(call(f"view, beside {number}") for number in range(3)))
    await gate(VIEW + 1)
    await call("view, last")
    return closable(HttpResponse("async"))


def rendered() -> HttpResponse:
    template = engines["django"].from_string("{{ step }}")
    return closable(TemplateResponse(None, template, {"step": lambda: step("rendering", RENDERING) or "rendered"}))


def sync_template(request: HttpRequest) -> HttpResponse:
    step("view", VIEW)
    return rendered()


async def async_template(request: HttpRequest) -> HttpResponse:
    await gate(VIEW)
    return rendered()


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    step("view", VIEW)
    return closable(StreamingHttpResponse(parts()))


def parts() -> Iterator[str]:
    try:
        for number in range(3):
            step(f"part {number}", PART)
            yield f"part {number} "
    finally:
        step("stream's end")


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    await gate(VIEW)
    return closable(StreamingHttpResponse(async_parts()))


async def async_parts() -> AsyncIterator[str]:
    case = current.get()
    try:
        for number in range(3):
            await call(f"part {number}")
            await gate(PART)
            yield f"part {number} "
        if case.kind == "leave_stream":
            case.set(case.told)
            await asyncio.sleep(DEADLINE_S)
        if case.kind == "broken_stream":
            raise ZeroDivisionError("stream")
    finally:
        await call("stream's end")


def sync_error(request: HttpRequest) -> HttpResponse:
    step("view", VIEW)
    raise ERRORS[current.get().kind.rpartition("_")[2]]("view")


async def async_error(request: HttpRequest) -> HttpResponse:
    await call("view")
    await gate(VIEW)
    raise ERRORS[current.get().kind.rpartition("_")[2]]("view")


async def returns_404(request: HttpRequest) -> HttpResponse:
    await gate(VIEW)
    return closable(HttpResponse("none", status=404))


async def leave_view(request: HttpRequest) -> HttpResponse:
    case = current.get()
    await call("view")
    await gate(VIEW)
    try:
        case.set(case.told)
        await asyncio.sleep(DEADLINE_S)
    finally:
        await call("view's end")
    return HttpResponse("not reached")


async def leave_call(request: HttpRequest) -> HttpResponse:
    """The client leaves while sync code runs, which goes on to its end."""
    case = current.get()

    def wait() -> None:
        step("view")
        case.set(case.told)
        case.released.wait(DEADLINE_S)
        step("view, after the client left")

    await gate(VIEW)
    try:
        await sync_to_async(wait)()
    finally:
        await call("view's end")
    return HttpResponse("not reached")


@websocket
async def socket(socket: WebSocket) -> HttpResponseBase | None:
    case = current.get()
    await call("view")
    await gate(VIEW)
    await call("view, later")
    await gate(VIEW + 1)
    if case.kind == "socket_refused":
        return closable(HttpResponse("refused", status=409))
    if case.kind.startswith("socket_raised"):
        raise ERRORS[case.kind.rpartition("_")[2]]("view")
    if case.kind == "socket_left":
        case.set(case.told)
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            await call("view's end")
    await socket.accept()
    await sync_to_async(after_accept)()
    case.set(case.told)
    async for _ in socket:
        pass
    return None


def after_accept() -> None:
    """A call that is no longer one of the handshake's."""
    case = current.get()
    case.trace.append((Socket(case), threading.current_thread()))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    error_step("handler404")
    return closable(HttpResponse("handler404", status=404))


def server_error(request: HttpRequest) -> HttpResponse:
    error_step("handler500")
    return closable(HttpResponse("handler500", status=500))


ERROR_HANDLERS = {"handler404": not_found, "handler500": server_error}
VIEWS: dict[str, Any] = {
    "sync": sync_view,
    "async": async_view,
    "sync_template": sync_template,
    "async_template": async_template,
    "sync_stream": sync_stream,
    "async_stream": async_stream,
    **{f"sync_{error}": sync_error for error in ERRORS},
    **{f"async_{error}": async_error for error in ERRORS},
    "returns_404": returns_404,
    "leave_view": leave_view,
    "leave_call": leave_call,
    "leave_stream": async_stream,
}
KINDS = (*VIEWS, "nowhere")
OWN_VIEWS: dict[str, Any] = {
    "slow_sync_stream": sync_stream,
    "slow_async_stream": async_stream,
    "broken_stream": async_stream,
}
SOCKETS = ("socket_accepted", "socket_refused", "socket_left", *(f"socket_raised_{error}" for error in ERRORS))
OWN_KINDS = (*OWN_VIEWS, *SOCKETS)
ROUTES = [path(f"{kind}/", view) for kind, view in {**VIEWS, **OWN_VIEWS}.items()]
ROUTES += [path(f"{kind}/", socket) for kind in SOCKETS]
