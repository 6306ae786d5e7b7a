"""Whether the view of a request will be sync or async, before the chain has resolved it.

A hint: it has no side effects, never raises, and where it could be wrong there is none. The chain resolves
again itself, so a wrong hint costs speed and never meaning.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import DEFAULT_CONVERTERS
from django.urls.resolvers import LocalePrefixPattern, RegexPattern, RoutePattern
from django.utils import translation

_PATHS_COUNT = 2_048  # remembered; a site has a few hot paths


class Survey:
    """What a walk over the URLconf finds.

    Attributes:
        has_sync, has_async: there are views of the kind.
        is_plain: resolving a path calls nothing but Django's own code, and depends on nothing but the path.
        has_prefix: some paths begin with their language (``i18n_patterns``).
    """

    def __init__(self, resolver: URLResolver) -> None:
        self.has_sync = False
        self.has_async = False
        self.is_plain = True
        self.has_prefix = False
        self._walk(resolver)

    def _walk(self, resolver: URLResolver) -> None:
        self._look_at(resolver)
        for entry in resolver.url_patterns:
            if isinstance(entry, URLResolver):
                self._walk(entry)
            elif isinstance(entry, URLPattern):
                self._look_at(entry)
                if iscoroutinefunction(entry.callback):
                    self.has_async = True
                else:
                    self.has_sync = True
            else:
                self.is_plain = False

    def _look_at(self, entry: Any) -> None:
        pattern = entry.pattern
        if type(entry) not in (URLResolver, URLPattern) or type(pattern) not in _OWN_PATTERNS:
            self.is_plain = False
        if not isinstance(getattr(pattern, "_route", ""), str):  # a translated one
            self.is_plain = False
        if isinstance(pattern, LocalePrefixPattern):
            self.has_prefix = True
        for converter in pattern.converters.values():
            if type(converter) not in _OWN_CONVERTERS:
                self.is_plain = False


class Hints:
    """Hints for the URLconf in force."""

    def __init__(self) -> None:
        self._resolver: URLResolver | None = None
        self._survey: Survey | None = None
        self._by_path: dict[str, bool | None] = {}

    def is_async(self, request: HttpRequest) -> bool | None:
        """Return whether the view is async; None: not known."""
        try:
            resolver = get_resolver(settings.ROOT_URLCONF)
            if resolver is not self._resolver:
                self._survey, self._by_path = Survey(resolver), {}
                self._resolver = resolver
            survey = self._survey
            assert survey is not None
            if not (survey.has_sync and survey.has_async):
                return survey.has_async
            return self._of_path(request.path_info, resolver, survey.has_prefix) if survey.is_plain else None
        except Exception:  # a broken URLconf is reported by the chain
            return None

    def _of_path(self, path: str, resolver: URLResolver, has_prefix: bool) -> bool | None:
        try:
            return self._by_path[path]
        except KeyError:
            pass
        if len(self._by_path) >= _PATHS_COUNT:
            self._by_path.clear()
        known: bool | None
        try:
            # LocaleMiddleware will ask the path first, too.
            language = (translation.get_language_from_path(path) or settings.LANGUAGE_CODE) if has_prefix else None
            with translation.override(language) if language else nullcontext():
                known = iscoroutinefunction(resolver.resolve(path).func)
        except Exception:  # 404, most likely
            known = None
        self._by_path[path] = known
        return known


_OWN_PATTERNS = (RoutePattern, RegexPattern, LocalePrefixPattern)
_OWN_CONVERTERS = {type(converter) for converter in DEFAULT_CONVERTERS.values()}
