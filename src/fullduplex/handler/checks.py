"""System checks of what makes requests slow, or wait for themselves."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.utils.module_loading import import_string

from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError


def check_threads(**kwargs: Any) -> list[CheckMessage]:
    """A view that asks its own server, and whoever else waits for another request, needs a second thread."""
    try:
        count = get_settings().threads_count
    except ConfigurationError:  # check_settings reports it
        return []
    if count >= 2:
        return []
    return [
        Warning(
            f"FULLDUPLEX['THREADS_COUNT'] is {count}: a sync view that calls this server waits for itself.",
            hint="Give it at least 2; the default is 16.",
            id="fullduplex.W010",
        )
    ]


def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """Middleware that is only sync holds a thread during each async view and each handshake."""
    messages: list[CheckMessage] = []
    for path in settings.MIDDLEWARE:
        try:
            factory = import_string(path)
        except ImportError:  # the handler reports it, with the traceback
            continue
        if not getattr(factory, "async_capable", False):
            messages.append(
                Info(
                    f"The middleware {path} is only sync: it holds a thread while an async view runs.",
                    hint="Make it sync_and_async_middleware, or a MiddlewareMixin class. See manage.py explain.",
                    id="fullduplex.I010",
                )
            )
    return messages
