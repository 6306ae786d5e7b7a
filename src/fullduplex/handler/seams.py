"""Where others patch Django, and what then happens: error trackers, tracers and toolbars put their functions there.

The rule: where Django's original stands, our fast way. Where somebody has put something in its place, his function is
called, once, where Django would call it, with what Django would give it: around our fast way where that is possible,
else around Django's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import Any

from django.core import asgi as asgi_module
from django.core.handlers import asgi, base
from django.core.signals import request_finished, request_started
from django.dispatch import Signal

from fullduplex.original import is_original


class Seam:
    """One function of Django's.

    Args:
        holder: the class or module that it is looked up in.
        name: of the attribute.
        module, qualname: where its source stands.
        cost: what is slower where it is patched.
    """

    __slots__ = ("cost", "holder", "name", "original")

    def __init__(self, holder: Any, name: str, module: str, qualname: str, cost: str = "") -> None:
        self.holder = holder
        self.name = name
        self.cost = cost
        function = getattr(holder, name)
        self.original = function if is_original(function, module, qualname) else None

    def __str__(self) -> str:
        place = self.holder.__name__ if not isinstance(self.holder, type) else self.holder.__qualname__
        return f"{place}.{self.name}"

    @property
    def is_patched(self) -> bool:
        """Whether something else than Django's own function stands there now."""
        return getattr(self.holder, self.name) is not self.original


def _of(holder: type, name: str, cost: str = "") -> Seam:
    return Seam(holder, name, holder.__module__, f"{holder.__qualname__}.{name}", cost)


_OWN_CHAIN = "the chain of middleware is Django's own: a thread hop for each hook"

CALL = _of(asgi.ASGIHandler, "__call__", "one more hop, where a thread was used")
HANDLE = _of(asgi.ASGIHandler, "handle", "a request is handled by Django's own function, and its thread ends with it")
READ_BODY = _of(asgi.ASGIHandler, "read_body")
CREATE_REQUEST = _of(asgi.ASGIHandler, "create_request")
SEND_RESPONSE = _of(asgi.ASGIHandler, "send_response", "responses go out in pieces of 64 KiB, files are read here")
REQUEST = _of(asgi.ASGIRequest, "__init__", "requests are built by Django's own constructor")
LOAD_MIDDLEWARE = _of(base.BaseHandler, "load_middleware", "each middleware is made twice at start-up")
GET_RESPONSE = _of(base.BaseHandler, "get_response_async")
INNERMOST = _of(base.BaseHandler, "_get_response_async", _OWN_CHAIN)
IMPORT_STRING = Seam(
    base,
    "import_string",
    "django.utils.module_loading",
    "import_string",
    "wrapped middleware is called as a whole",
)
CONVERT = Seam(
    base, "convert_exception_to_response", "django.core.handlers.exception", "convert_exception_to_response", _OWN_CHAIN
)
APPLICATION = Seam(asgi_module, "get_asgi_application", "django.core.asgi", "get_asgi_application")
ASEND = _of(Signal, "asend", "request_started is sent by way of a thread")
SEND = _of(Signal, "send", "request_finished is sent in a thread")
RECEIVERS = _of(Signal, "_live_receivers", "request_started and request_finished are sent by way of a thread")

SEAMS = (
    APPLICATION, CALL, HANDLE, READ_BODY, CREATE_REQUEST, SEND_RESPONSE, REQUEST, LOAD_MIDDLEWARE, GET_RESPONSE,
    INNERMOST, IMPORT_STRING, CONVERT, ASEND, SEND, RECEIVERS,
)  # fmt: skip


# Asked for each request, so without detours.
_call, _handle, _read_body = CALL.original, HANDLE.original, READ_BODY.original
_create_request, _send_response = CREATE_REQUEST.original, SEND_RESPONSE.original
_asend, _send, _receivers = ASEND.original, SEND.original, RECEIVERS.original


def is_plain(handler_class: Any = asgi.ASGIHandler) -> bool:
    """Whether nobody stands between a server and the middleware."""
    return (
        handler_class.__call__ is _call
        and handler_class.handle is _handle
        and handler_class.read_body is _read_body
        and handler_class.create_request is _create_request
        and handler_class.send_response is _send_response
    )


def started_is_patched() -> bool:
    """Whether somebody sees how ``request_started`` is sent."""
    return Signal.asend is not _asend or Signal._live_receivers is not _receivers or "asend" in request_started.__dict__


def finished_is_patched() -> bool:
    """Whether somebody sees how ``request_finished`` is sent."""
    return Signal.send is not _send or Signal._live_receivers is not _receivers or "send" in request_finished.__dict__


def needs_djangos_chain() -> bool:
    """Whether somebody stands where only Django's own chain comes by."""
    return INNERMOST.is_patched or CONVERT.is_patched


@dataclass(frozen=True, slots=True)
class Patch:
    """A seam in which somebody stands."""

    seam: Seam
    by: str

    def __str__(self) -> str:
        cost = f": {self.seam.cost}" if self.seam.cost else ""
        return f"{self.seam} is patched by {self.by}{cost}"


def patches() -> list[Patch]:
    """Return who stands in which seam now."""
    return [Patch(seam, who(getattr(seam.holder, seam.name))) for seam in SEAMS if seam.is_patched]


def who(function: Any) -> str:
    """Return the module that a function comes from, or the one of the proxy around it."""
    wrapper = getattr(function, "_self_wrapper", None)  # of wrapt
    found = wrapper if isinstance(wrapper, FunctionType) else function
    if isinstance(found, FunctionType):
        return str(found.__globals__.get("__name__", "?"))
    return type(found).__module__
