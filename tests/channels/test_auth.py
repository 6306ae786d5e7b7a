"""Users, sessions and cookies of consumers outside of Django's middleware."""

from __future__ import annotations

import datetime
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib.auth import user_logged_in, user_logged_out
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.test import TestCase, override_settings

from fullduplex.channels.auth import AuthMiddleware, AuthMiddlewareStack, UserLazyObject, get_user, login, logout
from fullduplex.channels.db import database_sync_to_async
from fullduplex.channels.sessions import CookieMiddleware, SessionMiddleware, SessionMiddlewareStack
from fullduplex.channels.testing import HttpCommunicator, WebsocketCommunicator
from fullduplex.sockets.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer


async def show_scope(scope: dict[str, Any], receive: Any, send: Any) -> Any:
    return scope


async def with_scope(middleware: Any, **scope: Any) -> Any:
    return await middleware({"type": "websocket", **scope}, None, None)


# Cookies -----------------------------------------------------------------------------------------


async def test_cookies_come_from_one_header_or_several() -> None:
    middleware = CookieMiddleware(show_scope)
    assert (await with_scope(middleware, headers=[(b"cookie", b"a=1; b=2"), (b"cookie", b"c=3")]))["cookies"] == {
        "a": "1",
        "b": "2",
        "c": "3",
    }
    assert (await with_scope(middleware, headers=[]))["cookies"] == {}
    with pytest.raises(ValueError, match="did not have a headers key"):
        await with_scope(middleware)


def test_setting_and_deleting_a_cookie() -> None:
    message: dict[str, Any] = {}
    CookieMiddleware.set_cookie(message, "a", "b c", max_age=60, secure=True, httponly=True, samesite="Strict")
    CookieMiddleware.set_cookie(message, "x", 1, expires=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))
    CookieMiddleware.delete_cookie(message, "old", domain="example.com")
    names = [name for name, _ in message["headers"]]
    first, second, third = (SimpleCookie(value.decode()) for _, value in message["headers"])
    assert names == [b"Set-Cookie"] * 3
    assert (first["a"].value, first["a"]["max-age"], first["a"]["samesite"]) == ("b c", "60", "Strict")
    assert first["a"]["secure"]
    assert first["a"]["httponly"]
    assert int(second["x"]["max-age"]) > 0
    assert (second["x"]["path"], second["x"]["samesite"]) == ("/", "lax")
    assert (third["old"]["max-age"], third["old"]["domain"]) == ("0", "example.com")
    with pytest.raises(AssertionError, match="samesite"):
        CookieMiddleware.set_cookie(message, "a", samesite="sometimes")


# Middleware in the wrong order -------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)  # the thread that it runs in may have a connection to look after
async def test_the_wrong_order_says_so() -> None:
    with pytest.raises(ValueError, match="SessionMiddleware needs to run inside of CookieMiddleware"):
        await with_scope(SessionMiddleware(show_scope), headers=[])
    with pytest.raises(ValueError, match="SessionMiddleware must be above it"):
        await with_scope(AuthMiddleware(show_scope), headers=[])
    for function in (get_user, logout):
        with pytest.raises(ValueError, match="Cannot find session in scope"):
            await function({})
    with pytest.raises(ValueError, match="Cannot find session in scope"):
        await login({}, None)


async def test_a_session_from_above_is_left_alone() -> None:
    scope = await with_scope(SessionMiddlewareStack(show_scope), headers=[], session={"mine": True})
    assert scope["session"] == {"mine": True}


def test_the_user_before_its_time() -> None:
    with pytest.raises(ValueError, match="before it is ready"):
        _ = UserLazyObject().username


# With a database ---------------------------------------------------------------------------------


