"""Django over HTTP: ``startproject`` settings, DEBUG off, SQLite, the same views under every server."""

from __future__ import annotations

import json
from typing import ClassVar

from bench import peers
from bench.django_project.seed import SESSION_KEY
from bench.load.http import Request, exchange
from bench.scenario import Column, Scenario
from bench.scenarios import django_project
from bench.scenarios.http import HTTPScenario
from bench.server import Peer, Server

_BOUNDARY = "benchbenchbench"
_COOKIE = {"Cookie": f"sessionid={SESSION_KEY}"}
_USER = b'{"username": "ada"}'
_AT_LEAST_AS_FAST = dict.fromkeys(("uvicorn, Django's handler", "gunicorn gthread (WSGI)", "granian (WSGI)"), 1)
_UPLOAD_BYTES = 10 * 1024 * 1024


class DjangoHTTP(HTTPScenario):
    """A view of the project."""

    connections = 32

    def peers(self) -> list[Peer]:
        return django_project.http_peers()

    def prepare(self) -> None:
        django_project.make_database()


class Sync(DjangoHTTP):
    name = "django-sync"
    title = "Django, sync view"
    about = "13 bytes, default middleware, 32 connections."
    request = Request("/sync/")
    expected = b"Hello, world!"
    goals: ClassVar = {
        "uvicorn, Django's handler": 12,
        "gunicorn gthread (WSGI)": 2.5,
        "granian (WSGI)": 1.15,
    }


class Bare(Sync):
    name = "django-sync-bare"
    title = "Django, sync view without middleware"
    about = "13 bytes, MIDDLEWARE is empty, 32 connections."
    goals: ClassVar = {"granian (WSGI)": 0.9}

    def peers(self) -> list[Peer]:
        return django_project.http_peers(django_project.WITHOUT_MIDDLEWARE)


class Async(Sync):
    name = "django-async"
    title = "Django, async view"
    request = Request("/async/")
    goals: ClassVar = {"uvicorn, Django's handler": 12}


class AsyncSleep(DjangoHTTP):
    name = "django-async-sleep"
    title = "Django, async view that waits 50 ms"
    about = "asyncio.sleep(0.05), default middleware, 256 connections."
    request = Request("/sleep/")
    expected = b"Hello, world!"
    connections = 256
    goals: ClassVar = {"uvicorn, Django's handler": 15}


class AsyncJSON(DjangoHTTP):
    name = "django-async-json"
    title = "Django, async view that answers with JSON"
    about = "28 bytes, 32 connections, MIDDLEWARE is empty but in one row; django-bolt makes no HttpRequest."
    request = Request("/async-json")
    goals: ClassVar = {"django-bolt": 0.9}

    def peers(self) -> list[Peer]:
        ours, djangos, *_ = django_project.http_peers(django_project.WITHOUT_MIDDLEWARE)
        with_middleware = peers.fullduplex(django_project.OURS, "fullduplex, default middleware")
        return [ours, with_middleware, djangos, peers.bolt(f"{django_project.PROJECT}.settings")]


class ORM(DjangoHTTP):
    name = "django-orm-sync"
    title = "Django, sync view with one query"
    about = "One row of SQLite by primary key, as JSON; CONN_MAX_AGE is the default, 0."
    columns = (*DjangoHTTP.columns, Column("opened", "connections/1,000"))
    request = Request("/orm/")
    expected = _USER
    goals: ClassVar = _AT_LEAST_AS_FAST

    def counters(self, server: Server) -> dict[str, float]:
        return {"opened": json.loads(exchange(server.port, Request("/connections/")).body)["opened"]}


class ORMAsync(ORM):
    name = "django-orm-async"
    title = "Django, async view with one query"
    request = Request("/orm-async/")


class Postgres(ORM):
    name = "django-postgres-sync"
    title = "Django, sync view with one query of PostgreSQL"
    about = "One row by primary key, as JSON, through a UNIX socket; CONN_MAX_AGE is the default, 0."

    def peers(self) -> list[Peer]:
        return django_project.http_peers(django_project.POSTGRES)

    def prepare(self) -> None:
        django_project.make_postgres_database()


class PostgresAsync(Postgres):
    name = "django-postgres-async"
    title = "Django, async view with one query of PostgreSQL"
    request = Request("/orm-async/")


class PostgresKept(Postgres):
    name = "django-postgres-kept-sync"
    title = "Django, sync view with one query of PostgreSQL, connections kept"
    about = "The same with CONN_MAX_AGE = 60."

    def peers(self) -> list[Peer]:
        return django_project.http_peers({**django_project.POSTGRES, "BENCH_CONN_MAX_AGE": "60"})


class PostgresKeptAsync(PostgresKept):
    name = "django-postgres-kept-async"
    title = "Django, async view with one query of PostgreSQL, connections kept"
    request = Request("/orm-async/")


class Login(DjangoHTTP):
    name = "django-login"
    title = "Django, sync view with session and user"
    about = "The session cookie of a logged-in user; two queries."
    request = Request("/login/", headers=_COOKIE)
    expected = _USER
    goals: ClassVar = _AT_LEAST_AS_FAST


class LoginAsync(Login):
    name = "django-login-async"
    title = "Django, async view with session and user"
    request = Request("/login-async/", headers=_COOKIE)


class Template(DjangoHTTP):
    name = "django-template"
    title = "Django, template"
    about = "Two templates, 20 rows, the default context processors."
    request = Request("/template/")


class PostJSON(DjangoHTTP):
    name = "django-json"
    title = "Django, 1 KiB of JSON posted"
    about = "Parsed by the view, answered with 16 bytes."
    request = Request("/json/", "POST", json.dumps({"text": "x" * 1012}).encode(), {"Content-Type": "application/json"})
    expected = b'{"length": 1012}'
    goals: ClassVar = _AT_LEAST_AS_FAST


class Upload(DjangoHTTP):
    name = "django-upload"
    title = "Django, upload of 10 MiB"
    about = "multipart/form-data with one file, 8 connections."
    request = Request(
        "/upload/",
        "POST",
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="bench.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + bytes(range(256)) * (_UPLOAD_BYTES // 256)
        + f"\r\n--{_BOUNDARY}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"},
    )
    expected = b'{"bytes": %d}' % _UPLOAD_BYTES
    connections = 8
    goals: ClassVar = _AT_LEAST_AS_FAST


DJANGO_HTTP: list[type[Scenario]] = [
    Sync,
    Bare,
    Async,
    AsyncJSON,
    AsyncSleep,
    ORM,
    ORMAsync,
    Postgres,
    PostgresAsync,
    PostgresKept,
    PostgresKeptAsync,
    Login,
    LoginAsync,
    Template,
    PostJSON,
    Upload,
]
