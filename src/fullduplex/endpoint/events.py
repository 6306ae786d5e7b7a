"""Server-sent events: what only flows down, for networks that block sockets. And single requests, by POST.

The events are the messages of the socket, with the same positions. An event that has an id alone follows each batch, so
that messages are the same for all clients, and encoded once.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_protect

from fullduplex.endpoint import answers, grammar
from fullduplex.endpoint.stream import GONE, EventStream
from fullduplex.exceptions import RequestRefused
from fullduplex.layers.history import Position


async def serve_events(hooks: answers.Hooks, request: HttpRequest) -> HttpResponseBase:
    """Answer a GET with the stream, a POST with the answer to one request."""
    if request.method in ("GET", "HEAD"):
        return await _stream(hooks, request)
    if request.method == "POST":
        if hooks.takes_tokens:  # no page of another site has one
            return await _answer(request, hooks)
        protected: HttpResponseBase = await csrf_protect(_answer)(request, hooks)
        return protected
    return HttpResponseNotAllowed(["GET", "HEAD", "POST"])


async def _stream(hooks: answers.Hooks, request: HttpRequest) -> HttpResponseBase:
    async with AsyncExitStack() as leaving:
        try:
            refusal, expires_in_s = await _enter(hooks, request, leaving)
            groups = _read_groups(hooks, request)
            after = _read_after(request, len(groups))
        except RequestRefused as error:
            return _json(grammar.write(grammar.error(None, error.code, error.message)))
        if refusal is not None:
            return refusal
        if request.method == "HEAD":
            return _dressed(HttpResponse(content_type="text/event-stream"))
        stream = EventStream(hooks, groups, after, expires_in_s)
        leaving.pop_all()  # it says when the client has gone
        return _dressed(StreamingHttpResponse(stream, content_type="text/event-stream"))


def _dressed(response: HttpResponseBase) -> HttpResponseBase:
    response["Cache-Control"] = "no-store, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx hands events on as they come
    # GZipMiddleware makes each part a gzip file of its own, of which Chromium reads the first; proxies would collect.
    response["Content-Encoding"] = "identity"
    return response


async def _answer(request: HttpRequest, hooks: answers.Hooks) -> HttpResponseBase:
    """Do the one request that the content is, and return the answer."""
    request_id: int | None = None
    async with AsyncExitStack() as leaving:
        try:
            refusal, _ = await _enter(hooks, request, leaving)
            message = _read_content(hooks, request)
            request_id = grammar.read_id(message)
            asked = grammar.read_request(message, request_id)
            if isinstance(asked, grammar.Publish):
                does = partial(answers.publish, hooks, asked)
            elif isinstance(asked, grammar.Call):
                does = partial(answers.call, hooks, asked)
            else:
                raise RequestRefused("unsupported", "By POST come `publish` and `call` alone.")
        except RequestRefused as error:
            return _json(grammar.write(grammar.error(request_id, error.code, error.message)))
        if refusal is not None:
            return refusal
        return _json(await answers.answered(hooks, asked.id, type(asked).__name__.lower(), does) or "")


async def _enter(
    hooks: answers.Hooks, request: HttpRequest, leaving: AsyncExitStack
) -> tuple[HttpResponseBase | None, float | None]:
    """Let the client in; return the refusal, and in how many seconds its token expires.

    Args:
        leaving: tells the project at its end that a client who was let in is gone.

    Raises:
        RequestRefused: its token is missing or not valid.
    """
    refusal = await hooks.on_connect()
    if refusal is not None:
        return refusal, None
    leaving.push_async_callback(hooks.on_disconnect, GONE)
    if not hooks.takes_tokens:
        return None, None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise RequestRefused("unauthorized", "A token is needed: Authorization: Bearer ...")
    return None, await answers.authenticate(hooks, token.strip())


def _read_groups(hooks: answers.Hooks, request: HttpRequest) -> list[str]:
    groups = request.GET.getlist("group")
    if not groups or len(set(groups)) < len(groups):
        raise RequestRefused("bad_request", "The query has `group=`, once for each group.")
    if len(groups) > hooks.max_groups:
        raise RequestRefused("limit", f"A client may subscribe to {hooks.max_groups} groups.")
    for group in groups:
        grammar.check_group(group)
    return groups


def _read_after(request: HttpRequest, group_count: int) -> list[Position | None]:
    event_id = request.headers.get("Last-Event-ID") or request.GET.get("last_event_id")
    return grammar.read_event_id(event_id, group_count) if event_id else [None] * group_count


def _read_content(hooks: answers.Hooks, request: HttpRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise RequestRefused("bad_request", "The content of a request is application/json.")
    if len(request.body) > hooks.max_message_bytes:
        raise RequestRefused("too_large", f"A request has at most {hooks.max_message_bytes} bytes.")
    try:
        text = request.body.decode()
        message = grammar.read_message(text)
    except (UnicodeDecodeError, grammar.NotThisProtocol) as error:
        raise RequestRefused("bad_request", "The content of a request is one JSON object with a `type`.") from error
    grammar.check_text(text, message)
    return message


def _json(text: str) -> HttpResponse:
    told = grammar.read_message(text)
    status = grammar.STATUSES.get(told["code"], 400) if told["type"] == "error" else 200
    return HttpResponse(text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})
