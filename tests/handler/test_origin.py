"""The Origin of a handshake: Django's CSRF rule, before the view runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import accept, refusal
from tests.handler.project import project

TRUSTED = ["https://friend.example", "https://*.family.example", "http://odd.example:8080"]


@socket_view
async def view(socket: WebSocket) -> None:
    await socket.accept()


@pytest.mark.parametrize(
    ("origin", "changes"),
    [
        ("http://testserver", {}),
        ("https://testserver", {"scheme": "wss"}),
        ("http://localhost:8000", {"host": "localhost:8000"}),
        ("https://friend.example", {}),
        ("https://a.family.example", {}),
        ("https://a.b.family.example", {}),
        ("https://family.example", {}),
        ("http://odd.example:8080", {}),
        (None, {}),
    ],
)
async def test_these_may_open_a_socket(origin: str | None, changes: dict[str, Any]) -> None:
    host = changes.pop("host", "testserver")
    with project(path("", view), CSRF_TRUSTED_ORIGINS=TRUSTED) as application:
        await accept(application, headers={"host": host, "origin": origin}, **changes)


@pytest.mark.parametrize("proto", ["https", "wss", "wss, http"])
async def test_a_proxy_may_say_wss_where_the_setting_has_https(proto: str) -> None:
    headers = {"origin": "https://testserver", "x-forwarded-proto": proto}
    with project(path("", view), SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")) as application:
        await accept(application, headers=headers)
        assert await refusal(application, headers={**headers, "x-forwarded-proto": "ws"})


@pytest.mark.parametrize(
    "origin",
    [
        "https://testserver",  # another scheme
        "http://testserver:81",  # another port
        "http://localhost",  # in ALLOWED_HOSTS, which never widens the rule
        "http://friend.example",
        "https://friend.example:444",
        "https://x.friend.example",
        "https://evilfamily.example",
        "http://a.family.example",
        "https://*.family.example",
        "https://evil.example",
        "https://[",
        "null",
        "",
        "http://testserver, http://testserver",
    ],
)
async def test_these_get_403_and_the_log_names_the_setting(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    with project(path("", view), CSRF_TRUSTED_ORIGINS=[*TRUSTED, "null"]) as application:
        assert (await refusal(application, headers={"origin": origin})).status == 403
    (record,) = caplog.records
    assert record.name == "django.security.csrf"
    assert "CSRF_TRUSTED_ORIGINS" in record.getMessage()


async def test_without_an_origin_cookies_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    with project(path("", view)) as application:
        assert (await refusal(application, headers={"origin": None, "cookie": "a=1"})).status == 403
    assert "needs an Origin header" in caplog.text


async def test_a_host_that_is_not_allowed_is_400() -> None:
    with project(path("", view), CSRF_TRUSTED_ORIGINS=TRUSTED) as application:
        for origin in ("http://evil.example", "https://friend.example", None):
            headers = {"host": "evil.example", "origin": origin}
            assert (await refusal(application, headers=headers)).status == 400


async def test_a_csrf_exempt_view_takes_any_origin() -> None:
    with project(path("", csrf_exempt(view))) as application:
        await accept(application, headers={"origin": "https://evil.example"})


async def test_the_check_comes_before_the_decorators_and_the_view() -> None:
    called: list[str] = []

    async def noisy(request: HttpRequest) -> Any:
        called.append("decorator")
        return await view(request)

    noisy.__dict__.update(view.__dict__)
    with project(path("", noisy)) as application:
        assert (await refusal(application, headers={"origin": "https://evil.example"})).status == 403
        assert called == []
        await accept(application)
        assert called == ["decorator"]


def failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return HttpResponse(f"mine: {reason}", status=403)


async def test_the_refusal_is_the_page_of_csrf_failure_view() -> None:
    with project(path("", view), CSRF_FAILURE_VIEW=f"{__name__}.failure") as application:
        assert (await refusal(application, headers={"origin": "null"})).body.startswith(b"mine: Origin 'null'")
