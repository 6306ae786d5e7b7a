"""How many database connections this process has opened."""

from __future__ import annotations

import threading
from typing import Any

from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, JsonResponse

_lock = threading.Lock()
_opened = 0


def _count(**kwargs: Any) -> None:
    global _opened
    with _lock:
        _opened += 1


connection_created.connect(_count)


def opened(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"opened": _opened})
