"""Where others patch Django's ASGI handler, its request and its signals: error trackers, tracers and toolbars do.

The rule is that of :mod:`fullduplex.chain.seams`, where the seams of the chain of middleware stand.
"""

from __future__ import annotations

from typing import Any

from django.core import asgi as asgi_module
from django.core.handlers import asgi
from django.core.signals import request_finished, request_started
from django.dispatch import Signal

from fullduplex.chain import seams as chain_seams
from fullduplex.chain.seams import Patch, Seam, method, who

CALL = method(asgi.ASGIHandler, "__call__", "one more hop, where a thread was used")
HANDLE = method(
    asgi.ASGIHandler, "handle", "a request is handled by Django's own function, and its thread ends with it"
)
READ_BODY = method(asgi.ASGIHandler, "read_body")
CREATE_REQUEST = method(asgi.ASGIHandler, "create_request")
SEND_RESPONSE = method(asgi.ASGIHandler, "send_response", "responses go out in pieces of 64 KiB, files are read here")
REQUEST = method(asgi.ASGIRequest, "__init__", "requests are built by Django's own constructor")
APPLICATION = Seam(asgi_module, "get_asgi_application", "django.core.asgi", "get_asgi_application")
ASEND = method(Signal, "asend", "request_started is sent by way of a thread")
SEND = method(Signal, "send", "request_finished is sent in a thread")
RECEIVERS = method(Signal, "_live_receivers", "request_started and request_finished are sent by way of a thread")

SEAMS = (
    APPLICATION, CALL, HANDLE, READ_BODY, CREATE_REQUEST, SEND_RESPONSE, REQUEST, *chain_seams.SEAMS, ASEND, SEND,
    RECEIVERS,
)  # fmt: skip


# Asked for each request, so without detours.
_call, _handle, _read_body = CALL.original, HANDLE.original, READ_BODY.original
_create_request, _send_response = CREATE_REQUEST.original, SEND_RESPONSE.original
_asend, _send, _receivers = ASEND.original, SEND.original, RECEIVERS.original


def is_plain() -> bool:
    """Whether nobody stands between a server and the middleware."""
    handler_class: Any = asgi.ASGIHandler
    return (
        handler_class.__call__ is _call
        and handler_class.handle is _handle
        and handler_class.read_body is _read_body
        and handler_class.create_request is _create_request
        and handler_class.send_response is _send_response
    )


def started_is_patched() -> bool:
    """Whether somebody stands around ``request_started``."""
    return Signal.asend is not _asend or "asend" in request_started.__dict__


def receivers_are_patched() -> bool:
    """Whether somebody stands where a signal asks for its receivers: what it gets need not be what was connected."""
    return Signal._live_receivers is not _receivers


def started_is_plain() -> bool:
    """Neither of these two: asked for each request."""
    return Signal.asend is _asend and Signal._live_receivers is _receivers and "asend" not in request_started.__dict__


def finished_is_patched() -> bool:
    """Whether somebody sees how ``request_finished`` is sent."""
    return Signal.send is not _send or Signal._live_receivers is not _receivers or "send" in request_finished.__dict__


def patches() -> list[Patch]:
    """Return who stands in which seam now."""
    return [Patch(seam, who(getattr(seam.holder, seam.name))) for seam in SEAMS if seam.is_patched]
