"""Middleware of the project: a function that takes both kinds of requests, and hooks inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin


@sync_and_async_middleware
def plain(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def pass_on(request: HttpRequest) -> Any:
            return await get_response(request)

    else:

        def pass_on(request: HttpRequest) -> Any:
            return get_response(request)

    return pass_on


class Early(MiddlewareMixin):
    """Answers in the place of a view."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        return HttpResponse("early", status=202) if request.path.startswith("/early/") else None
