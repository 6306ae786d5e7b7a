"""Django's handler with our chain in the place of its own; its other parts stay Django's."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.urls import set_urlconf

from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.handler.chains import Chain


class ChainHandler(BaseHandler):
    """Takes async requests through :class:`Chain`; stands before a handler of Django's in the bases of a class."""

    chain: Chain | None = None

    def is_over(self, request: HttpRequest, response: Any) -> bool:
        """Whether a request that has passed its middleware needs no thread any more."""
        return False

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain from ``settings.MIDDLEWARE``; with FAST off, or for a sync handler, it is Django's own."""
        if not is_async or not _is_fast():
            super().load_middleware(is_async)
            return
        chain = Chain(self)
        adapt = self.adapt_method_mode
        self._view_middleware = [adapt(True, hook.function) for hook in chain.core.view_hooks]
        self._template_response_middleware = [adapt(True, hook.function) for hook in chain.core.template_hooks]
        self._exception_middleware = chain.exception_hooks
        self._middleware_chain = self.chain = chain

    async def get_response_async(self, request: HttpRequest) -> Any:
        """Return the response to ``request``; the chain logs it."""
        if self.chain is None:
            return await super().get_response_async(request)
        set_urlconf(settings.ROOT_URLCONF)
        response = await self.chain(request)
        response._resource_closers.append(request.close)
        return response


def _is_fast() -> bool:
    try:
        return get_settings().fast
    except ConfigurationError:  # the system check and the server's start report it
        return True
