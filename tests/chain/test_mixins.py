"""Middleware in a wrapper: it is called as Django calls it, and takes a thread only for what needs one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler as DjangosHandler
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from fullduplex.handler.application import ASGIHandler
from fullduplex.threads.pool import ThreadPool
from tests.handler.asgi_driver import request
from tests.handler.project import project

journal: list[tuple[Any, ...]] = []


def note(*what: Any) -> None:
    """Write it down, with the kind of place where it happens: the loop's thread, or one for sync code."""
    journal.append((*what, "loop" if threading.current_thread() is threading.main_thread() else "thread"))


class Foreign(MiddlewareMixin):
    def process_request(self, request: Any) -> None:
        note("Foreign", "in", threading.get_ident())

    def process_response(self, request: Any, response: Any) -> Any:
        note("Foreign", "out", threading.get_ident())
        return response


class Calling(MiddlewareMixin):
    """More than hooks, without a wrapper."""

    def __call__(self, request: Any) -> Any:
        note("Calling")
        return super().__call__(request)

    def process_request(self, request: Any) -> None:
        note("Calling", "in")


class Attribute:
    """A wrapper that keeps the middleware in an attribute, and wraps its hooks when they are asked for."""

    async_capable = True

    def __init__(self, factory: Any, get_response: Any) -> None:
        self._inner = factory(get_response)
        self._name = factory.__name__
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("process_"):
            raise AttributeError(name)
        hook = getattr(self._inner, name)

        @functools.wraps(hook)
        def wrapper(*args: Any) -> Any:
            note(self._name, name)
            return hook(*args)

        return wrapper

    async def __call__(self, request: Any) -> Any:
        note(self._name, "call")
        try:
            return await self._inner(request)
        finally:
            note(self._name, "done")


class Proxy:
    """As wrapt's: it says that it is what it wraps."""

    __slots__ = ("__wrapped__", "_is_coroutine", "_is_coroutine_marker")  # the last two are asgiref's and Python's

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    @property
    def __class__(self) -> Any:
        return self.__wrapped__.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __call__(self, request: Any) -> Any:
        note(type(self.__wrapped__).__name__, "call")
        return self.__wrapped__(request)


def in_attribute(factory: Any) -> Any:
    wrapper: Any = functools.partial(Attribute, factory)
    wrapper.async_capable = True
    return wrapper


def in_closure(factory: Any) -> Any:
    @sync_and_async_middleware
    def make(get_response: Any) -> Any:
        inner = factory(get_response)

        async def middleware(request: Any) -> Any:
            note(factory.__name__, "call")
            return await inner(request)

        return middleware

    return make


def in_proxy(factory: Any) -> Any:
    def make(get_response: Any) -> Any:
        proxy = Proxy(factory(get_response))
        markcoroutinefunction(proxy)
        return proxy

    return sync_and_async_middleware(make)


def in_two(factory: Any) -> Any:
    return in_closure(functools.wraps(factory, updated=())(in_attribute(factory)))


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "attribute": in_attribute,
    "closure": in_closure,
    "proxy": in_proxy,
    "two": in_two,
}


def sync_view(request: Any) -> HttpResponse:
    note("view", threading.get_ident())
    return HttpResponse("sync")


async def async_view(request: Any) -> HttpResponse:
    note("view")
    return HttpResponse("async")


def broken_view(request: Any) -> HttpResponse:
    raise ZeroDivisionError


ROUTES = (path("sync/", sync_view), path("async/", async_view), path("broken/", broken_view))


@pytest.fixture
def wrap(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a wrapper of a kind around each middleware."""
    journal.clear()

    def wrap(kind: str) -> None:
        monkeypatch.setattr(base, "import_string", lambda dotted: WRAPPERS[kind](import_string(dotted)))

    return wrap


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whatever is given to a thread."""
    calls: list[Any] = []
    run = ThreadPool.run

    def counting(self: ThreadPool, lease: Any, call: Any) -> None:
        calls.append(call)
        run(self, lease, call)

    monkeypatch.setattr(ThreadPool, "run", counting)
    return calls


@pytest.mark.parametrize("kind", WRAPPERS)
async def test_a_wrapped_hook_of_django_that_does_not_block_takes_no_thread(
    kind: str, wrap: Callable[[str], None], hops: list[Any], settings: Any
) -> None:
    wrap(kind)
    stack = [name for name in settings.MIDDLEWARE if "csrf" not in name]  # its process_view is a hook of the wrapper
    with project(*ROUTES, MIDDLEWARE=stack) as application:
        answer = await request(application, "/async/")
        assert (answer.status, answer.body) == (200, b"async")
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert hops == []
        assert (await request(application, "/sync/")).body == b"sync"
        assert len(hops) == 1
    called = [entry for entry in journal if entry[1] == "call"]
    assert len(called) == 2 * len(stack) * (2 if kind == "two" else 1)
    assert {entry[-1] for entry in called} == {"loop"}


@pytest.mark.parametrize(("where", "count"), [("/async/", 1), ("/sync/", 1)])
async def test_a_hook_that_the_wrapper_wraps_itself_runs_in_a_thread(
    where: str, count: int, wrap: Callable[[str], None], hops: list[Any], settings: Any
) -> None:
    wrap("attribute")
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE) as application:
        assert (await request(application, where)).status == 200
    assert [entry for entry in journal if entry[1] == "process_view"] == [
        ("CsrfViewMiddleware", "process_view", "thread")
    ]
    assert len(hops) == count


