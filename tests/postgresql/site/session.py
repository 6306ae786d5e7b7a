"""Middleware that keeps state in the session of the database: a role, a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


def fetch(query: str, *parameters: object) -> Any:
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def execute(query: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query)


class RoleMiddleware(MiddlewareMixin):
    """``?role=``: who asks is that role to PostgreSQL, until the last of the content is made."""

    def process_request(self, request: HttpRequest) -> None:
        if role := request.GET.get("role"):
            execute(f"SET ROLE {connection.ops.quote_name(role)}")

    def process_response(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        if "role" in request.GET:
            if not response.streaming:
                reset_role()
            elif response.is_async:
                response.streaming_content = areset_after(response.streaming_content)
            else:
                response.streaming_content = reset_after(response.streaming_content)
        return response


class TenantMiddleware(MiddlewareMixin):
    """``?tenant=``: the policy of a table shows the rows of that tenant."""

    def process_request(self, request: HttpRequest) -> None:
        if tenant := request.GET.get("tenant"):
            fetch("SELECT set_config('app.tenant', %s, false)", tenant)


def reset_role() -> None:
    execute("RESET ROLE")


def reset_after(content: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from content
    finally:
        reset_role()


async def areset_after(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for part in content:
            yield part
    finally:
        await sync_to_async(reset_role)()
