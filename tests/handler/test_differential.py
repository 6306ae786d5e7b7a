"""Django's handler against ours: random middleware, views, errors and disconnects must give the same.

Compared are the response, the order of all hooks, what the view sees of the middleware's context variables, the
signals, what the server is told when an exception is let through, and what the database keeps.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler as DjangosOwnHandler
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import connection, connections, transaction
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fullduplex.handler.application import ASGIHandler
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project

log: list[Any] = []
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
behaviours: dict[str, dict[str, str]] = {}

ERRORS = {
    "404": Http404("none"),
    "403": PermissionDenied("no"),
    "400": BadRequest("bad"),
    "500": ZeroDivisionError("broken"),
}


class DjangoHandler(DjangosOwnHandler):
    """Django's, but for the body that Django 5.2 leaves open when an exception is let through.

    Its warning would come with some garbage collection, and fail whichever test runs then.
    """

    async def read_body(self, receive: Any) -> Any:
        self.body = await super().read_body(receive)  # type: ignore[misc]
        return self.body

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().handle(scope, receive, send)  # type: ignore[misc]
        finally:
            self.body.close()


def act(name: str, hook: str, response: Any = None) -> Any:
    """Do what the behaviour of a middleware says for a hook."""
    log.append((name, hook, getattr(response, "status_code", None)))
    what = behaviours.get(name, {}).get(hook)
    if what in ERRORS:
        raise ERRORS[what]
    if what == "answer":
        return HttpResponse(f"{name} {hook}", status=202)
    if what == "template":
        return template(None)
    return response


class Hooks(MiddlewareMixin):
    def process_request(self, request: Any) -> Any:
        variable.set(f"{variable.get()} {type(self).__name__}")
        return act(type(self).__name__, "request")

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> Any:
        return act(type(self).__name__, "view")

    def process_exception(self, request: Any, error: Exception) -> Any:
        return act(type(self).__name__, "exception")

    def process_template_response(self, request: Any, response: Any) -> Any:
        return act(type(self).__name__, "template", response)

    def process_response(self, request: Any, response: Any) -> Any:
        response["X-Hooks"] = response.get("X-Hooks", "") + type(self).__name__
        return act(type(self).__name__, "response", response)


class A(Hooks): ...


class B(Hooks): ...


class AsyncViewHook(MiddlewareMixin):
    async def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return act("AsyncViewHook", "view")


class OldStyle:
    """A class with sync ``__call__`` and hooks, as many projects have."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        variable.set(f"{variable.get()} OldStyle")
        return act("OldStyle", "request") or act("OldStyle", "response", self.get_response(request))

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> Any:
        return act("OldStyle", "view")

    def process_exception(self, request: Any, error: Exception) -> Any:
        return act("OldStyle", "exception")


@sync_only_middleware
def only_sync(get_response: Any) -> Any:
    return lambda request: act("only_sync", "request") or act("only_sync", "response", get_response(request))


@async_only_middleware
def only_async(get_response: Any) -> Any:
    async def middleware(request: Any) -> Any:
        return act("only_async", "request") or act("only_async", "response", await get_response(request))

    return middleware


@sync_and_async_middleware
def both(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def middleware(request: Any) -> Any:
            return act("both", "request") or act("both", "response", await get_response(request))
    else:

        def middleware(request: Any) -> Any:
            return act("both", "request") or act("both", "response", get_response(request))

    return middleware


def wrapped(factory: Any) -> Any:
    """What an observer who patches ``import_string`` puts in the place of a middleware."""
    name = factory.__name__

    class Wrapper:
        sync_capable = getattr(factory, "sync_capable", True)
        async_capable = getattr(factory, "async_capable", False)

        def __init__(self, get_response: Any) -> None:
            self._inner = factory(get_response)
            self._is_async = iscoroutinefunction(get_response)
            if self._is_async:
                markcoroutinefunction(self)

        def __getattr__(self, hook: str) -> Any:
            function = getattr(self._inner, hook) if hook.startswith("process_") else None
            if function is None:
                raise AttributeError(hook)

            async def around_async(*args: Any) -> Any:
                with noted(name, hook):
                    return await function(*args)

            def around(*args: Any) -> Any:
                with noted(name, hook):
                    return function(*args)

            wrapper: Any = functools.wraps(function)(around_async if iscoroutinefunction(function) else around)
            wrapper.__self__ = self._inner  # Django asks a hook whose it is
            return wrapper

        def __call__(self, request: Any) -> Any:
            if self._is_async:
                return self._acall(request)
            with noted(name, "call"):
                return self._inner(request)

        async def _acall(self, request: Any) -> Any:
            with noted(name, "call"):
                return await self._inner(request)

    return Wrapper


@contextmanager
def noted(name: str, what: str) -> Iterator[None]:
    log.append(("wrapper", name, what))
    try:
        yield
    except Exception as error:
        log.append(("wrapper", name, what, repr(error)))
        raise
    log.append(("wrapper", name, what, "done"))


OURS = [f"{__name__}.{name}" for name in ("A", "B", "AsyncViewHook", "OldStyle", "only_sync", "only_async", "both")]
DJANGOS = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.gzip.GZipMiddleware",
]


