"""Sessions, users and messages that are made when somebody asks: pages, cookies and errors are Django's."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.handlers.asgi import ASGIHandler as DjangoHandler
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from fullduplex.handler.request import ASGIRequest
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
MIDDLEWARE = [SESSIONS, AUTHENTICATION, MESSAGES]
ENGINE = "django.contrib.sessions.backends.signed_cookies"
SETTINGS = {"MIDDLEWARE": MIDDLEWARE, "SESSION_ENGINE": ENGINE}
NAMES = ("session", "user", "auser", "_messages")
made: list[str] = []


class Adopt(MiddlewareMixin):
    """What some projects do: a session key that came some other way than in a cookie."""

    def process_request(self, request: Any) -> None:
        session = SessionStore()
        session["seen"] = 41
        request.COOKIES["sessionid"] = session._get_session_key()  # type: ignore[attr-defined]


class PutUser(MiddlewareMixin):
    def process_request(self, request: Any) -> None:
        request.user = User(username="put")


class NoteMade(MiddlewareMixin):
    def process_response(self, request: Any, response: HttpResponse) -> HttpResponse:
        made.extend(name for name in NAMES if name in vars(request))
        return response


# Views, each of which may be asked for several times by one browser ---------------------------


def add(request: Any) -> HttpResponse:
    messages.info(request, "one")
    messages.warning(request, "two")
    return HttpResponse("added")


async def add_async(request: Any) -> HttpResponse:
    return add(request)


def show(request: Any) -> HttpResponse:
    return HttpResponse(", ".join(map(str, messages.get_messages(request))))


def leave(request: Any) -> HttpResponse:
    return HttpResponse("left alone")


def level(request: Any) -> HttpResponse:
    messages.set_level(request, messages.WARNING)
    return add(request)


def add_to_a_copy(request: Any) -> HttpResponse:
    return add(copy.copy(request))


def add_to_both(request: Any) -> HttpResponse:
    other = copy.copy(request)
    messages.info(request, "one")
    messages.info(other, "two")
    return HttpResponse("added")


def replace(request: Any) -> HttpResponse:
    request._messages = CookieStorage(request)
    return add(request)


def count(request: Any) -> HttpResponse:
    request.session["seen"] = request.session.get("seen", 0) + 1
    return HttpResponse(str(request.session["seen"]))


def look(request: Any) -> HttpResponse:
    return HttpResponse(str(request.session.get("seen")))


def flush(request: Any) -> HttpResponse:
    request.session.flush()
    return HttpResponse("flushed")


def count_in_a_copy(request: Any) -> HttpResponse:
    return count(copy.copy(request))


def who(request: Any) -> HttpResponse:
    return HttpResponse(f"{request.user} {request.user.is_authenticated} {request.user is request.user}")


async def who_async(request: Any) -> HttpResponse:
    return HttpResponse(f"{await request.auser()}")


async def replaced_user(request: Any) -> HttpResponse:
    request.user = User(username="mine")
    return HttpResponse(f"{await request.auser()} {request.user}")


def has(request: Any) -> HttpResponse:
    return HttpResponse(str([hasattr(request, name) for name in NAMES]))


def delete(request: Any) -> HttpResponse:
    for name in NAMES:
        delattr(request, name)
    return has(request)


def put_and_delete(request: Any) -> HttpResponse:
    request.user = User(username="mine")
    del request.user
    return has(request)


def delete_the_session(request: Any) -> HttpResponse:
    del request.session
    return HttpResponse(f"{has(request).content.decode()} {list(messages.get_messages(request))}")


VIEWS: list[Callable[..., Any]] = [add, add_async, show, leave, level, add_to_a_copy, add_to_both, replace]
VIEWS += [count, look, flush, count_in_a_copy, who, who_async, replaced_user, has]
VIEWS += [delete, put_and_delete, delete_the_session]
ROUTES = [path(f"{view.__name__}/", view) for view in VIEWS]


async def visit(application: Any, where: str, cookies: dict[str, str]) -> tuple[int, bytes, list[Any]]:
    """Return status, page and the fields that matter; ``cookies`` are the browser's, and kept up to date."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    client = Connection(application, http_scope(f"/{where}/", headers={"cookie": cookie} if cookie else {}))
    client.put(type="http.request", body=b"", more_body=False)
    await client.end()
    start = client.events.get_nowait()
    page = client.events.get_nowait()["body"]
    fields = []
    for name, value in start["headers"]:
        if name.lower() == b"set-cookie":
            key, _, text = value.decode().partition(";")[0].partition("=")
            cookies[key] = text
            if text == '""':
                del cookies[key]
            fields.append((key, text == '""'))
        elif name.lower() == b"vary":
            fields.append(("vary", value))
    return start["status"], page, sorted(fields)


def same(places: list[str], cookies: dict[str, str] | None = None, **changes: Any) -> list[bytes]:
    """Have a browser visit pages of our handler, and of Django's; return the pages."""

    async def visits(application: Any) -> list[Any]:
        jar = dict(cookies or {})
        return [await visit(application, where, jar) for where in places]

    with project(*ROUTES, **{**SETTINGS, **changes}) as application:
        ours = asyncio.run(visits(application))
        assert ours == asyncio.run(visits(DjangoHandler()))
    return [page for _, page, _ in ours]


