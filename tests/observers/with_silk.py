"""django-silk, which writes to the database. Its data are a ``threading.local``'s; its middleware is sync only."""

from __future__ import annotations

from typing import Any

APPS = ["silk"]
MIDDLEWARE_BEFORE: list[str] = []
MIDDLEWARE_AFTER = ["silk.middleware.SilkyMiddleware"]
SETTINGS: dict[str, Any] = {
    "SILKY_META": False,
    "SILKY_MAX_RECORDED_REQUESTS": 100_000,
    "SILKY_IGNORE_PATHS": ["/report/"],
}
URLS = [("silk/", "silk.urls")]


def start() -> None:
    pass


def mark(who: str) -> None:
    pass


def report() -> list[Any]:
    from silk.models import Request

    return [
        {
            "method": request.method,
            "path": request.path,
            "query": request.query_params,
            "body": request.body,
            "raw_body": request.raw_body,
            "view": request.view_name,
            "status": request.response.status_code,
            "answer": request.response.raw_body,
            "queries_count": request.num_sql_queries,
            "queries": sorted(query.query for query in request.queries.all()),
        }
        for request in Request.objects.select_related("response").prefetch_related("queries")
    ]
