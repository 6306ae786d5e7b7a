"""``Endpoint``: the class by which a project says who may subscribe and publish where, and answers calls.

::

    class Chat(Endpoint):
        async def may_subscribe(self, group: str) -> bool:
            user = await self.request.auser()
            return await Room.objects.filter(group=group, members=user).aexists()

        async def call_rename(self, params):
            ...

    urlpatterns = [
        path("realtime/", Chat.as_view()),
        path("realtime/events/", Chat.as_event_stream()),
    ]
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from fullduplex.endpoint.answers import Serving
from fullduplex.endpoint.events import serve_events
from fullduplex.endpoint.session import serve_socket
from fullduplex.realtime.prepared import Payload
from fullduplex.sockets.views import EveryDatabase, View, websocket
from fullduplex.sockets.websocket import WebSocket

_HOOKS = ("on_connect", "on_disconnect", "authenticate", "may_subscribe", "may_publish", "on_publish")


class Endpoint:
    """One client: a socket that speaks ``fullduplex.v1``, or an event stream. Methods are ``async def``.

    A request is refused by raising :class:`~fullduplex.exceptions.RequestRefused`, which takes a code and a message;
    ``PermissionDenied``, ``Http404``, ``DoesNotExist`` and ``ValidationError`` refuse, too. Whatever else is raised is
    logged as an error, and the client is told ``internal`` and no more. When the client leaves, what runs is cancelled.

    Attributes:
        request: the handshake, or the request of the event stream, as Django's request; ``await self.request.auser()``.
        socket: the socket; None for an event stream.
        args, kwargs: what the route captured.
        heartbeat_s: a client that is silent for so long is asked for a sign of life, after twice that it is closed.
            Proxies drop connections that are silent for a minute.
        max_groups: subscriptions of one client at a time.
        max_requests: requests of one client that wait for their answer at a time.
        max_message_bytes: of one message of a client.
        request_timeout_s: a request that takes longer is cancelled, and answered ``timeout``.
        serving: who serves this client; ours.
    """

    heartbeat_s: float = 25.0
    max_groups: int = 100
    max_requests: int = 100
    max_message_bytes: int = 65_536
    request_timeout_s: float = 30.0

    request: HttpRequest
    socket: WebSocket | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any]
    serving: Serving | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            is_method = name in _HOOKS or name.startswith("call_")
            if is_method and not (callable(value) and iscoroutinefunction(value)):
                raise TypeError(f"{cls.__name__}.{name} must be an `async def` method.")

    def __init__(self, **initkwargs: Any) -> None:
        for name, value in initkwargs.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}.")
            setattr(self, name, value)

    @classmethod
    def as_view(cls, **initkwargs: Any) -> View[...]:
        """Return a socket view for the URLconf, which makes an endpoint for each socket, with ``initkwargs``.

        The handshake goes through the middleware, as with ``@websocket``; decorators such as ``login_required`` apply.
        """
        cls(**initkwargs)  # what is wrong is told now

        async def view(socket: WebSocket, *args: Any, **kwargs: Any) -> HttpResponseBase | None:
            endpoint = cls(**initkwargs)
            endpoint.request, endpoint.socket = socket.request, socket
            endpoint.args, endpoint.kwargs = args, kwargs
            return await serve_socket(endpoint, socket)

        return websocket(_named(view, cls))

    @classmethod
    def as_event_stream(cls, **initkwargs: Any) -> Callable[..., Awaitable[HttpResponseBase]]:
        """Return a view for the URLconf: server-sent events by GET, requests by POST."""
        cls(**initkwargs)

        async def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            endpoint = cls(**initkwargs)
            endpoint.request, endpoint.args, endpoint.kwargs = request, args, kwargs
            return await serve_events(endpoint, request)

        named = _named(view, cls)
        named._non_atomic_requests = EveryDatabase()  # type: ignore[attr-defined]  # as on socket views
        # The middleware lets it pass, and it checks the token itself, or CSRF where it takes none.
        named.csrf_exempt = True  # type: ignore[attr-defined]  # Django reads it on the view
        return named

    @property
    def takes_tokens(self) -> bool:
        """Whether clients must send a token first: where :meth:`authenticate` is defined."""
        return type(self).authenticate is not Endpoint.authenticate

    @property
    def groups(self) -> list[str]:
        """The groups that this client subscribes to."""
        return self.serving.groups if self.serving is not None else []

    def unsubscribe(self, group: str, code: str = "forbidden", reason: str = "") -> None:
        """End a subscription of this client, and tell it so; without one it does nothing.

        Args:
            code: ``forbidden``, or another one of docs/reference/protocol.md.
            reason: for the client's developer.
        """
        if self.serving is not None:
            self.serving.end(group, code, reason)

    # What a project defines ------------------------------------------------------------------

    async def on_connect(self) -> HttpResponseBase | None:
        """The client is here; nothing is accepted yet. Raise or return what a view may, and it is refused."""
        return None

    async def on_disconnect(self, code: int) -> None:
        """The client, whom ``on_connect`` let in, is gone.

        Args:
            code: with which its socket ended; 1006 for an event stream, and for a request by POST, which ends with its
                answer.
        """

    async def authenticate(self, token: str) -> float | None:
        """Check a token of the client. Where it is defined, a client must send one first, and another in time.

        Returns:
            Seconds until it expires; None: never.

        Raises:
            RequestRefused, PermissionDenied: it is not valid.
        """
        raise NotImplementedError

    async def may_subscribe(self, group: str) -> bool:
        """Whether the client may read a group."""
        return False

    async def may_publish(self, group: str, data: dict[str, Any] | list[Any]) -> bool:
        """Whether the client may send this to a group."""
        return False

    async def on_publish(self, group: str, data: dict[str, Any] | list[Any], key: str) -> Payload | None:
        """The client may publish: return what is sent to the group; None: nothing is.

        Args:
            key: the client's idempotency key, empty for none; a message that comes again has the same.
        """
        return data


def _named(view: Callable[..., Any], cls: type) -> Callable[..., Any]:
    view = functools.update_wrapper(view, cls, updated=())
    del view.__wrapped__
    return view
