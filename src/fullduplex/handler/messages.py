"""The message storage of a request, made when somebody first asks for it.

``MessageMiddleware`` gives each request a storage, which costs an eighth of a small request: a cookie signer, and
a dozen objects that refer to one another and are left to the garbage collector. Few requests have messages. So these
stand in the place of its hooks, and make the same storage at the first use of ``request._messages``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.messages.storage import default_storage
from django.http import HttpRequest, HttpResponse

# In the dict of a request whose storage may be made: a dict for it, which shallow copies of the request share.
_ASKED_FOR = "_fullduplex_messages"


class LazyMessages:
    """``request._messages``: absent until :func:`process_request` has let the request have it."""

    def __get__(self, request: HttpRequest | None, owner: type) -> Any:
        if request is None:
            return self
        made = request.__dict__.get(_ASKED_FOR)
        if made is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute '_messages'")
        if not made:
            made.setdefault("storage", default_storage(request))
        return made["storage"]


def process_request(middleware: MessageMiddleware, request: HttpRequest) -> None:
    """What ``MessageMiddleware.process_request`` does, at once where the storage would complain about the request."""
    if isinstance(getattr(type(request), "_messages", None), LazyMessages) and hasattr(request, "session"):
        request.__dict__[_ASKED_FOR] = {}
    else:
        middleware.process_request(request)


def process_response(middleware: MessageMiddleware, request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """What ``MessageMiddleware.process_response`` does: nothing where nobody has asked for the storage."""
    return response if is_untouched(request) else middleware.process_response(request, response)


def is_untouched(request: HttpRequest) -> bool:
    """Whether the request may have messages, and nobody has asked."""
    attributes = request.__dict__
    return attributes.get(_ASKED_FOR) == {} and "_messages" not in attributes


LAZY: dict[str, Callable[..., Any]] = {"process_request": process_request, "process_response": process_response}
