"""Whoever patches Django's handler is called, once, where Django would call him; and the answer stays right."""

from __future__ import annotations

import asyncio
import functools
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, iscoroutinefunction, markcoroutinefunction
from django.core import asgi as asgi_module
from django.core.handlers import asgi, base, exception
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished, request_started
from django.dispatch import Signal
from django.http import HttpResponse
from django.middleware.common import CommonMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from fullduplex.chain import seams as chain_seams
from fullduplex.chain.hooks import is_mixin
from fullduplex.handler import seams
from fullduplex.handler.application import ASGIHandler, get_asgi_application
from fullduplex.original import is_original
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.threads.calls import HopCall
from fullduplex.threads.lease import Lease
from tests.handler.asgi_driver import accept, request
from tests.handler.project import project

calls: list[Any] = []


class Proxy:
    """As wrapt's: it forwards what it is asked for, and binds as a function does."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped
        functools.update_wrapper(self, wrapped)
        if iscoroutinefunction(wrapped):
            markcoroutinefunction(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return self.__wrapped__(*args, **kwargs)


def plain(wrapped: Any) -> Any:
    if iscoroutinefunction(wrapped):

        async def patched_async(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return await wrapped(*args, **kwargs)

        return patched_async

    def patched(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return wrapped(*args, **kwargs)

    return patched


def copying(wrapped: Any) -> Any:
    return functools.wraps(wrapped)(plain(wrapped))


KINDS: dict[str, Callable[[Any], Any]] = {"plain": plain, "wraps": copying, "proxy": Proxy}


def sync_view(request: Any) -> HttpResponse:
    assert isinstance(request, ASGIRequest)
    return HttpResponse("sync")


async def async_view(request: Any) -> HttpResponse:
    assert isinstance(request, ASGIRequest)
    await asyncio.sleep(0)
    return HttpResponse("async")


ROUTES = (path("sync/", sync_view), path("async/", async_view))
HANDLER_SEAMS = [seams.CALL, seams.HANDLE, seams.READ_BODY, seams.CREATE_REQUEST, seams.SEND_RESPONSE]
CHAIN_SEAMS = [chain_seams.GET_RESPONSE, chain_seams.INNERMOST]
LATE = (chain_seams.INNERMOST, "after")  # the chain is built by then; explain tells


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    calls.clear()
    yield
    assert seams.patches() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("seam", "where"),
    [(seam, where) for seam in HANDLER_SEAMS + CHAIN_SEAMS for where in ("before", "after") if (seam, where) != LATE],
    ids=str,
)
async def test_he_is_called_once_for_each_request(
    seam: chain_seams.Seam, kind: str, where: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the application is made, or later."""
    patched = KINDS[kind](getattr(seam.holder, seam.name))
    if where == "before":
        monkeypatch.setattr(seam.holder, seam.name, patched)
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE) as application:
        monkeypatch.setattr(seam.holder, seam.name, patched)
        assert [patch.seam for patch in seams.patches()] == [seam]
        answers = await asyncio.gather(*(request(application, f"/{mode}/") for mode in ("sync", "async") * 3))
    assert [answer.body for answer in answers] == [b"sync", b"async"] * 3
    assert len(calls) == 6
    assert all(isinstance(arguments[0], asgi.ASGIHandler) for arguments in calls)
    monkeypatch.undo()


async def test_load_middleware_is_called_around_our_chain(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[str] = []

    def import_string(dotted: str) -> Any:
        inside.append(dotted)
        return base_import(dotted)

    base_import = base.import_string  # type: ignore[attr-defined]
    monkeypatch.setattr(base.BaseHandler, "load_middleware", plain(base.BaseHandler.load_middleware))
    monkeypatch.setattr(base, "import_string", import_string)
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE) as application:
        assert len(calls) == 1
        assert application.chain is not None
        assert inside == list(reversed(settings.MIDDLEWARE)) * 2  # for Django's chain, and for ours in its place
        assert (await request(application, "/sync/")).body == b"sync"
    monkeypatch.undo()


async def test_signals_that_somebody_watches_are_sent_as_django_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with project(*ROUTES) as application:
        monkeypatch.setattr(Signal, "_live_receivers", plain(Signal._live_receivers))
        assert (await request(application, "/async/")).body == b"async"
    sent = [arguments[0] for arguments in calls if arguments[0] in (request_started, request_finished)]
    assert sent == [request_started, request_finished]
    monkeypatch.undo()


