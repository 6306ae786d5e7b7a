"""Requests, done by the code of a project: each is answered once, whatever happens."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from fullduplex.endpoint import grammar
from fullduplex.exceptions import ChannelFull, LayerError, RequestRefused
from fullduplex.failures import failures
from fullduplex.log_lines import escape
from fullduplex.realtime.groups import Group
from fullduplex.realtime.prepared import Payload

logger = logging.getLogger("django.request")
_counts = logging.getLogger("fullduplex.endpoint")  # which nobody is mailed of


class Serving(Protocol):
    """What serves one client: a session, or an event stream."""

    @property
    def groups(self) -> list[str]: ...

    def end(self, group: str, code: str, reason: str) -> None:
        """End a subscription, and tell the client."""


class Hooks(Protocol):
    """What an endpoint says of one client; :class:`fullduplex.Endpoint` tells what each is."""

    request: HttpRequest
    serving: Serving | None
    heartbeat_s: float
    max_groups: int
    max_requests: int
    max_message_bytes: int
    request_timeout_s: float

    @property
    def takes_tokens(self) -> bool: ...

    async def on_connect(self) -> HttpResponseBase | None: ...

    async def on_disconnect(self, code: int) -> None: ...

    async def authenticate(self, token: str) -> float | None: ...

    async def may_subscribe(self, group: str) -> bool: ...

    async def may_publish(self, group: str, data: dict[str, Any] | list[Any]) -> bool: ...

    async def on_publish(self, group: str, data: dict[str, Any] | list[Any], key: str) -> Payload | None: ...


async def answered(
    hooks: Hooks, request_id: int | None, what: str, work: Callable[[], Awaitable[dict[str, Any] | None]]
) -> str | None:
    """Do what a request asks for, and return the answer to it, written; None: it has been told already.

    Args:
        what: is done, for the log.
    """
    try:
        timeout = asyncio.timeout(hooks.request_timeout_s)
        try:
            async with timeout:
                told = await work()
            if told is None:
                return None
            text = grammar.write(told)
            text.encode()  # what UTF-8 cannot say is the project's error, too
            return text
        except TimeoutError:
            if not timeout.expired():
                raise
            return _refused(request_id, "timeout", f"It took longer than {hooks.request_timeout_s:g} s.")
    except RequestRefused as error:
        return _refused(request_id, error.code, error.message)
    except PermissionDenied as error:
        return _refused(request_id, "forbidden", str(error))
    except (Http404, ObjectDoesNotExist):
        return _refused(request_id, "not_found", "")
    except ValidationError as error:
        return _refused(request_id, "bad_request", " ".join(error.messages))
    except ChannelFull as error:
        await told_to_log(hooks, what, error)
        return _refused(request_id, "limit", "Too much is being sent.")
    except LayerError as error:
        await told_to_log(hooks, what, error)
        return _refused(request_id, "unavailable", "The groups cannot be reached now.")
    except Exception as error:
        await told_to_log(hooks, what, error)
        return _refused(request_id, "internal", "The server failed.")


def welcome(hooks: Hooks) -> str:
    """Return what the client is told first."""
    return grammar.write(
        grammar.welcome(
            hooks.heartbeat_s, hooks.max_message_bytes, hooks.max_groups, hooks.max_requests, hooks.takes_tokens
        )
    )


async def authenticate(hooks: Hooks, token: str) -> float | None:
    """Check a token; return in how many seconds it expires.

    Raises:
        RequestRefused: it is not valid, or none is taken.
    """
    if not hooks.takes_tokens:
        raise RequestRefused("unsupported", "This endpoint takes no tokens.")
    try:
        expires_in_s = await hooks.authenticate(token)
    except PermissionDenied as error:
        raise RequestRefused("unauthorized", str(error)) from error
    if expires_in_s is not None and not math.isfinite(expires_in_s):
        raise ValueError("authenticate() returns seconds, or None for a token that never expires")
    if expires_in_s is not None and expires_in_s <= 0:
        raise RequestRefused("unauthorized", "The token has expired.")
    return expires_in_s


async def check_subscribe(hooks: Hooks, group: str) -> None:
    """
    Raises:
        RequestRefused: the client may not read the group.
    """
    if not await hooks.may_subscribe(group):
        raise RequestRefused("forbidden", f"This client may not subscribe to {group}.")


async def check_again(hooks: Hooks, group: str) -> None:
    """Check with a new token what was allowed with another one.

    Raises:
        RequestRefused: the client may not read the group any more.
    """
    if not await hooks.may_subscribe(group):
        raise RequestRefused("forbidden", "Not with the new token.")


async def publish(hooks: Hooks, request: grammar.Publish) -> dict[str, Any]:
    """Send what the client publishes; return the reply.

    Raises:
        RequestRefused: it may not, or this cannot be sent.
    """
    if not await hooks.may_publish(request.group, request.data):
        raise RequestRefused("forbidden", f"This client may not publish to {request.group}.")
    payload = await hooks.on_publish(request.group, request.data, request.key)
    position = None
    if payload is not None:
        position = await Group(request.group).asend(payload, key=request.key)
    return {"type": "reply", "id": request.id, "position": grammar.position_object(position)}


async def call(hooks: Hooks, request: grammar.Call) -> dict[str, Any]:
    """Call the method that the client asks for; return the reply.

    Raises:
        RequestRefused: there is no such method.
    """
    method = getattr(hooks, f"call_{request.method}", None)
    if method is None:
        raise RequestRefused("not_found", f"There is no method {request.method}.")
    return {"type": "reply", "id": request.id, "result": await method(request.params)}


async def told_to_log(hooks: Hooks, what: str, error: Exception) -> None:
    """Log an error of the project's code, and tell ``got_request_exception``, as of a view: error trackers listen.

    One client can ask a hundred times in the time of one handshake: each cause is logged once a minute, then counted.
    """
    is_logged = failures().admits(_counts, f"Exception in {what} of {type(hooks).__qualname__}", error)
    await sync_to_async(_tell)(hooks.request, what, error, is_logged)


def _tell(request: HttpRequest, what: str, error: Exception, is_logged: bool) -> None:
    extra = {"status_code": 500, "request": request}
    try:
        raise error  # so that sys.exc_info() has it
    except Exception:
        if is_logged:
            logger.error("Exception in %s of an endpoint: %s", what, escape(request.path), exc_info=error, extra=extra)
        got_request_exception.send(sender=None, request=request)


def _refused(request_id: int | None, code: str, message: str) -> str:
    return grammar.write(grammar.error(request_id, code, message.encode(errors="replace").decode()))
