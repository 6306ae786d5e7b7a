"""``manage.py explain``: the view, the chain, the hops and who causes them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers import base
from django.core.management import CommandError, call_command
from django.core.signals import request_finished, request_started
from django.http import HttpResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from fullduplex import non_blocking
from fullduplex.sockets.views import websocket
from tests.handler.project import project

STARTPROJECT = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


class Foreign(MiddlewareMixin):
    def process_request(self, request: Any) -> None: ...

    def process_response(self, request: Any, response: Any) -> Any:
        return response


class Declared(MiddlewareMixin):
    @non_blocking
    def process_request(self, request: Any) -> None: ...


def only_sync(get_response: Any) -> Any:
    return lambda request: get_response(request)


def around(factory: Any) -> Any:
    """What an observer puts in the place of a middleware; its hooks that Django calls are not wrapped."""

    @sync_and_async_middleware
    def make(get_response: Any) -> Any:
        inner = factory(get_response)

        async def middleware(request: Any) -> Any:
            return await inner(request)

        return middleware

    return make


def sync_view(request: Any) -> HttpResponse:
    return HttpResponse()


async def async_view(request: Any) -> HttpResponse:
    return HttpResponse()


@websocket
async def socket(socket: Any) -> None: ...


def explain(capsys: pytest.CaptureFixture[str], where: str, *middleware: str, **settings: Any) -> str:
    routes = [path("sync/", sync_view), path("async/", async_view), path("socket/", socket)]
    with project(*routes, MIDDLEWARE=[*STARTPROJECT, *middleware], **settings):
        call_command("explain", where)
    return capsys.readouterr().out


def test_a_sync_view_takes_one_hop_and_an_async_view_none(capsys: pytest.CaptureFixture[str]) -> None:
    output = explain(capsys, "/sync/")
    assert "test_explain.sync_view (sync)" in output
    assert "hops    1\n" in output
    output = explain(capsys, "/async/?page=2")
    assert "hops    0\n" in output
    assert "when there is work for" in output
    assert "SessionMiddleware.process_response" in output
    assert "(socket)" in explain(capsys, "/socket/")


def test_foreign_hooks_are_named_and_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    output = explain(capsys, "/async/", f"{__name__}.Foreign", f"{__name__}.Declared")
    assert "hops    2\n" in output
    assert "Foreign.process_request" in output
    assert "Foreign.process_response" in output
    assert "non_blocking" in output
    assert "Declared" not in output
    assert "hops    1\n" in explain(capsys, "/sync/", f"{__name__}.Foreign")


def test_sync_middleware_and_receivers_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    def receiver(**kwargs: Any) -> None: ...

    request_started.connect(receiver)
    try:
        output = explain(capsys, "/async/", f"{__name__}.only_sync")
    finally:
        request_started.disconnect(receiver)
    assert "hops    2\n" in output
    assert f"{__name__}.only_sync" in output
    assert "receives request_started" in output


def test_hooks_inside_wrapped_middleware_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "import_string", lambda dotted: around(import_string(dotted)))
    output = explain(capsys, "/async/", f"{__name__}.Foreign")
    assert "hops    2\n" in output
    assert "when there is work for" in output
    assert "SessionMiddleware.process_response" in output
    assert "Foreign.process_request" in output
    assert "Foreign.process_response" in output
    assert "hops    3\n" in explain(capsys, "/sync/", f"{__name__}.Foreign")


def test_how_long_the_thread_is_kept_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def receiver(**kwargs: Any) -> None: ...

    assert "thread  kept to the last sync call;" in explain(capsys, "/sync/")
    request_finished.connect(receiver)
    try:
        output = explain(capsys, "/async/")
    finally:
        request_finished.disconnect(receiver)
    assert "thread  kept until request_finished, for" in output
    assert "receiver" in output
    assert "thread  one for each request" in explain(capsys, "/async/", FULLDUPLEX={"FAST": False})


def test_with_fast_off_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "FAST is off" in explain(capsys, "/async/", FULLDUPLEX={"FAST": False})


def test_a_path_without_a_route_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match="No route"):
        explain(capsys, "/none/")
