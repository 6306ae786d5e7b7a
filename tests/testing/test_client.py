# ruff: noqa: PT009, PT027 - these tests are written as Django projects write theirs
"""The test clients: in Django's TestCase and TransactionTestCase, and with pytest-django."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from fullduplex import Group
from fullduplex.exceptions import Disconnected
from fullduplex.realtime.hub import get_hub
from fullduplex.testing import AsyncClient, Client, HandshakeRefused
from tests.testing import views

PROJECT = override_settings(ROOT_URLCONF="tests.testing.views")
SYNC_MIDDLEWARE = override_settings(
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "tests.testing.test_client.sync_middleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
)


def sync_middleware(get_response: Any) -> Any:
    """One without an asynchronous side, which uses the database."""

    def middleware(request: Any) -> Any:
        request.META["USERS"] = User.objects.count()
        return get_response(request)

    return middleware


async def count_users() -> int:
    return await User.objects.acount()


@PROJECT
class TransactionIsVisible(TestCase):
    client_class = Client
    async_client_class = AsyncClient

    @classmethod
    def setUpTestData(cls) -> None:
        User.objects.create(username="of the class")

    def setUp(self) -> None:
        User.objects.create(username="of the test")

    def test_in_a_synchronous_test(self) -> None:
        with self.client.websocket("/users/") as socket:
            socket.send("count")
            self.assertEqual(socket.receive_json(), {"asynchronous": 2, "synchronous": 2})
            User.objects.create(username="meanwhile")
            socket.send("add")
            self.assertEqual(socket.receive_json(), {"asynchronous": 4, "synchronous": 4})
            self.assertEqual(User.objects.count(), 4)

    async def test_in_an_asynchronous_test(self) -> None:
        async with self.async_client.websocket("/users/") as socket:
            await User.objects.acreate(username="meanwhile")
            await socket.send("add")
            self.assertEqual(await socket.receive_json(), {"asynchronous": 4, "synchronous": 4})
            self.assertEqual(await User.objects.acount(), 4)

    def test_behind_synchronous_middleware(self) -> None:
        with SYNC_MIDDLEWARE, self.client.websocket("/users/") as socket:
            for _ in range(2):
                socket.send("count")
                self.assertEqual(socket.receive_json(), {"asynchronous": 2, "synchronous": 2})

    async def test_behind_synchronous_middleware_in_an_asynchronous_test(self) -> None:
        with SYNC_MIDDLEWARE:
            async with self.async_client.websocket("/users/") as socket:
                for _ in range(2):
                    await socket.send("count")
                    self.assertEqual(await socket.receive_json(), {"asynchronous": 2, "synchronous": 2})

    def test_queries_after_the_client_left(self) -> None:
        views.ended.clear()
        with self.client.websocket("/tidy/"):
            pass
        self.assertEqual(views.ended, ["tidy: 2 users"])

    def test_two_sockets_at_a_time(self) -> None:
        with self.client.websocket("/users/") as first, self.client.websocket("/users/") as second:
            first.send("add")
            second.send("add")
            counts = [second.receive_json()["synchronous"], first.receive_json()["synchronous"]]
            self.assertEqual(max(counts), 4)
            first.send("count")
            self.assertEqual(first.receive_json(), {"asynchronous": 4, "synchronous": 4})

    def test_asynchronous_code_called_by_the_test(self) -> None:
        with self.client.websocket("/users/") as socket:
            socket.send("count")
            socket.receive()
            self.assertEqual(async_to_sync(count_users)(), 2)
        self.assertEqual(async_to_sync(count_users)(), 2)

    def test_login(self) -> None:
        self.client.force_login(User.objects.get(username="of the test"))
        with self.client.websocket("/whoami/") as socket:
            self.assertEqual(socket.receive(), "of the test")

    async def test_login_in_an_asynchronous_test(self) -> None:
        await self.async_client.aforce_login(await User.objects.aget(username="of the test"))
        async with self.async_client.websocket("/whoami/") as socket:
            self.assertEqual(await socket.receive(), "of the test")

    def test_without_login(self) -> None:
        response = self.client.handshake("/whoami/")
        self.assertRedirects(response, "/accounts/login/?next=/whoami/", fetch_redirect_response=False)

    def test_cookies_of_the_handshake_stay_with_the_client(self) -> None:
        with self.client.websocket("/cookie/") as socket:
            self.assertIn("sessionid", socket.response.cookies)
        self.assertEqual(self.client.session["visited"], "yes")

    def test_a_group_is_sent_to_when_the_transaction_commits(self) -> None:
        with self.client.websocket("/room/lobby/") as socket:
            self.assertEqual(socket.receive(), "joined")
            with self.captureOnCommitCallbacks(execute=True):
                Group("lobby").send_on_commit("committed")
                self.assertTrue(socket.receive_nothing(wait_s=0))
            self.assertEqual(socket.receive(), "committed")


@PROJECT
class Transactions(TransactionTestCase):
    client_class = Client
    async_client_class = AsyncClient

    def test_in_a_synchronous_test(self) -> None:
        with self.client.websocket("/users/") as socket:
            socket.send("add")
            self.assertEqual(socket.receive_json(), {"asynchronous": 1, "synchronous": 1})
        self.assertEqual(User.objects.count(), 1)

    async def test_in_an_asynchronous_test(self) -> None:
        async with self.async_client.websocket("/users/") as socket:
            await socket.send("add")
            self.assertEqual(await socket.receive_json(), {"asynchronous": 1, "synchronous": 1})
        self.assertEqual(await User.objects.acount(), 1)


@PROJECT
@pytest.mark.django_db
def test_with_pytest_django() -> None:
    User.objects.create(username="fixture")
    with Client().websocket("/users/") as socket:
        socket.send("count")
        assert socket.receive_json() == {"asynchronous": 1, "synchronous": 1}


@PROJECT
class Messages(SimpleTestCase):
    client_class = Client
    async_client_class = AsyncClient

    def test_text_binary_and_json(self) -> None:
        with self.client.websocket("/echo/") as socket:
            for payload in ("text", "", b"bytes", b""):
                socket.send(payload)
                self.assertEqual(socket.receive(), payload)
            socket.send({"a": [1]})
            self.assertEqual(socket.receive_json(), {"a": [1]})

    async def test_asynchronously(self) -> None:
        async with self.async_client.websocket("/echo/") as socket:
            await socket.send({"a": [1]})
            self.assertEqual(await socket.receive_json(), {"a": [1]})

    def test_groups_reach_the_socket_from_any_thread(self) -> None:
        with self.client.websocket("/room/lobby/") as socket, self.client.websocket("/room/lobby/") as other:
            self.assertEqual([socket.receive(), other.receive()], ["joined", "joined"])
            Group("lobby").send({"from": "the test"})
            thread = threading.Thread(target=Group("lobby").send, args=("from a thread",))
            thread.start()
            thread.join()
            other.send("from a view")
            for each in (socket, other):
                self.assertEqual(each.receive(), '{"from":"the test"}')
                self.assertEqual(each.receive(), "from a thread")
                self.assertEqual(each.receive(), "from a view")
            Group("another").send("not for them")
            self.assertTrue(socket.receive_nothing(wait_s=0))

    async def test_groups_reach_the_socket_in_an_asynchronous_test(self) -> None:
        async with self.async_client.websocket("/room/lobby/") as socket:
            self.assertEqual(await socket.receive(), "joined")
            await Group("lobby").asend("hello")
            self.assertEqual(await socket.receive(), "hello")
            self.assertTrue(await socket.receive_nothing(wait_s=0))
        self.assertEqual(get_hub().groups, [])

    def test_a_message_that_does_not_come(self) -> None:
        with (
            self.client.websocket("/echo/") as socket,
            self.assertRaisesMessage(TimeoutError, "a message of /echo/ did not come within 0 s"),
        ):
            socket.receive(timeout_s=0)

    def test_the_other_client_in_an_event_loop(self) -> None:
        async def enter() -> None:
            with self.client.websocket("/echo/"):
                pass

        with self.assertRaisesMessage(SynchronousOnlyOperation, "AsyncClient"):
            asyncio.run(enter())


@PROJECT
class Handshakes(SimpleTestCase):
    client_class = Client

    def about(self, path: str = "/handshake/", **options: Any) -> Any:
        with self.client.websocket(path, **options) as socket:
            return socket.receive_json()

    def test_headers_of_a_browser(self) -> None:
        headers = self.about()["headers"]
        self.assertEqual(headers["Host"], "testserver")
        self.assertEqual(headers["Origin"], "http://testserver")
        self.assertEqual(headers["Upgrade"], "websocket")
        self.assertNotIn("Cookie", headers)

    def test_secure(self) -> None:
        about = self.about(secure=True)
        self.assertTrue(about["secure"])
        self.assertEqual(about["headers"]["Origin"], "https://testserver")

    def test_given_headers_come_first(self) -> None:
        headers = self.about(headers={"Host": "localhost", "X-Own": "1"}, origin="http://localhost")["headers"]
        self.assertEqual((headers["Host"], headers["Origin"], headers["X-Own"]), ("localhost", "http://localhost", "1"))

    def test_defaults_of_the_client(self) -> None:
        self.client = Client(headers={"Accept-Language": "sv"}, REMOTE_ADDR="192.0.2.1", HTTP_X_OLD="1")
        about = self.about()
        self.assertEqual(about["headers"]["Accept-Language"], "sv")
        self.assertEqual(about["headers"]["X-Old"], "1")
        self.assertEqual(about["address"], "192.0.2.1")

    def test_query(self) -> None:
        self.assertEqual(self.about("/handshake/?a=1&b=%C3%A9")["query"], {"a": "1", "b": "é"})
        self.assertEqual(self.about("/handshake/?a=1", query_params={"c": "2"})["query"], {"c": "2"})

    def test_path_is_decoded(self) -> None:
        with self.client.websocket("/room/a%2Db/") as socket:
            self.assertEqual(socket.receive(), "joined")
            Group("a-b").send("here")
            self.assertEqual(socket.receive(), "here")

    def test_subprotocol_and_headers_of_the_accept(self) -> None:
        with self.client.websocket("/handshake/", subprotocols=["chat.v2", "chat"]) as socket:
            self.assertEqual(socket.subprotocol, "chat.v2")
            self.assertEqual(socket.response.headers["X-Answer"], "42")
            self.assertEqual(socket.response.status_code, 101)
            self.assertEqual(socket.receive_json()["headers"]["Sec-Websocket-Protocol"], "chat.v2, chat")

    def test_foreign_origin(self) -> None:
        with self.assertLogs("django.security.csrf"):
            self.assertEqual(self.client.handshake("/echo/", origin="http://evil.example").status_code, 403)

    def test_without_origin(self) -> None:
        self.assertEqual(self.client.handshake("/echo/", origin=None).status_code, 101)

    def test_refusals(self) -> None:
        with self.assertLogs("django.request"):
            for how, status in (("raise", 403), ("none", 403), ("page", 402)):
                self.assertEqual(self.client.handshake(f"/forbid/?how={how}").status_code, status)
            response = self.client.handshake("/forbid/?how=page")
        self.assertContains(response, "pay first", status_code=402)
        self.assertEqual(response.headers["X-Price"], "1")

    def test_redirect(self) -> None:
        response = self.client.handshake("/forbid/?how=redirect")
        self.assertRedirects(response, "/echo/?moved", fetch_redirect_response=False)

    def test_entering_a_refused_socket(self) -> None:
        with (
            self.assertLogs("django.request"),
            self.assertRaisesMessage(HandshakeRefused, "the handshake for /nowhere/ was refused with 404") as caught,
            self.client.websocket("/nowhere/"),
        ):
            self.fail("it was accepted")
        self.assertEqual(caught.exception.response.status_code, 404)

    def test_settings_in_force(self) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.close"})

        self.assertEqual(self.client.handshake("/echo/", application=application).status_code, 403)
        with self.assertLogs("django.request"), override_settings(ROOT_URLCONF="tests.urls"):
            self.assertEqual(self.client.handshake("/echo/").status_code, 404)
        self.assertEqual(self.client.handshake("/echo/").status_code, 101)

    def test_http_goes_on_working(self) -> None:
        self.assertEqual(self.client.get("/page/").content, b"a page")
        self.assertEqual(self.client.get("/echo/").status_code, 426)


@PROJECT
class Ends(SimpleTestCase):
    client_class = Client
    async_client_class = AsyncClient

    def test_close_by_the_application(self) -> None:
        with self.client.websocket("/close/") as socket:
            self.assertEqual(socket.wait_closed(), (4001, "enough"))
            self.assertEqual((socket.close_code, socket.close_reason), (4001, "enough"))
            self.assertEqual(socket.receive(), "last words")
            with self.assertRaises(Disconnected) as caught:
                socket.receive()
            self.assertEqual((caught.exception.code, caught.exception.reason), (4001, "enough"))
            with self.assertRaises(Disconnected):
                socket.send("too late")

    def test_close_by_the_client(self) -> None:
        with self.client.websocket("/echo/") as socket:
            socket.close(4000, "bye")
            with self.assertRaises(Disconnected):
                socket.send("too late")

    def test_exception_of_the_view_in_receive(self) -> None:
        with (
            self.assertLogs("django.request"),
            self.assertRaisesMessage(ZeroDivisionError, "in the view"),
            self.client.websocket("/fail/") as socket,
        ):
            socket.send("echoed first")
            socket.send("fail")
            self.assertEqual(socket.receive(), "echoed first")
            socket.receive()

    def test_exception_of_the_view_at_the_end(self) -> None:
        with (
            self.assertLogs("django.request"),
            self.assertRaisesMessage(ZeroDivisionError, "in the view"),
            self.client.websocket("/fail/") as socket,
        ):
            socket.send("fail")

    async def test_exception_of_the_view_in_an_asynchronous_test(self) -> None:
        with self.assertLogs("django.request"), self.assertRaisesMessage(ZeroDivisionError, "in the view"):
            async with self.async_client.websocket("/fail/") as socket:
                await socket.send("fail")

    def test_exception_before_the_accept(self) -> None:
        with (
            self.assertLogs("django.request"),
            self.assertRaisesMessage(ZeroDivisionError, "before the accept"),
            self.client.websocket("/fail-at-once/"),
        ):
            self.fail("it was accepted")

    def test_exceptions_as_a_browser_sees_them(self) -> None:
        self.client = Client(raise_request_exception=False)
        with self.assertLogs("django.request"):
            self.assertEqual(self.client.handshake("/fail-at-once/").status_code, 500)
            with self.client.websocket("/fail/") as socket:
                socket.send("fail")
                self.assertEqual(socket.wait_closed(), (1011, ""))

    def test_failure_of_test_and_view(self) -> None:
        with (
            self.assertLogs("django.request"),
            self.assertRaisesMessage(AssertionError, "of the test") as caught,
            self.client.websocket("/fail/") as socket,
        ):
            socket.send("fail")
            raise AssertionError("of the test")
        self.assertIn("ZeroDivisionError('in the view')", caught.exception.__notes__[0])

    def test_a_view_that_does_not_end_is_cancelled(self) -> None:
        views.ended.clear()
        with self.client.websocket("/deaf/", timeout_s=0.05):
            pass
        self.assertEqual(views.ended, ["deaf"])

    async def test_a_view_that_does_not_end_is_cancelled_in_an_asynchronous_test(self) -> None:
        views.ended.clear()
        async with self.async_client.websocket("/deaf/", timeout_s=0.05):
            pass
        self.assertEqual(views.ended, ["deaf"])
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    def test_an_application_that_says_nothing(self) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            pass

        with (
            self.assertRaisesMessage(AssertionError, "did not answer the handshake"),
            self.client.websocket("/", application=application),
        ):
            self.fail("it was accepted")

    def test_no_thread_is_left(self) -> None:
        with self.client.websocket("/echo/"):
            self.assertIn("fullduplex-testing", [thread.name for thread in threading.enumerate()])
        self.assertNotIn("fullduplex-testing", [thread.name for thread in threading.enumerate()])
