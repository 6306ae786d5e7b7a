"""A Django project for one test: its routes and its settings."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.test import override_settings

from fullduplex.handler.application import ASGIHandler


@contextmanager
def project(*urlpatterns: Any, error_handlers: dict[str, Any] | None = None, **settings: Any) -> Iterator[ASGIHandler]:
    """Return the application of a project with these routes; ``MIDDLEWARE`` is empty unless given.

    Args:
        error_handlers: what the URLconf says beside its routes, e.g. ``{"handler404": view}``.
    """
    urlconf = types.ModuleType("urlconf_of_one_test")
    urlconf.urlpatterns = list(urlpatterns)  # type: ignore[attr-defined]
    for name, view in (error_handlers or {}).items():
        setattr(urlconf, name, view)
    with override_settings(**{"ROOT_URLCONF": urlconf, "MIDDLEWARE": [], **settings}):
        yield ASGIHandler()
