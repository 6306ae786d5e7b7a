"""Django with an error tracker installed: what its work costs, and what the places cost that it takes."""

from __future__ import annotations

from typing import ClassVar

from bench import peers
from bench.load.http import Request
from bench.scenario import Scenario
from bench.scenarios import django_project
from bench.scenarios.django_http import DjangoHTTP
from bench.server import Peer

_SENTRY = {"BENCH_OBSERVER": "sentry"}
_BYSTANDER = {"BENCH_OBSERVER": "bystander"}


class Observed(DjangoHTTP):
    name = "django-observed-sync"
    title = "Django with Sentry, sync view"
    about = (
        "sentry-sdk with its DjangoIntegration and traces_sample_rate=0, default middleware, 32 connections. "
        "A bystander stands in the same places and does nothing there."
    )
    request = Request("/sync/")
    expected = b"Hello, world!"
    goals: ClassVar = {"uvicorn, Django's handler": 8}

    def peers(self) -> list[Peer]:
        ours, theirs = django_project.OURS, django_project.DJANGO
        return [
            peers.fullduplex(ours, env=_SENTRY),
            peers.uvicorn(theirs, "uvicorn, Django's handler", env=_SENTRY),
            peers.uvicorn(ours, "uvicorn, our handler", env=_SENTRY),
            peers.fullduplex(ours, "fullduplex, bystander", env=_BYSTANDER),
            peers.uvicorn(theirs, "uvicorn, Django's handler, bystander", env=_BYSTANDER),
            peers.fullduplex(ours, "fullduplex, nobody"),
            peers.uvicorn(theirs, "uvicorn, Django's handler, nobody"),
        ]


class ObservedAsync(Observed):
    name = "django-observed-async"
    title = "Django with Sentry, async view"
    request = Request("/async/")


class ObservedORM(Observed):
    name = "django-observed-orm-sync"
    title = "Django with Sentry, sync view with one query"
    request = Request("/orm/")
    expected = b'{"username": "ada"}'
    goals: ClassVar = {}


DJANGO_OBSERVED: list[type[Scenario]] = [Observed, ObservedAsync, ObservedORM]
