"""Django's test clients, and WebSocket beside HTTP.

::

    class RoomTests(TestCase):
        client_class = Client

        def test_echo(self):
            with self.client.websocket("/ws/room/") as socket:
                socket.send({"text": "hello"})
                self.assertEqual(socket.receive_json(), {"text": "hello"})

Cookies, logins and default headers of the client go with the handshake, the settings in force at that moment
apply, and the view sees the transaction of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.http import HttpResponse
from django.test import AsyncClient as DjangoAsyncClient
from django.test import Client as DjangoClient

from fullduplex.handler.application import ASGIHandler
from fullduplex.testing.websocket import (
    DEFAULT_TIMEOUT_S,
    Application,
    AsyncWebSocketSession,
    HandshakeRefused,
    WebSocketSession,
)

OWN_ORIGIN = "own"


class _Handshakes:
    """The part that both clients share: from arguments to an ASGI scope."""

    defaults: Any
    cookies: Any

    def _session(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        query_params: Mapping[str, Any] | None = None,
        origin: str | None = OWN_ORIGIN,
        secure: bool = False,
        application: Application | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> AsyncWebSocketSession:
        """Make a session; :meth:`Client.websocket` tells what the arguments mean."""
        parsed = urlsplit(str(path))  # reverse_lazy() is welcome
        query = urlencode(query_params, doseq=True) if query_params else parsed.query
        raw_path = quote(parsed.path, safe="/%:@!$&'()*+,;=~-._")
        fields = self._fields(headers or {}, secure, origin)
        if subprotocols:
            fields["sec-websocket-protocol"] = ", ".join(subprotocols)
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "wss" if secure else "ws",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("ascii"),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()],
            "client": (self.defaults.get("REMOTE_ADDR", "127.0.0.1"), 0),
            "server": (self.defaults.get("SERVER_NAME", "testserver"), 443 if secure else 80),
            "subprotocols": list(subprotocols),
            "state": {},
        }
        return AsyncWebSocketSession(self, application or ASGIHandler(), scope, timeout_s=timeout_s)  # type: ignore[arg-type]

    def _fields(self, headers: Mapping[str, str], secure: bool, origin: str | None) -> dict[str, str]:
        """Headers of a browser's handshake, those of the client's defaults, and the given ones, which come first."""
        given = {**self._default_fields(), **{name.lower(): value for name, value in headers.items()}}
        host = given.get("host") or self.defaults.get("SERVER_NAME", "testserver")
        fields = {"host": host, "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        if origin == OWN_ORIGIN:
            origin = f"{'https' if secure else 'http'}://{host}"
        if origin is not None:
            fields["origin"] = origin
        if self.cookies:
            fields["cookie"] = "; ".join(sorted(f"{item.key}={item.coded_value}" for item in self.cookies.values()))
        return {**fields, **given}

    def _default_fields(self) -> dict[str, str]:
        """What was given to the client for every request, as ``headers=`` or in WSGI's names."""
        return {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in self.defaults.items()
            if name.startswith("HTTP_")
        }

    def _dress(self, response: HttpResponse, path: str) -> HttpResponse:
        """Give the answer to a handshake what Django's assertions look for on the responses of a test client."""
        response.client = self  # type: ignore[attr-defined]
        response.request = {"PATH_INFO": path}  # type: ignore[attr-defined]
        return response


class Client(_Handshakes, DjangoClient):
    """Django's test client, with :meth:`websocket` for synchronous tests."""

    def websocket(self, path: str, **options: Any) -> WebSocketSession:
        """Return a context manager that opens a socket and closes it.

        Args:
            path: as for ``get()``, with its query.
            options:
                subprotocols: what the client offers, in its order of preference;
                headers: of the handshake; they come before everything below;
                query_params: in the place of the path's query;
                origin: the Origin header: by default that of a page of this site; None sends none;
                secure: wss;
                application: an ASGI application in the place of the project's;
                timeout_s: the deadline of every wait, 5 by default.

        Raises:
            HandshakeRefused: on entering, when the application does not accept. :meth:`handshake` returns a refusal.
            Exception: what the view raised: on entering, in ``receive``, or at the end of the block.
        """
        return WebSocketSession(self._session(path, **options))

    def handshake(self, path: str, **options: Any) -> HttpResponse:
        """Shake hands, leave at once, and return the answer: status 101, or the refusal.

        It takes the options of :meth:`websocket`, and suits ``assertRedirects`` and ``assertContains``.
        """
        try:
            with self.websocket(path, **options) as socket:
                return self._dress(socket.response, path)
        except HandshakeRefused as refused:
            return self._dress(refused.response, path)


class AsyncClient(_Handshakes, DjangoAsyncClient):
    """Django's asynchronous test client, with :meth:`websocket`."""

    def websocket(self, path: str, **options: Any) -> AsyncWebSocketSession:
        """Return an asynchronous context manager; otherwise like :meth:`Client.websocket`."""
        return self._session(path, **options)

    async def handshake(self, path: str, **options: Any) -> HttpResponse:
        """Shake hands, leave at once, and return the answer; see :meth:`Client.handshake`."""
        try:
            async with self.websocket(path, **options) as socket:
                return self._dress(socket.response, path)
        except HandshakeRefused as refused:
            return self._dress(refused.response, path)
