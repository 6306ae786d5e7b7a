"""Other forms of async Django beside the plain async view: a class, and async middleware as function and as class."""

from __future__ import annotations

from bench import peers
from bench.load.http import Request
from bench.scenario import Scenario
from bench.scenarios import django_project
from bench.scenarios.django_http import DjangoHTTP
from bench.server import Peer, Server

_MIDDLEWARE = f"{django_project.PROJECT}.middleware"
_FORMS: dict[str, dict[str, str]] = {
    "async View": {},
    "async middleware, function": {"BENCH_MIDDLEWARE": f"{_MIDDLEWARE}.function"},
    "async middleware, class": {"BENCH_MIDDLEWARE": f"{_MIDDLEWARE}.Class"},
}


class AsyncForms(DjangoHTTP):
    name = "django-forms-async"
    title = "Django, async View and async middleware beside the plain async view"
    about = "13 bytes, default middleware and one more, 32 connections. The first row is the plain async view."
    expected = b"Hello, world!"

    def peers(self) -> list[Peer]:
        ours, theirs = django_project.OURS, django_project.DJANGO
        return [
            peers.fullduplex(ours),
            *(peers.fullduplex(ours, f"fullduplex, {form}", env=env) for form, env in _FORMS.items()),
            peers.uvicorn(theirs, "uvicorn, Django's handler"),
            *(peers.uvicorn(theirs, f"uvicorn, Django's handler, {form}", env=env) for form, env in _FORMS.items()),
        ]

    def request_for(self, server: Server) -> Request:
        return Request("/async-class/" if server.name.endswith("async View") else "/async/")


DJANGO_ASYNC: list[type[Scenario]] = [AsyncForms]