async def test_what_stands_around_receivers_is_called_in_the_thread_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of Django's own, too, although nobody would miss them; each signal is one hop."""
    live = Signal._live_receivers
    hops: list[Any] = []
    put = Lease.put

    def around(receiver: Any) -> Any:
        def wrapper(signal: Any, **named: Any) -> Any:
            calls.append((signal, receiver.__name__, threading.get_ident()))
            return receiver(signal=signal, **named)

        return wrapper

    def _live_receivers(self: Signal, sender: Any) -> Any:
        sync, asynchronous = live(self, sender)
        return [around(receiver) for receiver in sync], asynchronous

    def counting(self: Lease, call: Any) -> None:
        hops.append(call)
        put(self, call)

    def view(request: Any) -> HttpResponse:
        return HttpResponse(str(threading.get_ident()))

    with project(path("", view)) as application:
        monkeypatch.setattr(Signal, "_live_receivers", _live_receivers)
        monkeypatch.setattr(Lease, "put", counting)
        thread = int((await request(application)).body)
    names = {
        signal: [name for sent, name, _ in calls if sent is signal] for signal in (request_started, request_finished)
    }
    assert {"reset_queries", "close_old_connections"} <= set(names[request_started])
    assert {"close_caches", "close_old_connections", "reset_urlconf"} <= set(names[request_finished])
    assert all(len(each) == len(set(each)) for each in names.values())
    assert {ident for signal, _, ident in calls if signal in names} == {thread}
    assert [type(call) for call in hops] == [HopCall] * 3
    monkeypatch.undo()


async def test_whoever_carries_his_context_into_threads_may(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def thread_handler(self: Any, *args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        return original(self, *args, **kwargs)

    original = SyncToAsync.thread_handler
    with project(*ROUTES) as application:
        monkeypatch.setattr(SyncToAsync, "thread_handler", thread_handler)
        assert (await request(application, "/sync/")).body == b"sync"
    assert threads == ["fullduplex-thread"]
    monkeypatch.undo()


async def test_answers_to_exceptions_are_asked_for_where_he_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with project(*ROUTES) as application:
        monkeypatch.setattr(exception, "response_for_exception", plain(exception.response_for_exception))
        assert (await request(application, "/nowhere/")).status == 404
    assert len(calls) == 1
    monkeypatch.undo()


async def test_a_patched_get_asgi_application_gets_our_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    @socket_view
    async def view(socket: Any) -> None:
        await socket.accept()

    def wrapped() -> Any:
        inner = original()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            calls.append(scope["type"])
            await inner(scope, receive, send)

        assert isinstance(inner, ASGIHandler)
        return application

    original = asgi_module.get_asgi_application
    monkeypatch.setattr(asgi_module, "get_asgi_application", wrapped)
    with project(path("", view)):
        application = get_asgi_application()
        assert (await accept(application))["type"] == "websocket.accept"
    assert calls == ["websocket"]
    monkeypatch.undo()


@pytest.mark.parametrize("kind", [*KINDS, "in place"])
async def test_a_patched_hook_is_called_in_the_thread(
    kind: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    hook = CommonMiddleware.process_request

    def process_request(self: Any, request: Any) -> Any:
        calls.append(request)
        names.append(threading.current_thread().name)
        return None

    if kind == "in place":

        def replacing(self: Any, request: Any) -> Any:
            from tests.handler.test_seams import calls, threading

            calls.append((request, threading.current_thread().name))

        code = hook.__code__
        fake = replacing.__code__.replace(co_qualname=code.co_qualname, co_name=code.co_name)
        monkeypatch.setattr(hook, "__code__", fake.replace(co_filename=code.co_filename))
    else:
        monkeypatch.setattr(CommonMiddleware, "process_request", KINDS[kind](process_request))
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE) as application:
        assert (await request(application, "/async/")).body == b"async"
    if kind == "in place":
        ((_, name),) = calls
        assert name == "fullduplex-thread"
    else:
        assert names == ["fullduplex-thread"]
    monkeypatch.undo()


def test_what_django_shipped_is_told_from_what_looks_like_it() -> None:
    hook = SecurityMiddleware.process_request
    place = ("django.middleware.security", "SecurityMiddleware.process_request")
    assert is_original(hook, *place)
    assert not any(is_original(kind(hook), *place) for kind in KINDS.values())
    assert not is_original(SecurityMiddleware.process_response, *place)
    assert is_mixin(SecurityMiddleware)
    assert not is_mixin(type("Own", (MiddlewareMixin,), {"__call__": lambda self, request: None}))


async def test_what_he_adds_to_the_response_is_closed_on_the_thread_of_the_request(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = base.BaseHandler.get_response_async
    threads: list[tuple[int, int]] = []

    def view(request: Any) -> HttpResponse:
        return HttpResponse(str(threading.get_ident()))

    async def get_response_async(self: Any, request: Any) -> Any:
        response = await original(self, request)
        response._resource_closers.append(lambda: threads.append((int(response.content), threading.get_ident())))
        return response

    monkeypatch.setattr(base.BaseHandler, "get_response_async", get_response_async)
    with project(path("", view), MIDDLEWARE=settings.MIDDLEWARE) as application:
        await asyncio.gather(*(request(application) for _ in range(20)))
    assert len(threads) == 20
    assert all(viewed == closed for viewed, closed in threads)
    monkeypatch.undo()