def template(request: Any) -> TemplateResponse:
    return TemplateResponse(request, engines["django"].from_string("rendered"))


def result(kind: str, request: Any) -> Any:
    log.append(("view", variable.get()))
    if kind in ERRORS:
        raise ERRORS[kind]
    if kind == "session":
        session = getattr(request, "session", None)
        if session is not None:
            session["key"] = "value"
    if kind == "user":
        return HttpResponse(str(getattr(request, "user", None)))
    if kind == "template":
        return template(request)
    if kind == "broken template":
        return TemplateResponse(request, engines["django"].from_string("{% include 'nowhere.html' %}"))
    if kind == "none":
        return None
    if kind == "long":
        return HttpResponse("long " * 20_000)
    return HttpResponse(kind)


def sync_view(request: Any, kind: str) -> Any:
    return result(kind, request)


async def async_view(request: Any, kind: str) -> Any:
    if kind == "stream":
        return StreamingHttpResponse(parts())
    await asyncio.sleep(0)
    return result(kind, request)


async def parts() -> Any:
    yield "one "
    yield "two"


ROUTES = [path("sync/<kind>/", sync_view), path("async/<kind>/", async_view)]
KINDS = ["page", "session", "user", "template", "broken template", "none", "long", *ERRORS]


@contextmanager
def counted_signals() -> Iterator[dict[str, int]]:
    counts = {"started": 0, "finished": 0, "exception": 0}
    receivers = []
    for name, signal in (
        ("started", request_started),
        ("finished", request_finished),
        ("exception", got_request_exception),
    ):

        def receiver(*, _name: str = name, **kwargs: Any) -> None:
            counts[_name] += 1

        receivers.append((signal, receiver))
        signal.connect(receiver)
    try:
        yield counts
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)


async def ask(application: Any, where: str, method: str, body: bytes) -> dict[str, Any]:
    """Make a request and return everything that can be seen of it."""
    log.clear()
    with counted_signals() as signals:
        connection = Connection(application, http_scope(where, method, headers={"accept-encoding": "gzip"}))
        connection.put(type="http.request", body=body, more_body=False)
        error = ""
        try:
            await connection.end()
        except Exception as raised:
            error = repr(raised)
    events = []
    while not connection.events.empty():
        events.append(connection.events.get_nowait())
    start = events[0] if events else {"status": None, "headers": []}
    headers = sorted((name, b"" if name == b"Set-Cookie" else value) for name, value in start["headers"])
    content = b"".join(event.get("body", b"") for event in events[1:])
    if (b"Content-Encoding", b"gzip") in headers:  # random bytes are added to it (BREACH)
        content, headers = b"", [field for field in headers if field[0] not in (b"Content-Length", b"ETag")]
    ended = bool(events) and not events[-1].get("more_body", False)
    return {
        "status": start["status"],
        "headers": headers,
        "content": content,
        "ended": ended,
        "error": error,
        "signals": signals,
        "log": list(log),
    }


ACTIONS = st.sampled_from(["answer", "template", *ERRORS])
HOOKS = st.sampled_from(["request", "view", "exception", "template", "response"])
WHERE = [f"/{mode}/{kind}/" for mode in ("sync", "async") for kind in KINDS] + ["/async/stream/", "/nowhere"]
NAMES = st.sampled_from(["A", "B", "OldStyle", "AsyncViewHook", "only_sync", "only_async", "both"])


CASES: Any = given(
    middleware=st.lists(st.sampled_from(OURS + DJANGOS), unique=True, max_size=8),
    behaviour=st.dictionaries(NAMES, st.dictionaries(HOOKS, ACTIONS, max_size=1), max_size=2),
    where=st.sampled_from(
        [f"/{mode}/{kind}/" for mode in ("sync", "async") for kind in KINDS] + ["/async/stream/", "/x"]
    ),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    propagate=st.sampled_from([False, False, False, True]),
)


@CASES
@example([OURS[0], OURS[1]], {"A": {"request": "500"}}, "/async/page/", "GET", True)
@example([OURS[0], OURS[4], OURS[1]], {"B": {"response": "500"}}, "/sync/page/", "GET", True)
@settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_same_as_django(
    middleware: list[str], behaviour: dict[str, dict[str, str]], where: str, method: str, propagate: bool
) -> None:
    compare(middleware, behaviour, where, method, propagate)