class WhoAmI(JsonWebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send_json(str(self.scope["user"]))


class LogIn(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        user = await User.objects.aget()
        await login(self.scope, user)
        await self.accept()
        await self.send_json([str(self.scope["user"]), (await get_user(self.scope)).username])
        await logout(self.scope)
        await self.send_json([str(self.scope["user"]), self.scope["session"].is_empty()])


class WithDatabase(TestCase):
    """In the transaction of the test: the consumers, sync and async, see what it holds."""

    def setUp(self) -> None:
        self.user = User.objects.create(username="ada")
        self.signals: list[Any] = []
        for signal in (user_logged_in, user_logged_out):
            signal.connect(self.note)
            self.addCleanup(signal.disconnect, self.note)

    def note(self, *, user: Any, request: Any, **kwargs: Any) -> None:
        assert isinstance(request, HttpRequest)
        self.signals.append(user)

    async def test_the_user_of_a_session(self) -> None:
        await self.async_client.aforce_login(self.user)
        cookie = f"sessionid={self.async_client.cookies['sessionid'].value}".encode()
        application = AuthMiddlewareStack(WhoAmI.as_asgi())
        for headers, name in (([(b"cookie", cookie)], "ada"), ([], "AnonymousUser")):
            communicator = WebsocketCommunicator(application, "/", headers=headers)
            await communicator.connect()
            assert await communicator.receive_json_from() == name
            await communicator.disconnect()

    async def test_login_and_logout_in_a_consumer(self) -> None:
        """The accept saves the session and brings the cookie; in Channels it does neither."""
        communicator = WebsocketCommunicator(AuthMiddlewareStack(LogIn.as_asgi()), "/")
        await communicator.connect()
        assert await communicator.receive_json_from() == ["ada", "ada"]
        assert await communicator.receive_json_from() == ["AnonymousUser", True]
        await communicator.disconnect()
        assert self.signals == [self.user, self.user]
        [(name, value)] = communicator.response_headers  # type: ignore[misc]
        assert name == b"Set-Cookie"
        assert value.startswith(b"sessionid=")

    async def test_a_change_of_users_is_a_change_of_sessions(self) -> None:
        other = await User.objects.acreate(username="bob")
        scope: dict[str, Any] = {"session": SessionStore()}
        await login(scope, self.user)
        first = scope["session"].session_key
        scope["user"] = other
        await login(scope, None)
        assert scope["session"].session_key != first
        assert (await get_user(scope)) == other
        await scope["session"].aset("_auth_user_hash", "forged")
        assert isinstance(await get_user(scope), AnonymousUser)

    async def test_nobody_to_log_in_or_out(self) -> None:
        scope: dict[str, Any] = {"session": SessionStore()}
        with self.assertRaisesMessage(ValueError, "User must be passed as an argument"):
            await login(scope, None)
        await scope["session"].aset("cart", 1)
        await logout(scope)
        assert "user" not in scope
        assert scope["session"].is_empty()
        assert self.signals == []
        backends = ["django.contrib.auth.backends.ModelBackend", "django.contrib.auth.backends.RemoteUserBackend"]
        with self.settings(AUTHENTICATION_BACKENDS=backends), self.assertRaisesMessage(ValueError, "multiple"):
            await login(scope, self.user)

    async def test_sessions_of_http_are_saved_and_ended(self) -> None:
        async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["path"] == "/out/":
                await scope["session"].aflush()
            elif scope["path"] == "/in/":
                await scope["session"].aset("cart", 1)
            status = 500 if scope["path"] == "/fail/" else 200
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": str(await scope["session"].aget("cart")).encode()})

        stack = SessionMiddlewareStack(application)
        entered = await HttpCommunicator(stack, "GET", "/in/").get_response()
        cookie = SimpleCookie(entered["headers"][0][1].decode())["sessionid"]
        headers = [(b"cookie", f"sessionid={cookie.value}".encode())]
        assert cookie["httponly"]
        assert int(cookie["max-age"]) > 0
        seen = await HttpCommunicator(stack, "GET", "/", headers=headers).get_response()
        assert (seen["body"], seen["headers"]) == (b"1", [])
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True, SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
            failed = await HttpCommunicator(stack, "GET", "/fail/", headers=headers).get_response()
            assert failed["headers"] == []
            again = await HttpCommunicator(stack, "GET", "/", headers=headers).get_response()
            assert not SimpleCookie(again["headers"][0][1].decode())["sessionid"]["max-age"]
        left = await HttpCommunicator(stack, "GET", "/out/", headers=headers).get_response()
        assert SimpleCookie(left["headers"][0][1].decode())["sessionid"]["max-age"] == "0"

    async def test_a_session_that_was_deleted_meanwhile(self) -> None:
        async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await scope["session"].aset("cart", 2)
            await database_sync_to_async(SessionStore(session_key).delete)()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        session = SessionStore()
        await session.aset("cart", 1)
        await session.asave()
        session_key = session.session_key
        headers = [(b"cookie", f"sessionid={session_key}".encode())]
        with self.assertRaisesMessage(SuspiciousOperation, "deleted before the request completed"):
            await HttpCommunicator(SessionMiddlewareStack(application), "GET", "/", headers=headers).get_response(3)
