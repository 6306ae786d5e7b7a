"""What is known of a view before the chain has resolved it."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path, register_converter
from django.urls.converters import DEFAULT_CONVERTERS, StringConverter, get_converters
from django.utils import translation
from django.utils.translation import gettext_lazy

from fullduplex.chain.hints import Hints
from tests.handler.project import project


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class Queries(StringConverter):
    def to_python(self, value: str) -> str:
        raise AssertionError("a hint asks no converter of a project")


def hint(target: str, *patterns: Any, **settings: Any) -> bool | None:
    with project(*patterns, **settings), translation.override("fr"):  # of whoever used this thread before
        found = Hints().is_async(RequestFactory().get(target))
        assert translation.get_language() == "fr"
    return found


PAGES = path("s/", sync_view), path("a/", async_view)


@pytest.mark.parametrize(("target", "expected"), [("/s/", False), ("/a/", True), ("/missing/", None)])
def test_the_kind_of_a_view(target: str, expected: bool | None) -> None:
    assert hint(target, *PAGES) is expected


def test_a_site_of_one_kind_needs_no_path() -> None:
    assert hint("/missing/", path("s/", sync_view)) is False


@pytest.mark.parametrize(
    ("target", "prefix_default_language", "expected"),
    [
        ("/de/s/", True, False),
        ("/en/a/", True, True),
        ("/s/", True, None),
        ("/s/", False, False),
        ("/de/a/", False, True),
        ("/en/a/", False, None),
    ],
)
def test_paths_that_begin_with_their_language(
    target: str, prefix_default_language: bool, expected: bool | None
) -> None:
    patterns = i18n_patterns(*PAGES, prefix_default_language=prefix_default_language)
    settings = {"LANGUAGE_CODE": "en", "LANGUAGES": [("en", "English"), ("de", "German")]}
    assert hint(target, *patterns, **settings) is expected


def test_what_depends_on_more_than_the_path_gives_none() -> None:
    assert hint("/s/", path(gettext_lazy("s/"), sync_view), path("a/", async_view)) is None
    if "queries" not in get_converters():
        register_converter(Queries, "queries")
    try:
        assert hint("/a/", path("<queries:x>/", async_view), path("s/", sync_view)) is None
    finally:
        del get_converters()["queries"]
        assert "queries" not in DEFAULT_CONVERTERS
