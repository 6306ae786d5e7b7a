"""What becomes of each block of code on our pages: where it is executed, or why it is not.

A block that is not named here is pasted and executed by ``tests/test_snippets.py``: Python as in a shell, and of a
command its options. What a page takes for granted is in ``WORLDS``. A block of ``text``, or without a language, is no
code. Any other block needs an answer in ``ANSWERS``.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class By:
    """A test that reads the page and executes the block: its file, whose text names the page."""

    test: str


@dataclass(frozen=True)
class Because:
    """Why a block is not executed."""

    reason: str


SHOWN = Because("no code: what a program prints, or a drawing")  # of blocks without a language, and of ``text``
FIRST_STEPS = By("tests/e2e/test_first_steps.py")
GUIDES = By("tests/e2e/test_guides.py")

# By page; then "*" for all blocks, a language, or words that the block has. The first that fits counts.
ANSWERS: dict[str, dict[str, By | Because]] = {
    "README.md": {"*": FIRST_STEPS},
    "SECURITY.md": {"pip-audit": Because("asks a service outside for published flaws")},
    "docs/howto/asgi-middleware.md": {"*": By("tests/e2e/test_beside.py")},
    "docs/howto/async-orm.md": {
        "Book.objects": Because("a view of models that are the reader's; tests/db has such views, on PostgreSQL"),
        "database_only": Because("a view of models that are the reader's; tests/db has such calls, on PostgreSQL"),
        "aatomic": Because("a part of a view of the reader's; tests/db has such transactions, on PostgreSQL"),
        "async def tell": Because("a receiver for a model of the reader's; tests/db has such receivers, on PostgreSQL"),
    },
    "docs/howto/celery.md": {
        "def finish": Because("a part of a view of the reader's; tests/realtime has such transactions"),
        "*": GUIDES,
    },
    "docs/howto/deploy.md": {
        "Settings in production": By("tests/deploy/test_files.py"),
        "FULLDUPLEX_COMPILE": Because("compiles the whole package; docs/internals/compiled.md says how that is tested"),
        "check --deploy": By("tests/deploy/test_walk.py"),
        "useradd": By("tests/deploy/test_walk.py"),
        "systemctl": By("tests/deploy/test_walk.py"),
        "kubectl": By("tests/deploy/test_walk.py"),
        "docker compose": By("tests/deploy/test_walk.py"),
        "openssl": By("tests/deploy/test_walk.py"),
        "systemd-run": By("tests/deploy/test_walk.py"),
    },
    "docs/howto/docker.md": {"dockerfile": By("tests/deploy/test_files.py")},
    "docs/howto/htmx.md": {"*": GUIDES},
    "docs/howto/http2.md": {
        "mkcert": Because("puts an authority of its own into the reader's browsers"),
        "openssl": By("tests/e2e/test_http2_browser.py"),
        "curl": Because("curl's own option; tests/e2e/test_http2.py begins a connection that way"),
        "console": By("tests/server/test_howto.py"),
    },
    "docs/howto/inside-another.md": {"*": By("tests/e2e/test_beside.py")},
    "docs/howto/javascript-client.md": {
        "css": Because("delays how something looks"),
        "*": By("tests/e2e/test_javascript_guide.py"),
    },
    "docs/howto/logging.md": {"toml": By("tests/server/test_howto.py")},
    "docs/howto/resume.md": {"*": By("tests/e2e/test_resume_guide.py")},
    "docs/howto/metrics.md": {
        "console": By("tests/server/test_howto.py"),
        "scrape_configs": Because("a configuration of Prometheus, which is not run here"),
        "sum(rate(": Because("queries for Prometheus, which is not run here; tests/e2e/test_metrics.py has the names"),
        "livenessProbe": Because("a part of a manifest; tests/deploy/test_files.py checks the whole one"),
        "ini": Because("variables of a unit; tests/e2e/test_metrics.py sets them"),
    },
    "docs/howto/migrate-from-channels.md": {
        "reactpy_django": Because(
            "needs reactpy-django, which tests/channels/test_unchanged.py runs with such a routing"
        ),
        "user_of": Because("middleware with a function of the reader's"),
    },
    "docs/howto/observe.md": {"python": By("tests/recipes.py")},
    "docs/howto/outbox.md": {
        ">>>": GUIDES,
        "def order": Because("a view of a model of the reader's; tests/history has such ones"),
        "ini": Because("a unit like that of docs/howto/systemd.md, which tests/deploy checks"),
    },
    "docs/howto/proxies.md": {
        "StreamingHttpResponse": Because("a response with events of the reader's"),
        "console": By("tests/server/test_howto.py"),
        "yaml": By("tests/deploy/test_files.py"),
        "httpchk": Because("two lines for a backend; the whole configuration of HAProxy is run"),
        "*": By("tests/e2e/documented.py"),
    },
    "docs/howto/redis.md": {
        "sentinels": Because("addresses of servers of the reader's; tests/layers runs such a layer with real ones"),
        "hosts": Because("addresses of servers of the reader's; tests/layers runs such layers with real ones"),
        ">>>": Because("needs the Redis of the reader's; tests/layers does the same with a real one"),
    },
    "docs/howto/sse.md": {"*": GUIDES},
    "docs/howto/starlette.md": {"*": By("tests/e2e/test_beside.py")},
    "docs/howto/systemd.md": {"ini": By("tests/deploy/test_files.py"), "console": By("tests/server/test_howto.py")},
    "docs/howto/testing.md": {"*": GUIDES},
    "docs/howto/tls.md": {
        "client_cert_name": Because("a part of a view; tests/e2e/test_tls.py has such a view"),
        "make_context": Because("needs a certificate; tests/e2e/test_tls.py serves with such a context"),
        "console": By("tests/server/test_howto.py"),
    },
    "docs/howto/tokens.md": {
        "pip install": Because("installs what is pinned in pyproject.toml"),
        "socket.onopen": Because("a line of the reader's page"),
        "*": By("tests/test_tokens_guide.py"),
    },
    "docs/internals/fuzzing.md": {"*": Because("runs of hours; a fixed part of them is in tests/fuzz")},
    "docs/reference/api.md": {"*": By("tests/test_site.py")},
    "docs/reference/javascript.md": {"*": Because("each call once; tests/e2e/test_javascript_client.py makes them")},
    "docs/reference/protocol.md": {"": Because("messages of a conversation; tests/vectors has such ones, checked")},
    "docs/topics/benchmarks.md": {"console": Because("measures for hours; tests/test_bench.py runs short ones")},
    "docs/tutorial/first-socket.md": {"*": FIRST_STEPS},
    "docs/tutorial/kept-messages.md": {"*": FIRST_STEPS},
    "docs/tutorial/production.md": {"*": FIRST_STEPS},
    "docs/tutorial/tests.md": {"*": FIRST_STEPS},
    "docs/tutorial/two-people.md": {"*": FIRST_STEPS},
    "src/fullduplex/static/fullduplex/README.md": {"*": Because("the client's tests in tests/js use it so")},
}


def _world_of_settings() -> dict[str, Any]:
    """What a file of settings has, at whose end something is put."""
    return {"DATABASES": {"default": {}}, "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth"]}


def _world_of_groups() -> dict[str, Any]:
    from fullduplex import Group
    from fullduplex.layers.memory import MemoryLayer

    return {**_world_of_settings(), "Group": Group, "MyLayer": lambda url: MemoryLayer()}


def _world_of_sockets() -> dict[str, Any]:
    from django.contrib.auth.decorators import login_required
    from django.shortcuts import aget_object_or_404

    from fullduplex import Group, websocket

    class Room:
        group = Group("room")

    async def history(room: Any) -> list[str]:
        return []

    return {
        "Room": Room,
        "aget_object_or_404": aget_object_or_404,
        "group": Group("chat"),
        "history": history,
        "login_required": login_required,
        "room": Room(),
        "websocket": websocket,
    }


def _world_of_threads() -> dict[str, Any]:
    from django.contrib.auth.models import Group
    from django.db import connection
    from django.http import JsonResponse, StreamingHttpResponse
    from django.utils.deprecation import MiddlewareMixin

    return {
        **_world_of_settings(),
        "JsonResponse": JsonResponse,
        "MiddlewareMixin": MiddlewareMixin,
        "Order": Group,  # a model with a name
        "StreamingHttpResponse": StreamingHttpResponse,
        "connection": connection,
        "dataclasses": dataclasses,
        "local": threading.local(),
    }


def _world_of_benchmarks() -> dict[str, Any]:
    from bench.load.http import Request
    from bench.scenarios.django_http import DjangoHTTP

    return {"DjangoHTTP": DjangoHTTP, "Request": Request}


WORLDS: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/howto/async-orm.md": _world_of_threads,
    "docs/howto/migrate-from-channels.md": _world_of_settings,
    "docs/howto/outbox.md": _world_of_settings,
    "docs/reference/groups.md": _world_of_groups,
    "docs/reference/threads.md": _world_of_threads,
    "docs/topics/benchmarks.md": _world_of_benchmarks,
    "docs/topics/delivery.md": _world_of_sockets,
    "docs/topics/handshakes.md": _world_of_sockets,
}

__all__ = ["ANSWERS", "SHOWN", "WORLDS", "Because", "By"]