async def test_a_foreign_hook_in_a_wrapper_runs_in_the_thread_of_the_request(wrap: Callable[[str], None]) -> None:
    wrap("attribute")
    with project(*ROUTES, MIDDLEWARE=[f"{__name__}.Foreign"]) as application:
        assert (await request(application, "/sync/")).body == b"sync"
    threads = {entry[-2] for entry in journal if entry[0] == "view" or entry[1] in ("in", "out")}
    assert [entry[:2] for entry in journal if entry[0] == "Foreign"] == [
        ("Foreign", step) for step in ("call", "in", "out", "done")
    ]
    assert len(threads) == 1
    assert {entry[-1] for entry in journal if entry[1] in ("call", "done")} == {"loop"}


@pytest.mark.parametrize("where", ["/sync/", "/async/", "/broken/", "/nowhere/", "/sync"])
async def test_the_wrapper_is_called_where_django_calls_it(
    where: str, wrap: Callable[[str], None], settings: Any
) -> None:
    """The same calls, in the same order, on the loop or in a thread: but for hooks of Django's, which it cannot see."""
    wrap("attribute")
    seen = []
    with project(*ROUTES, MIDDLEWARE=[*settings.MIDDLEWARE, f"{__name__}.Foreign"]):
        for handler in (DjangosHandler, ASGIHandler):
            journal.clear()
            answer = await request(handler(), where)
            seen.append((answer.status, [(*entry[:2], entry[-1]) for entry in journal if entry[0] != "view"]))
    assert seen[1] == seen[0]
    assert len(seen[0][1]) > 10


async def test_an_answer_of_a_hook_ends_the_way_in(wrap: Callable[[str], None], hops: list[Any], settings: Any) -> None:
    wrap("attribute")
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE, SECURE_SSL_REDIRECT=True) as application:
        answer = await request(application, "/async/")
    assert (answer.status, answer.headers["location"]) == (301, "https://testserver/async/")
    assert [entry[:2] for entry in journal] == [("SecurityMiddleware", "call"), ("SecurityMiddleware", "done")]
    assert hops == []


async def test_an_error_of_a_hook_reaches_the_wrapper(wrap: Callable[[str], None], settings: Any) -> None:
    wrap("attribute")
    with project(*ROUTES, MIDDLEWARE=settings.MIDDLEWARE, ALLOWED_HOSTS=["elsewhere"]) as application:
        assert (await request(application, "/async/")).status == 400  # the host is not allowed: CommonMiddleware
    assert [entry[:2] for entry in journal[-2:]] == [("SessionMiddleware", "done"), ("SecurityMiddleware", "done")]


async def test_middleware_that_calls_its_hooks_itself_takes_a_hop_for_the_foreign_ones(hops: list[Any]) -> None:
    journal.clear()
    with project(*ROUTES, MIDDLEWARE=[f"{__name__}.Calling"]) as application:
        assert (await request(application, "/async/")).body == b"async"
    assert [entry for entry in journal if entry[0] == "Calling"] == [("Calling", "loop"), ("Calling", "in", "thread")]
    assert len(hops) == 1


async def test_a_tracer_finds_djangos_names(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Keeping(Attribute):
        def __init__(self, get_response: Any) -> None:
            super().__init__(SecurityMiddleware, get_response)
            made.append(self._inner)

    monkeypatch.setattr(base, "import_string", lambda dotted: Keeping)
    seen = []
    with project(*ROUTES, MIDDLEWARE=["django.middleware.security.SecurityMiddleware"]):
        for handler in (DjangosHandler, ASGIHandler):
            await request(handler(), "/async/")
            method = made[-1].__acall__
            assert method.__self__ is made[-1]
            assert iscoroutinefunction(method)
            seen.append((method.__module__, method.__qualname__, method.__name__, method.__doc__, type(method)))
    assert seen[1] == seen[0]


async def test_what_else_a_wrapper_has_is_left_alone(monkeypatch: pytest.MonkeyPatch, hops: list[Any]) -> None:
    class Unbound:
        """As a proxy of a request, outside of one."""

        @property
        def __class__(self) -> Any:
            raise RuntimeError("outside of a request")

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("outside of a request")

        def __call__(self) -> None: ...

    class Keeping(Attribute):
        def __init__(self, get_response: Any) -> None:
            self.current = Unbound()
            self.kind = SecurityMiddleware
            super().__init__(SecurityMiddleware, get_response)

    monkeypatch.setattr(base, "import_string", lambda dotted: Keeping)
    with project(*ROUTES, MIDDLEWARE=["django.middleware.security.SecurityMiddleware"]) as application:
        assert (await request(application, "/async/")).headers["x-content-type-options"] == "nosniff"
    assert hops == []


@pytest.mark.parametrize("place", ["class", "instance"])
async def test_who_stands_in_the_way_of_the_mixin_itself_is_called(
    place: str, wrap: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MiddlewareMixin.__acall__

    async def patched(self: Any, request: Any) -> Any:
        note("patched")
        return await original(self, request)

    class Own(SecurityMiddleware):
        def __init__(self, get_response: Any) -> None:
            super().__init__(get_response)
            vars(self)["__acall__"] = functools.partial(patched, self)

    if place == "class":
        wrap("attribute")
        monkeypatch.setattr(MiddlewareMixin, "__acall__", patched)
    else:
        monkeypatch.setattr(base, "import_string", lambda dotted: in_attribute(Own))
    with project(*ROUTES, MIDDLEWARE=["django.middleware.security.SecurityMiddleware"]) as application:
        assert (await request(application, "/async/")).headers["x-content-type-options"] == "nosniff"
    assert [entry for entry in journal if entry[0] == "patched"] == [("patched", "loop")]
