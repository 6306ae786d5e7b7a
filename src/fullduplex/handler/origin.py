"""Who may open a socket from a browser: Django's CSRF rule for the Origin header.

A browser sends cookies with a handshake from any site, and no CSRF token can: only Origin tells a page of
ours from a foreign one (cross-site WebSocket hijacking, RFC 6455 section 10.2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import get_callable
from django.utils.http import is_same_domain
from django.utils.log import log_response

logger = logging.getLogger("django.security.csrf")


async def refuse_foreign_origin(request: HttpRequest, view: Callable[..., Any]) -> HttpResponse | None:
    """Return the refusal of ``CSRF_FAILURE_VIEW``, or None when the handshake may go on to ``view``.

    Raises:
        DisallowedHost: the Host header is not in ALLOWED_HOSTS.
    """
    error = origin_error(request)
    if error is None or getattr(view, "csrf_exempt", False):
        return None
    return await sync_to_async(_refusal)(request, error)


def origin_error(request: HttpRequest) -> str | None:
    """Return why the handshake must be refused, or None when it may go on.

    Raises:
        DisallowedHost: the Host header is not in ALLOWED_HOSTS.
    """
    own = f"{request.scheme}://{request.get_host()}"
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        if request.META.get("HTTP_COOKIE"):
            return "a handshake with cookies needs an Origin header"
        return None
    if origin != "null" and (origin == own or _is_trusted(origin)):
        return None
    return f"Origin {origin!r} is neither {own!r} nor in the setting CSRF_TRUSTED_ORIGINS"


def _is_trusted(origin: str) -> bool:
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return "*" not in origin
    try:
        given = urlsplit(origin)
    except ValueError:
        return False
    for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS):
        pattern = trusted.netloc.lstrip("*")  # "*.example.com": any subdomain, and as in Django the domain itself
        if "*" in trusted.netloc and given.scheme == trusted.scheme and is_same_domain(given.netloc, pattern):
            return True
    return False


def _refusal(request: HttpRequest, reason: str) -> HttpResponse:
    response: HttpResponse = get_callable(settings.CSRF_FAILURE_VIEW)(request, reason=reason)
    log_response("Forbidden (%s): %s", reason, request.path, response=response, request=request, logger=logger)
    return response
