"""What Django imports and makes at a first request, for a process that workers are forked from.

Made there, it is theirs together; made by each of them, it is memory of each, and their first requests wait for it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from django.apps import apps
from django.conf import settings
from django.template import engines
from django.utils.formats import get_format
from django.utils.module_loading import import_string
from django.utils.translation import gettext

logger = logging.getLogger("fullduplex.handler")

# Imported inside functions, by app.
_MODULES = {
    "django.contrib.admin": ("django.contrib.admin.forms", "django.contrib.admin.views.main"),
    "django.contrib.staticfiles": ("django.contrib.staticfiles.storage",),
}


def preload() -> None:
    """Make what requests need. What cannot be made is left to the request that needs it, which tells why."""
    for step in (_engines, _languages, _names_in_settings, _modules):
        _try(step)


def _engines() -> None:
    """Libraries of tags, loaders and context processors; templates are compiled by those who use them."""
    for backend in engines.all():
        engine = getattr(backend, "engine", None)
        for name in ("template_loaders", "template_context_processors"):
            getattr(engine, name, None)


def _languages() -> None:
    gettext("")
    get_format("DATE_FORMAT")


def _names_in_settings() -> None:
    if apps.is_installed("django.contrib.sessions"):
        import_string(settings.SESSION_SERIALIZER)
    if apps.is_installed("django.contrib.messages"):
        import_string(settings.MESSAGE_STORAGE)


def _modules() -> None:
    importlib.import_module("django.db.models.sql.compiler")
    for app, names in _MODULES.items():
        if apps.is_installed(app):
            for name in names:
                importlib.import_module(name)


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:
        logger.debug("Not preloaded: %r", error)
