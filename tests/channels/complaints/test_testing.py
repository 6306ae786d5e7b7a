"""Test tools, and users."""

from __future__ import annotations

import asyncio
import importlib
import unittest
from typing import Any
from unittest import mock

from django.contrib.auth import get_user_model, login, user_logged_in
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest
from django.test import override_settings

from tests.channels.complaints.conftest import Side


def test_empty_messages_of_a_communicator(side: Side) -> None:
    class Echo(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(text_data, bytes_data)

    async def scenario() -> Any:
        communicator = side.module("testing").WebsocketCommunicator(Echo.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_to(text_data="")
        return await communicator.receive_from()

    assert side.run(side.outcome(scenario())) == side.of(ours="", theirs="AssertionError")


def test_the_status_of_a_refusal_in_a_communicator(side: Side) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})

    async def scenario() -> Any:
        return await side.module("testing").WebsocketCommunicator(refuse, "/").connect()

    assert side.run(side.outcome(scenario())) == side.of(ours=(False, 404), theirs="AssertionError")


def test_a_communicator_that_disconnects_leaves_the_connections_of_the_test(side: Side) -> None:
    """ch#2118: "the connection is closed", in the tests that follow."""
    closed = mock.Mock()

    async def query() -> None:
        await side.module("db").database_sync_to_async(str)()

    class Querying(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def disconnect(self, code: int) -> None:
            await query()

    async def scenario() -> None:
        communicator = side.module("testing").WebsocketCommunicator(Querying.as_asgi(), "/")
        await communicator.connect()
        await communicator.disconnect()

    with mock.patch(
        side.of(ours="django.db.close_old_connections", theirs="channels.db.close_old_connections"), closed
    ):
        side.run(scenario())
    assert closed.called is side.of(ours=False, theirs=True)


def test_a_live_server_shares_a_database_in_memory(side: Side) -> None:
    """Channels needs a file, and a process that opens it anew."""
    cases = importlib.import_module("channels.testing" if side.is_theirs else "fullduplex.channels.testing")

    class Case(cases.ChannelsLiveServerTestCase):  # type: ignore[misc, name-defined]
        def test(self) -> None:
            assert self.live_server_url

    result = unittest.TestResult()
    application = "tests.channels.test_testing.application"
    with override_settings(ROOT_URLCONF="tests.channels.test_testing", ASGI_APPLICATION=application):
        unittest.TestSuite([Case("test")]).run(result)
    told = "".join(text for _, text in result.errors)
    assert ("can not be used with in memory databases" in told) is side.of(ours=False, theirs=True)
    assert result.wasSuccessful() is side.of(ours=True, theirs=False), told


def test_a_login_lasts_when_the_secret_key_is_replaced(side: Side) -> None:
    user = get_user_model().objects.create_user("ada", password="x")
    request = HttpRequest()
    request.session = SessionStore()
    with override_settings(SECRET_KEY="old"):
        login(request, user, "django.contrib.auth.backends.ModelBackend")

    async def scenario() -> str:
        return str(await side.module("auth").get_user({"session": request.session}))

    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
        assert side.run(scenario()) == side.of(ours="ada", theirs="AnonymousUser")


def test_receivers_of_user_logged_in_get_a_request(side: Side) -> None:
    user = get_user_model().objects.create_user("ada", password="x")
    requests: list[Any] = []

    def receive(sender: Any, request: Any, **kwargs: Any) -> None:
        requests.append(request)

    async def scenario() -> None:
        scope = {"type": "websocket", "path": "/here/", "headers": [], "session": SessionStore()}
        await side.module("auth").login(scope, user, "django.contrib.auth.backends.ModelBackend")

    user_logged_in.connect(receive)
    try:
        asyncio.run(scenario())
    finally:
        user_logged_in.disconnect(receive)
    assert getattr(requests[0], "path", None) == side.of(ours="/here/", theirs=None)