@pytest.mark.parametrize("where", ["add", "add_async", "level", "add_to_a_copy", "add_to_both", "replace"])
def test_messages_reach_the_next_page_and_stay_while_nobody_asks(where: str) -> None:
    pages = same([where, "leave", "show", "show"])
    assert pages[1:] == [b"left alone", b"two" if where == "level" else b"one, two", b""]


def test_a_session_is_kept_while_nobody_asks() -> None:
    pages = same(["look", "count", "leave", "count", "count_in_a_copy", "look", "flush", "look"])
    assert pages == [b"None", b"1", b"left alone", b"2", b"3", b"3", b"flushed", b"None"]


def test_a_session_is_renewed_with_each_request_where_the_settings_say_so() -> None:
    same(["leave", "count", "leave", "look"], SESSION_SAVE_EVERY_REQUEST=True)


@pytest.mark.parametrize(
    "cookies", [{"other": "1"}, {"sessionid": "short"}, {"sessionid": "forged" * 9}, {"sessionid": ""}]
)
def test_cookies_that_are_no_session(cookies: dict[str, str]) -> None:
    same(["leave", "look", "has", "leave", "count", "count"], cookies)


def test_users() -> None:
    pages = same(["who", "who_async", "replaced_user", "has"])
    assert pages == [b"AnonymousUser False True", b"AnonymousUser", b"AnonymousUser mine", b"[True, True, True, True]"]


def test_what_is_deleted_stays_deleted() -> None:
    pages = same(["delete", "put_and_delete", "delete_the_session"])
    assert pages == [b"[False, False, False, False]", b"[True, False, True, True]", b"[False, True, True, True] []"]


def test_what_needs_a_session_outlives_one_that_came_with_a_cookie_and_is_deleted() -> None:
    assert same(["count", "delete_the_session"])[1] == b"[False, True, True, True] []"


@pytest.mark.parametrize(
    "middleware", [[], [SESSIONS], [SESSIONS, AUTHENTICATION], [SESSIONS, MESSAGES], [AUTHENTICATION], [MESSAGES]]
)
def test_what_is_missing_is_missed_as_under_django(middleware: list[str]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        same(["has", "leave"], MIDDLEWARE=middleware)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("at", range(4))
def test_a_middleware_that_changes_the_cookies_is_heard_before_the_sessions_only(at: int) -> None:
    middleware = [*MIDDLEWARE[:at], f"{__name__}.Adopt", *MIDDLEWARE[at:]]
    pages = same(["look", "leave", "count"], MIDDLEWARE=middleware)
    assert pages[0] == (b"41" if at == 0 else b"None")


@pytest.mark.parametrize("at", range(4))
def test_a_user_that_was_there_before_is_replaced(at: int) -> None:
    middleware = [*MIDDLEWARE[:at], f"{__name__}.PutUser", *MIDDLEWARE[at:]]
    pages = same(["who", "who_async"], MIDDLEWARE=middleware)
    assert pages[0].startswith(b"AnonymousUser" if at < 2 else b"put")


@pytest.mark.parametrize("where", [view.__name__ for view in VIEWS])
async def test_nothing_is_made_unless_somebody_asks(where: str) -> None:
    made.clear()
    with project(*ROUTES, **{**SETTINGS, "MIDDLEWARE": [f"{__name__}.NoteMade", *MIDDLEWARE]}) as application:
        await visit(application, where, {})
    assert (made == []) is (where in ("leave", "delete"))


def test_a_request_without_the_middleware_has_no_such_attribute() -> None:
    request = ASGIRequest(http_scope(), RequestFactory().get("/")._stream)  # type: ignore[attr-defined]
    for name in NAMES:
        with pytest.raises(AttributeError, match=f"'ASGIRequest' object has no attribute '{name}'"):
            getattr(request, name)
        setattr(request, name, "own")
        assert getattr(request, name) == "own"


def test_two_threads_that_ask_at_once_get_the_same() -> None:
    gate = threading.Barrier(4)
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        def ask(name: str) -> Any:
            gate.wait(timeout=30)
            return getattr(request, name)

        with ThreadPoolExecutor(4) as threads:
            seen.extend(threads.map(ask, ["session", "session", "_messages", "_messages"]))
        return HttpResponse()

    assert not iscoroutinefunction(view)
    with project(path("view/", view), **SETTINGS) as application:
        asyncio.run(visit(application, "view", {}))
    session, same_session, storage, same_storage = seen
    assert session is same_session
    assert storage is same_storage


def test_the_anonymous_user_costs_no_query_and_is_one() -> None:
    def view(request: Any) -> HttpResponse:
        assert request.user == AnonymousUser()
        return HttpResponse()

    with project(path("view/", view), **SETTINGS) as application:
        assert asyncio.run(visit(application, "view", {}))[0] == 200
