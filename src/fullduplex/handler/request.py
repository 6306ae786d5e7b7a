"""From an ASGI scope to Django's request."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest as DjangoASGIRequest
from django.core.handlers.asgi import get_script_prefix
from django.http import parse_cookie
from django.urls import get_script_prefix as get_current_prefix
from django.urls import set_script_prefix

from fullduplex.asgi import Scope
from fullduplex.chain.noted import DeferredAttributes
from fullduplex.original import is_original
from fullduplex.threads.locals import variable_set_by

# Names of fields and of hosts are the client's choice: so many are remembered, and none that is longer.
_KNOWN_NAMES_COUNT = 512
_NAME_CHARS = 255

MANY_COOKIES_COUNT = 200  # no browser sends so many: Chrome and Firefox keep 180 of a site


def _of(name: str) -> tuple[str, str]:
    return "django.core.handlers.asgi", f"ASGIRequest.{name}"


_INIT: Any = DjangoASGIRequest.__init__ if is_original(DjangoASGIRequest.__init__, *_of("__init__")) else None
_CLOSE = DjangoASGIRequest.close
_CLOSE_IS_DJANGOS = is_original(_CLOSE, *_of("close"))
_prefix = variable_set_by(set_script_prefix, "/")
_allowed_hosts: set[tuple[str, ...]] = set()  # with the ALLOWED_HOSTS that allowed it
_names: dict[bytes, str | None] = {
    b"content-length": "CONTENT_LENGTH",
    b"content-type": "CONTENT_TYPE",
    # A cookie is joined and trimmed by other rules, which changed in Django 6: see ASGIRequest.
}


def begin_script_prefix(scope: Scope) -> None:
    """Have ``reverse()`` put the script name of a request before its paths, as Django's handler does."""
    prefix = get_script_prefix(scope)
    if prefix or ((_prefix is None or _prefix.get(None) is not None) and get_current_prefix() != "/"):
        set_script_prefix(prefix)


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
        path, method, query = scope["path"], scope["method"].upper(), scope.get("query_string", "")
        meta = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": query.decode() if isinstance(query, bytes) else query,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
        }
        # In one step: a class with a ``__delattr__`` takes seven times as many to set an attribute.
        self.__dict__.update(
            scope=scope,
            _post_parse_error=False,
            _read_started=False,
            resolver_match=None,
            script_name="",
            path=path,
            path_info=path,
            method=method,
            META=meta,
            content_type="",
            content_params={},
            _stream=body_file,
        )
        client = scope.get("client")
        if client:
            meta["REMOTE_ADDR"] = meta["REMOTE_HOST"] = client[0]
            meta["REMOTE_PORT"] = client[1]
        server = scope.get("server")
        meta["SERVER_NAME"], meta["SERVER_PORT"] = (server[0], str(server[1])) if server else ("unknown", "0")
        meta.update(headers)
        if "CONTENT_TYPE" in headers:
            self._set_content_type_params(meta)  # type: ignore[attr-defined]

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


def forget_many_cookies(request: ASGIRequest) -> None:
    """Parse the cookies again when somebody asks again, where there are very many and nobody has changed them.

    They take twenty times what the client sent, and the request of a socket stays for days.
    """
    cookies = request.__dict__.get("COOKIES")
    if (
        cookies is not None
        and len(cookies) > MANY_COOKIES_COUNT
        and cookies == parse_cookie(request.META.get("HTTP_COOKIE", ""))
    ):
        del request.__dict__["COOKIES"]


def holds_nothing(request: Any) -> bool:
    """Whether closing the request frees nothing: it has no uploaded files, and no body on disk."""
    return (
        isinstance(request, ASGIRequest)
        and type(request).close is _CLOSE
        and _CLOSE_IS_DJANGOS
        and "close" not in request.__dict__
        and not request.__dict__.get("_files")
        and isinstance(request._stream, io.BytesIO)
    )


def is_free(closer: Callable[[], Any]) -> bool:
    """Whether ``closer`` closes only a request that holds nothing."""
    return getattr(closer, "__func__", None) is _CLOSE and holds_nothing(closer.__self__)  # type: ignore[attr-defined]
