"""From an ASGI scope to Django's request, and the body on its way."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Callable
from typing import IO, Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIRequest as DjangoASGIRequest

from fullduplex.chain.deferred import DeferredAttributes
from fullduplex.original import is_original
from fullduplex.sockets.asgi import Event, Receive, Scope

# Names of fields and of hosts are the client's choice: so many are remembered, and none that is longer.
_KNOWN_NAMES_COUNT = 512
_NAME_CHARS = 255


def _of(name: str) -> tuple[str, str]:
    return "django.core.handlers.asgi", f"ASGIRequest.{name}"


_INIT: Any = DjangoASGIRequest.__init__ if is_original(DjangoASGIRequest.__init__, *_of("__init__")) else None
_CLOSE = DjangoASGIRequest.close
_CLOSE_IS_DJANGOS = is_original(_CLOSE, *_of("close"))
_allowed_hosts: set[tuple[str, ...]] = set()  # with the ALLOWED_HOSTS that allowed it
_names: dict[bytes, str | None] = {
    b"content-length": "CONTENT_LENGTH",
    b"content-type": "CONTENT_TYPE",
    # A cookie is joined and trimmed by other rules, which changed in Django 6: see ASGIRequest.
}


class ASGIRequest(DeferredAttributes, DjangoASGIRequest):
    """Django's ``ASGIRequest``, built in fewer steps where nothing special is about the scope.

    A script name, a repeated field or an odd cookie goes Django's own way, so that the rules stay Django's.
    """

    __module__ = DjangoASGIRequest.__module__  # agents record it

    def __init__(self, scope: Scope, body_file: IO[bytes]) -> None:
        is_special = scope.get("root_path") or settings.FORCE_SCRIPT_NAME or DjangoASGIRequest.__init__ is not _INIT
        headers = None if is_special else _plain_headers(scope)
        if headers is None:
            super().__init__(scope, body_file)
            return
        self.scope = scope
        self._post_parse_error = False
        self._read_started = False
        self.resolver_match = None
        self.script_name = ""
        self.path = self.path_info = path = scope["path"]
        self.method = method = scope["method"].upper()
        query = scope.get("query_string", "")
        self.META = meta = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": query.decode() if isinstance(query, bytes) else query,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
        }
        client = scope.get("client")
        if client:
            meta["REMOTE_ADDR"] = meta["REMOTE_HOST"] = client[0]
            meta["REMOTE_PORT"] = client[1]
        server = scope.get("server")
        meta["SERVER_NAME"], meta["SERVER_PORT"] = (server[0], str(server[1])) if server else ("unknown", "0")
        meta.update(headers)
        if "CONTENT_TYPE" in headers:
            self._set_content_type_params(meta)  # type: ignore[attr-defined]
        else:
            self.content_type = ""
            self.content_params = {}
        self._stream = cast(BinaryIO, body_file)

    def get_host(self) -> str:
        """Django's, which is not asked again about a host that it has allowed."""
        host: str = self._get_raw_host()  # type: ignore[attr-defined]
        allowed = settings.ALLOWED_HOSTS
        if not allowed:  # DEBUG decides
            return super().get_host()
        key = host, *allowed
        if key not in _allowed_hosts:
            super().get_host()
            if len(_allowed_hosts) < _KNOWN_NAMES_COUNT and len(host) <= _NAME_CHARS:
                _allowed_hosts.add(key)
        return host


def _plain_headers(scope: Scope) -> dict[str, str] | None:
    """Return the fields as META has them, or None where one is repeated or a cookie needs trimming."""
    headers: dict[str, str] = {}
    for raw, value in scope.get("headers", ()):
        name = _names.get(raw, "")
        if name == "":
            name = _learn(raw)
        if name is None:
            continue
        if name in headers:
            return None
        headers[name] = value.decode("latin1")
    cookie = headers.get("HTTP_COOKIE")
    if cookie is not None and cookie[-1:] in ("", " ", ";"):
        return None
    return headers


def _learn(raw: bytes) -> str | None:
    """Return the META name of a field, None for one that Django drops: underscores would be ambiguous."""
    text = raw.decode("latin1")
    name = None if "_" in text else "HTTP_" + text.upper().replace("-", "_")
    if len(_names) < _KNOWN_NAMES_COUNT and len(raw) <= _NAME_CHARS:
        _names[raw] = name
    return name


def holds_nothing(request: Any) -> bool:
    """Whether closing the request frees nothing: it has no uploaded files, and no body on disk."""
    return (
        isinstance(request, ASGIRequest)
        and type(request).close is _CLOSE
        and _CLOSE_IS_DJANGOS
        and not request.__dict__.get("_files")
        and isinstance(request._stream, io.BytesIO)
    )


def is_free(closer: Callable[[], Any]) -> bool:
    """Whether ``closer`` closes only a request that holds nothing."""
    return getattr(closer, "__func__", None) is _CLOSE and holds_nothing(closer.__self__)  # type: ignore[attr-defined]


async def read_body(receive: Receive) -> IO[bytes]:
    """Return the body, rewound: in memory up to FILE_UPLOAD_MAX_MEMORY_SIZE, above it on disk.

    Raises:
        RequestAborted: the client left before its end.
    """
    event = await receive()
    if event["type"] == "http.disconnect":
        raise RequestAborted
    body = event.get("body", b"")
    if not event.get("more_body", False) and (not body or len(body) <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE):
        return io.BytesIO(body)
    return await _collect(receive, event)


async def _collect(receive: Receive, event: Event) -> IO[bytes]:
    """Read a body of several events."""
    parts: list[bytes] = []
    size_bytes = 0
    disk: IO[bytes] | None = None
    loop = asyncio.get_running_loop()
    try:
        while True:
            part = event.get("body", b"")
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
                # In blocks of that size, and in a thread: a disk may take its time.
                if disk is None:
                    disk = await loop.run_in_executor(None, tempfile.TemporaryFile)
                await loop.run_in_executor(None, disk.writelines, parts)
                parts, size_bytes = [], 0
            if not event.get("more_body", False):
                break
            event = await receive()
            if event["type"] == "http.disconnect":
                raise RequestAborted
        if disk is None:
            return io.BytesIO(b"".join(parts))
        await loop.run_in_executor(None, _finish, disk, parts)
        return disk
    except BaseException:
        if disk is not None:
            disk.close()
        raise


def _finish(disk: IO[bytes], parts: list[bytes]) -> None:
    disk.writelines(parts)
    disk.seek(0)
