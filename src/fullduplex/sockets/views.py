"""``@websocket``: a view that gets a socket in the place of the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.log import log_response

from fullduplex.sockets.websocket import WebSocket

P = ParamSpec("P")
SocketView = Callable[Concatenate[WebSocket, P], Awaitable[HttpResponseBase | None]]
View = Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponseBase]]


class Handshake(Protocol):
    """What the handler hangs on a request that is a handshake, as ``request.fullduplex_handshake``."""

    async def run(self, view: SocketView[...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> HttpResponseBase:
        """Run ``view`` in a task until it has accepted or ended, and return the response to the handshake."""


class EveryDatabase(set[str]):
    """The ``_non_atomic_requests`` of a view that no database may wrap in a transaction.

    A socket lives for hours, a transaction must not; and the aliases are not known yet when a
    view is decorated.
    """

    def __contains__(self, alias: object) -> bool:
        return True


def websocket(view: SocketView[P]) -> View[P]:
    """Make an ``async def`` function a socket view, for ``path()`` like any other.

    It is called with a :class:`WebSocket` and what the route captured. Until it accepts, it may raise
    or return what a view may (``Http404``, ``HttpResponse``): that refuses the handshake. Decorators
    above it, such as ``login_required``, see an ordinary asynchronous view and its request.

    Raises:
        TypeError: ``view`` is no ``async def`` function.
    """
    if not iscoroutinefunction(view):
        name = getattr(view, "__qualname__", repr(view))
        raise TypeError(
            f"@websocket needs an `async def` function, and {name} is none. For synchronous code there are "
            f"consumer classes: see fullduplex.sockets.consumers."
        )

    @wraps(view)
    async def socket_view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        handshake: Handshake | None = getattr(request, "fullduplex_handshake", None)
        if handshake is None:  # the handler is a stranger's
            response = upgrade_required(request)
            log_response(
                "Upgrade Required (%s): %s", refusal_of(request), request.path, response=response, request=request
            )
            return response
        return await handshake.run(view, args, kwargs)

    socket_view.fullduplex_socket = True  # type: ignore[attr-defined]
    socket_view._non_atomic_requests = EveryDatabase()  # type: ignore[attr-defined]
    return cast(View[P], socket_view)


def is_socket_view(view: object) -> bool:
    """Whether ``view`` is a socket view, however decorated."""
    return getattr(view, "fullduplex_socket", False) is True


def refuse(request: HttpRequest, reason: str) -> None:
    """Note why a request is refused: the line in the log says it."""
    request.fullduplex_refusal = reason  # type: ignore[attr-defined]


def refusal_of(request: object) -> str:
    return getattr(request, "fullduplex_refusal", "")


def upgrade_required(request: HttpRequest) -> HttpResponse:
    """Return the answer to plain HTTP on a socket view: 426, and what is amiss. RFC 9110 section 15.5.22."""
    scope = getattr(request, "scope", None)
    reason = _why_plain(request.META, is_wsgi=scope is None)
    refuse(request, reason)
    text = f"This address speaks WebSocket: {reason}.\n"
    response = HttpResponse(text, status=426, content_type="text/plain; charset=utf-8")
    # Hop-by-hop fields are the gateway's under WSGI (PEP 3333) and do not exist in HTTP/2 (RFC 9113 section 8.2.2).
    if scope is not None and scope.get("http_version", "1.1").startswith("1"):
        response["Upgrade"] = "websocket"
        response["Connection"] = "Upgrade"
    return response


def _why_plain(meta: Mapping[str, Any], *, is_wsgi: bool) -> str:
    """What has become of a handshake on its way here. RFC 6455 section 4.2.1 has the fields that it needs."""
    fields = {"Upgrade: websocket": "HTTP_UPGRADE", "Connection: Upgrade": "HTTP_CONNECTION"}
    missing = [field for field, name in fields.items() if field.split()[1].lower() not in meta.get(name, "").lower()]
    if not missing and is_wsgi:
        return (
            "a handshake came by WSGI, which has no WebSockets. For runserver, put 'fullduplex' first in "
            "INSTALLED_APPS; elsewhere, serve asgi.py, as in `fullduplex mysite.asgi:application`"
        )
    if not missing:
        return "the server handed a handshake on as plain HTTP. Uvicorn does so until `pip install websockets`"
    if "HTTP_SEC_WEBSOCKET_KEY" in meta:
        return (
            f"a handshake came without {' and '.join(missing)}. A proxy drops what it is not told to pass on: "
            "docs/howto/proxies.md"
        )
    return "open it with `new WebSocket(...)`, and a page at another address"