@CASES
@example([*DJANGOS, OURS[0]], {}, "/async/page/", "GET", False)
@example([*DJANGOS, OURS[0]], {"A": {"response": "500"}}, "/sync/session/", "GET", False)
@example([OURS[0], OURS[1]], {"B": {"request": "answer"}}, "/async/page/", "GET", False)
@example([DJANGOS[-2], OURS[0]], {"A": {"request": "template"}}, "/sync/page/", "POST", False)
@settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_same_as_django_with_a_wrapper_around_each_middleware(
    middleware: list[str], behaviour: dict[str, dict[str, str]], where: str, method: str, propagate: bool
) -> None:
    with mock.patch.object(base, "import_string", lambda dotted: wrapped(import_string(dotted))):
        compare(middleware, behaviour, where, method, propagate)


def compare(
    middleware: list[str], behaviour: dict[str, dict[str, str]], where: str, method: str, propagate: bool
) -> None:
    if any("auth" in name or "messages" in name for name in middleware):
        # They need the session middleware above them, or fail at their first request.
        middleware = [name for name in middleware if "sessions" not in name]
        middleware.insert(0, "django.contrib.sessions.middleware.SessionMiddleware")
    behaviours.clear()
    behaviours.update(behaviour)
    with project(
        *ROUTES,
        MIDDLEWARE=middleware,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        DEBUG_PROPAGATE_EXCEPTIONS=propagate,
    ):
        logging.disable(logging.CRITICAL)
        try:
            theirs = asyncio.run(ask(DjangoHandler(), where, method, b"a=1"))
            ours = asyncio.run(ask(ASGIHandler(), where, method, b"a=1"))
        finally:
            logging.disable(logging.NOTSET)
    if theirs["error"]:  # Django sends no request_finished then, and has begun to send what it cannot end
        for seen in (theirs, ours):
            seen["signals"].pop("finished")
            seen.update(status=None, headers=[], ended=None)
    assert ours == theirs


async def leave(application: Any, where: str, started: asyncio.Event) -> tuple[list[Any], dict[str, int]]:
    log.clear()
    started.clear()
    with counted_signals() as signals:
        connection = Connection(application, http_scope(where))
        connection.put(type="http.request", body=b"", more_body=False)
        await started.wait()
        connection.put(type="http.disconnect")
        await connection.end()
    return list(log), signals


@pytest.mark.parametrize("names", [[], ["A"], ["A", "only_async", "B"], ["OldStyle", "A"], ["both"]])
@pytest.mark.parametrize("where", ["/wait/", "/stream/"])
async def test_a_disconnect_ends_both_in_the_same_way(names: list[str], where: str) -> None:
    behaviours.clear()
    started = asyncio.Event()

    async def wait(request: Any) -> HttpResponse:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        return HttpResponse()

    async def endless() -> Any:
        try:
            while True:
                yield "part"
                started.set()
                await asyncio.sleep(60)
        finally:
            log.append("closed")

    async def stream(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(endless())

    routes = [path("wait/", wait), path("stream/", stream)]
    middleware = [f"{__name__}.{name}" for name in names]
    with project(*routes, MIDDLEWARE=middleware, FULLDUPLEX={"DISCONNECT_WATCH_S": 0}) as application:
        theirs = await leave(DjangoHandler(), where, started)
        ours = await leave(application, where, started)
    assert ours == theirs
    assert ours[1] == {"started": 1, "finished": 1, "exception": 0}


def write(kind: str) -> HttpResponse:
    log.append(("transaction", connection.in_atomic_block, connection.get_autocommit()))
    Group.objects.create(name=f"{kind} {Group.objects.count()}")
    transaction.on_commit(lambda: log.append("committed"))
    if kind == "500":
        raise ERRORS[kind]
    return template(None) if kind == "template" else HttpResponse(kind)


def sync_write(request: Any, kind: str) -> HttpResponse:
    return write(kind)


async def async_write(request: Any, kind: str) -> HttpResponse:
    return await sync_to_async(write)(kind)


async def twice(application: Any, where: str) -> list[Any]:
    """Ask twice: the second request must not find anything of the first."""
    return [await ask(application, where, "GET", b"") for _ in range(2)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("names", [[], ["A"], ["OldStyle", "A"], ["A", "only_async", "B"], ["both", "only_sync"]])
@pytest.mark.parametrize("kind", ["page", "template", "500"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_database_keeps_the_same(
    atomic: bool, names: list[str], kind: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviours.clear()
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    seen = []
    routes = [path("sync/<kind>/", sync_write), path("async/<kind>/", async_write)]
    with project(*routes, MIDDLEWARE=[f"{__name__}.{name}" for name in names]):
        logging.disable(logging.CRITICAL)
        try:
            for application in (DjangoHandler(), ASGIHandler()):
                answers = asyncio.run(twice(application, f"/{mode}/{kind}/"))
                seen.append((answers, Group.objects.count()))
                Group.objects.all().delete()
        finally:
            logging.disable(logging.NOTSET)
    assert seen[1] == seen[0]
