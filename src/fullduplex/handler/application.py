"""The ASGI application: HTTP, WebSocket and lifespan through one Django."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any, cast

import django
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core import asgi as asgi_module
from django.core.cache import close_caches
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from fullduplex.asgi import Application, Receive, Scope, Send
from fullduplex.chain import seams as chain_seams
from fullduplex.chain.loading import ChainHandler
from fullduplex.conf import get_settings
from fullduplex.db.enabling import enable_async_orm
from fullduplex.exceptions import LayerUnavailable
from fullduplex.handler import seams
from fullduplex.handler.figures import offer_figures
from fullduplex.handler.handshake import HandshakeRequest
from fullduplex.handler.http import handle, serve_http
from fullduplex.handler.observer import Entered, observer
from fullduplex.handler.origin import refuse_foreign_origin
from fullduplex.handler.preload import preload
from fullduplex.handler.receivers import nothing_follows
from fullduplex.handler.request import ASGIRequest
from fullduplex.handler.tasks import InContext
from fullduplex.handler.unwritten import write_the_unwritten
from fullduplex.handler.upgrade import Upgrade
from fullduplex.layers import close_layer, note_serving, open_layer
from fullduplex.log_lines import enable_loggers
from fullduplex.sockets.views import is_socket_view, refuse, upgrade_required
from fullduplex.threads.context import entered_lease, get_pool
from fullduplex.threads.hop import hop_on
from fullduplex.threads.lease import Lease

_GET_RESPONSE: Any = chain_seams.GET_RESPONSE.original
logger = logging.getLogger("fullduplex.handler")


def get_asgi_application() -> Application:
    """Set Django up and return the ASGI 3 application, for ``asgi.py``; any ASGI server can run it."""
    module: Any = asgi_module
    if not seams.APPLICATION.is_patched or module.ASGIHandler is ASGIHandler:  # that: he calls this function himself
        django.setup(set_prefix=False)
        enable_async_orm()
        return ASGIHandler()
    # Somebody wraps what Django's own function returns: let it return ours.
    djangos, module.ASGIHandler = module.ASGIHandler, ASGIHandler
    try:
        application = cast(Application, module.get_asgi_application())
        enable_async_orm()
        return application
    finally:
        module.ASGIHandler = djangos


class ASGIHandler(ChainHandler, DjangoASGIHandler):
    """Django's handler with our chain and threads, and beside HTTP it takes WebSocket and lifespan.

    Attributes:
        state: the lifespan state that the server shares with the application; empty without lifespan.
    """

    __module__ = DjangoASGIHandler.__module__  # agents record it
    request_class = ASGIRequest
    _serving = False
    _has_views = False
    _views_error: Exception | None = None

    def __init__(self) -> None:
        enable_loggers()  # django.setup() has applied LOGGING, and does so each time that it is called
        write_the_unwritten()
        self.state: dict[str, Any] = {}
        super().__init__()

    # The stubs of Django say Mapping of an event, Starlette and we say MutableMapping, as ASGI does.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serve one ASGI connection.

        Raises:
            ValueError: the scope has a type that is none of http, websocket and lifespan.
        """
        kind = scope["type"]
        if not self._serving:
            self._note_serving(scope)
        if not self._has_views and kind != "lifespan":
            await self._import_views()
        if kind == "http":
            if self.is_fast:
                await serve_http(self, scope, receive, send)
            else:
                await cast(Any, super()).__call__(scope, receive, send)
        elif kind == "websocket":
            # Anything but connect: the client left before it began.
            # In a context of its own: a tracer around ``receive`` may end in it what the whole handshake belongs to.
            first = receive()
            event = await (InContext(first) if inspect.iscoroutine(first) else first)
            if event["type"] == "websocket.connect":
                path = get_settings().socket_observer
                if path:
                    await InContext(self._observed(path, scope, receive, send))
                else:
                    await Upgrade(self, scope, receive, send).serve()
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            raise ValueError(f"Django serves the ASGI scopes http, websocket and lifespan, not {kind!r}.")

    def preload(self) -> None:
        """Import what requests need, in a process that serves nothing and that workers are forked from.

        The server calls it. Connections to databases and caches that importing has opened are closed, so that each
        worker has its own. An error in the URLconf passes: such code is not to take over.
        """
        get_settings()
        _ = get_resolver().url_patterns
        preload()
        for connection in connections.all(initialized_only=True):
            connection.close()
            close_pool = getattr(connection, "close_pool", None)
            if close_pool is not None:
                close_pool()
        close_caches()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # as above
        """Django's step inside ``__call__``: the request in fewer steps, unless somebody stands here himself."""
        if self.is_fast and not seams.HANDLE.is_patched:
            await handle(self, scope, receive, send)
            return
        lease = entered_lease()
        if lease is not None:
            lease.spoil(True)  # nobody tells whether all hooks have had their turn
        await cast(Any, super()).handle(scope, receive, send)

    def needs_no_thread(self, request: HttpRequest, response: Any) -> bool:
        """Whether no sync code follows; a handshake has its view beside the chain, and keeps its thread."""
        if isinstance(request, HandshakeRequest):
            return False
        if BaseHandler.get_response_async is not _GET_RESPONSE:  # he may yet add something
            return False
        over = nothing_follows(type(self), request, response)
        if over:
            response.fullduplex_over = True
        return over

    async def _observed(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a socket inside its observer, which is around the handshake, the view, and what is told of them."""
        async with Entered(observer(path)(scope)):
            await Upgrade(self, scope, receive, send).serve()

    # Hooks of Django's BaseHandler -----------------------------------------------------------

    def resolve_request(self, request: HttpRequest) -> Any:
        """Resolve as Django does; a handshake finds socket views only."""
        if self._views_error is not None and not hasattr(request, "urlconf"):
            raise self._views_error
        if not isinstance(request, HandshakeRequest):
            return super().resolve_request(request)
        try:
            match = super().resolve_request(request)
        except Http404 as error:
            # Resolver404 itself would show the DEBUG landing page, with status 200.
            refuse(request, "no route matches")
            raise Http404(f"No route matches {request.path_info!r}.") from error
        if not is_socket_view(match.func):
            reason = (
                f"the view {match._func_path} is no socket view: decorate it with @websocket, or pass a consumer's "
                "as_view()"
            )
            refuse(request, reason)
            raise Http404(f"A route matches {request.path_info!r}, and {reason}.")
        return match

    def make_view_atomic(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Django's last step before it calls the view, after ``process_view`` of the middleware."""
        if not is_socket_view(view):
            atomic: Callable[..., Any] = super().make_view_atomic(view)
            return atomic

        async def socket_route(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not isinstance(request, HandshakeRequest):
                return upgrade_required(request)
            return await refuse_foreign_origin(request, view) or await _call(view, request, *args, **kwargs)

        return socket_route

    # Lifespan --------------------------------------------------------------------------------

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.state = scope.get("state") or {}
        offer_figures(self.state)
        while True:
            phase = (await receive())["type"].removeprefix("lifespan.")
            try:
                if phase == "startup":
                    await self.startup()
                else:
                    await self.shutdown()
            except Exception as error:
                logger.exception("The application failed in lifespan.%s", phase)
                await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{phase}.complete"})
            if phase == "shutdown":
                return

    def _note_serving(self, scope: Scope) -> None:
        """Tell the layers how many processes serve the site; a server without lifespan does not know."""
        self._serving = True
        note_serving((scope.get("state") or {}).get("fullduplex.worker_count"))

    async def _import_views(self) -> None:
        """Import the URLconf in a thread, where it may query: on the loop Django refuses that.

        An error is the business of the requests, and the next of them tries again.
        """
        root = settings.ROOT_URLCONF
        if isinstance(root, str) and root not in sys.modules:
            lease = Lease(get_pool())
            try:
                await hop_on(lease, lambda: get_resolver().url_patterns)
            except Exception as error:
                self._views_error = error
                return
            finally:
                lease.end()
        self._has_views, self._views_error = True, None

    async def startup(self) -> None:
        """The server is about to serve: connect a configured layer.

        Raises:
            ConfigurationError: CHANNEL_LAYERS or FULLDUPLEX is wrong.
        """
        get_settings()
        await self._import_views()
        if self._views_error is not None:  # each request meets it, too, as under Django
            logger.error("The URLconf cannot be imported: %s", self._views_error, exc_info=self._views_error)
        try:
            await open_layer()
        except LayerUnavailable as error:  # the pages work without it, and the first use tries again
            logger.warning("The layer cannot be reached yet: %s", error)

    async def shutdown(self) -> None:
        """The server has served its last request: disconnect the layer, end the threads."""
        await close_layer()
        # The threads close their connections; the end of the process waits for them.
        get_pool().close(timeout_s=0, leave_requests=True)


async def _call(view: Callable[..., Any], request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
    """Call a socket view with its decorators: sync ones run in a thread, as Django does it, and hand on a coroutine."""
    asynchronous = view if iscoroutinefunction(view) else sync_to_async(view)
    response = await asynchronous(request, *args, **kwargs)
    if inspect.isawaitable(response):
        response = await response
    return cast(HttpResponseBase, response)
