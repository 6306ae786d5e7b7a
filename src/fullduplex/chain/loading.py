"""Django's handler with our chain in the place of its own; its other parts stay Django's."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.urls import set_urlconf

from fullduplex.chain import seams
from fullduplex.chain.chain import Chain
from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.threads.locals import Setter

_GET_RESPONSE: Any = seams.GET_RESPONSE.original
_set_urlconf = Setter(set_urlconf)


class ChainHandler(BaseHandler):
    """Takes async requests through :class:`Chain`; stands before a handler of Django's in the bases of a class."""

    chain: Chain | None = None
    is_fast = False
    _in_use: Any = None
    _builds = False

    def needs_no_thread(self, request: HttpRequest, response: Any) -> bool:
        """Whether a request that has passed its middleware needs no thread any more."""
        return False

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain from ``settings.MIDDLEWARE``; with FAST off, or for a sync handler, it is Django's own."""
        self.is_fast = is_async and _is_fast()
        if not self.is_fast or seams.needs_djangos_chain():
            super().load_middleware(is_async)
        elif seams.LOAD_MIDDLEWARE.is_patched:
            self._builds = True
            super().load_middleware(is_async)  # sets _middleware_chain inside what somebody has put around it
        else:
            self._build()

    @property
    def _middleware_chain(self) -> Any:
        return self._in_use

    @_middleware_chain.setter
    def _middleware_chain(self, chain: Any) -> None:
        """Take Django's chain; where ours is wanted, it is built in its place at that moment."""
        self._in_use = chain
        if self._builds:
            self._builds = False
            self._build()

    def _build(self) -> None:
        chain = Chain(self)
        adapt = self.adapt_method_mode
        self._view_middleware = [adapt(True, hook.function) for hook in chain.core.view_hooks]
        self._template_response_middleware = [adapt(True, hook.function) for hook in chain.core.template_hooks]
        self._exception_middleware = chain.exception_hooks
        self._middleware_chain = self.chain = chain

    async def get_response_async(self, request: HttpRequest) -> Any:
        """Return the response to ``request``; the chain logs it."""
        if self.chain is None or BaseHandler.get_response_async is not _GET_RESPONSE:
            return await super().get_response_async(request)
        _set_urlconf(settings.ROOT_URLCONF)
        response = await self.chain(request)
        if "fullduplex_over" not in response.__dict__:  # else closing the request would free nothing
            response._resource_closers.append(request.close)
        return response


def _is_fast() -> bool:
    try:
        return get_settings().fast
    except ConfigurationError:  # the system check and the server's start report it
        return True
