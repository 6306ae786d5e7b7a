"""The ASGI application that the management commands serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from fullduplex.asgi import Application

SETTING = "ASGI_APPLICATION"
PATH = f"{__name__}:application"  # for processes that import it by themselves


def __getattr__(name: str) -> Any:
    """``application``: the internal one, in a process that has set up nothing yet."""
    if name != "application":
        raise AttributeError(name)
    django.setup()
    return get_internal_asgi_application()


def get_internal_asgi_application() -> Application:
    """Return what ``ASGI_APPLICATION`` names, or without it what ``get_asgi_application()`` returns.

    Raises:
        ImproperlyConfigured: the setting names nothing that can be imported and called. What went wrong
            inside the module is the exception's cause.
    """
    path = getattr(settings, SETTING, None)
    if path is None:
        from fullduplex.handler.application import get_asgi_application

        return get_asgi_application()
    try:
        application = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING} = {path!r} could not be loaded: {error}") from error
    if not callable(application):
        raise ImproperlyConfigured(f"{SETTING} = {path!r} is not an ASGI application: it cannot be called.")
    return cast("Application", application)
