"""Every middleware class of Django in the stack of a handshake, and what it does there."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required, login_required, permission_required
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils import translation

from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import accept, refusal, request, websocket
from tests.handler.project import project

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
COOKIE_SESSIONS = {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"}


@socket_view
async def one_word(socket: WebSocket) -> None:
    await socket.send("word")


def names(event: dict[str, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in event["headers"]}


# django.middleware ---------------------------------------------------------------------------


async def test_security_redirects_ws_to_https_and_sets_headers_behind_wss() -> None:
    settings: dict[str, Any] = {
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 9,
    }
    with project(path("room/", one_word), **settings) as application:
        response = await refusal(application, "/room/?a=1")
        assert (response.status, response.headers["location"]) == (301, "https://testserver/room/?a=1")
        event = await accept(application, "/room/", scheme="wss", headers={"origin": "https://testserver"})
        assert names(event)["strict-transport-security"] == "max-age=9"


async def test_secure_proxy_ssl_header_makes_a_ws_scope_secure() -> None:
    settings: dict[str, Any] = {
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "SECURE_SSL_REDIRECT": True,
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    }
    with project(path("", one_word), **settings) as application:
        headers = {"origin": "https://testserver", "x-forwarded-proto": "https"}
        await accept(application, headers=headers)
        headers["x-forwarded-proto"] = "http"
        assert (await refusal(application, scheme="wss", headers=headers)).status == 301


async def test_sessions_are_saved_with_the_accept_and_the_cookie_is_set() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.request.session.aset("visits", 7)
        await socket.send(str(await socket.request.session.aget("visits")))

    with project(path("", view), MIDDLEWARE=[SESSION], **COOKIE_SESSIONS) as application:
        cookie = names(await accept(application))["set-cookie"]
        name, _, value = cookie.partition(";")[0].partition("=")
        assert name == "sessionid"
        assert SessionStore(value)["visits"] == 7


@pytest.mark.django_db(transaction=True)
async def test_database_sessions_are_saved_with_the_accept_and_later_changes_by_asave() -> None:
    from django.contrib.sessions.backends.db import SessionStore

    @socket_view
    async def view(socket: WebSocket) -> None:
        session = socket.request.session
        await session.aset("visits", 1)
        await socket.accept()
        await session.aset("visits", 2)
        await socket.receive()
        await session.asave()

    with project(path("", view), MIDDLEWARE=[SESSION]) as application:
        async with websocket(application) as client:
            key = names(await client.accepted())["set-cookie"].partition(";")[0].partition("=")[2]
            assert await SessionStore(key).aget("visits") == 1
            client.send("save")
            assert await client.closed() == (1000, "")
        assert await SessionStore(key).aget("visits") == 2


@pytest.mark.django_db(transaction=True)
async def test_a_session_deleted_meanwhile_refuses_the_handshake_with_400() -> None:
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    await session.aset("visits", 1)
    await session.asave()

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.request.session.aset("visits", 2)
        await SessionStore(session.session_key).adelete()
        await socket.accept()

    with project(path("", view), MIDDLEWARE=[SESSION]) as application:
        response = await refusal(application, headers={"cookie": f"sessionid={session.session_key}"})
    assert response.status == 400


async def test_common_appends_the_slash_and_refuses_agents_and_foreign_hosts() -> None:
    import re

    settings: dict[str, Any] = {
        "MIDDLEWARE": ["django.middleware.common.CommonMiddleware"],
        "DISALLOWED_USER_AGENTS": [re.compile("bad")],
    }
    with project(path("room/", one_word), **settings) as application:
        response = await refusal(application, "/room?a=1")
        assert (response.status, response.headers["location"]) == (301, "/room/?a=1")
        assert (await refusal(application, "/room/", headers={"user-agent": "bad"})).status == 403
        assert (await refusal(application, "/room/", headers={"host": "evil.example"})).status == 400
        assert "content-length" not in names(await accept(application, "/room/"))


async def test_broken_link_emails_go_out_for_a_handshake_to_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects: list[str] = []
    monkeypatch.setattr(
        "django.middleware.common.mail_managers", lambda subject, *args, **kwargs: subjects.append(subject)
    )
    with project(MIDDLEWARE=["django.middleware.common.BrokenLinkEmailsMiddleware"]) as application:
        headers = {"referer": "http://other.example/"}
        assert (await refusal(application, "/nowhere/", headers=headers)).status == 404
    assert subjects == ["Broken link on testserver"]


async def test_the_locale_stays_in_force_for_the_socket_and_no_other() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await socket.send(f"{translation.get_language()} {translation.gettext('yes')}")

    settings: dict[str, Any] = {"MIDDLEWARE": ["django.middleware.locale.LocaleMiddleware"], "USE_I18N": True}
    with project(path("", view), **settings) as application:
        async with (
            websocket(application, headers={"accept-language": "de"}) as german,
            websocket(application, headers={"accept-language": "fr"}) as french,
        ):
            event = names(await german.accepted())
            await french.accepted()
            assert "content-language" not in event
            assert event["vary"] == "Accept-Language"
            for client, language in ((german, "de"), (french, "fr"), (german, "de")):
                client.send("?")
                assert str(await client.message()).split()[0] == language
    assert translation.get_language() == "en-us"


async def test_gzip_compresses_a_refusal_and_leaves_the_accept_alone() -> None:
    import gzip

    @socket_view
    async def long_refusal(socket: WebSocket) -> HttpResponse:
        return HttpResponse("no " * 500, status=409)

    routes = [path("", one_word), path("no/", long_refusal)]
    with project(*routes, MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"]) as application:
        headers = {"accept-encoding": "gzip"}
        assert "content-encoding" not in names(await accept(application, headers=headers))
        response = await refusal(application, "/no/", headers=headers)
        assert gzip.decompress(response.body) == b"no " * 500


async def test_conditional_get_adds_no_etag_and_never_answers_304() -> None:
    with project(path("", one_word), MIDDLEWARE=["django.middleware.http.ConditionalGetMiddleware"]) as application:
        assert "etag" not in names(await accept(application, headers={"if-none-match": "*"}))


async def test_csrf_sets_its_cookie_with_the_accept() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        get_token(socket.request)
        await socket.accept()

    with project(path("", view), MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"]) as application:
        assert names(await accept(application))["set-cookie"].startswith("csrftoken=")


async def test_clickjacking_sets_its_header_which_does_no_harm() -> None:
    with project(path("", one_word), MIDDLEWARE=["django.middleware.clickjacking.XFrameOptionsMiddleware"]) as app:
        assert names(await accept(app))["x-frame-options"] == "DENY"


async def test_the_cache_middlewares_keep_no_accept_and_serve_none() -> None:
    settings: dict[str, Any] = {
        "MIDDLEWARE": [
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
        ],
        "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "sockets"}},
    }
    with project(path("", one_word), **settings) as application:
        for _ in range(2):
            await accept(application)
        assert (await request(application)).status == 426
        await accept(application)
        cache.clear()


async def test_a_cached_page_of_the_same_address_does_not_open_a_socket() -> None:
    settings: dict[str, Any] = {
        "MIDDLEWARE": ["django.middleware.cache.CacheMiddleware"],
        "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "pages"}},
    }

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    with project(path("", page), **settings) as application:
        assert (await request(application)).status == 200
        assert (await refusal(application)).status == 403
        cache.clear()


if django.VERSION >= (6, 0):

    async def test_content_security_policy_goes_through() -> None:
        with project(
            path("", one_word),
            MIDDLEWARE=["django.middleware.csp.ContentSecurityPolicyMiddleware"],
            SECURE_CSP={"default-src": ["'self'"]},
        ) as application:
            assert "content-security-policy" not in names(await accept(application))


# django.contrib ------------------------------------------------------------------------------


async def logged_in() -> dict[str, str]:
    """Headers of a browser that has logged in."""
    from django.contrib.auth import alogin

    user = await User.objects.acreate_user("ada", password="x")
    fake = HttpRequest()
    fake.session = SessionStore()
    await alogin(fake, user, backend="django.contrib.auth.backends.ModelBackend")
    await fake.session.asave()
    return {"cookie": f"sessionid={fake.session.session_key}"}


@pytest.mark.django_db(transaction=True)
async def test_auth_gives_the_user_by_auser() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        user = await socket.request.auser()
        await socket.send(user.get_username() or "anonymous")

    with project(path("", view), MIDDLEWARE=[SESSION, AUTH], **COOKIE_SESSIONS) as application:
        for headers, name in (({}, "anonymous"), (await logged_in(), "ada")):
            async with websocket(application, headers=headers) as client:
                await client.accepted()
                assert await client.message() == name


@pytest.mark.django_db(transaction=True)
async def test_login_required_refuses_with_its_redirect() -> None:
    routes = [
        path("in/", login_required(one_word)),
        path("may/", permission_required("x.y", raise_exception=True)(one_word)),
    ]
    with project(*routes, MIDDLEWARE=[SESSION, AUTH], **COOKIE_SESSIONS) as application:
        response = await refusal(application, "/in/")
        assert (response.status, response.headers["location"]) == (302, "/accounts/login/?next=/in/")
        headers = await logged_in()
        await accept(application, "/in/", headers=headers)
        assert (await refusal(application, "/may/", headers=headers)).status == 403


@pytest.mark.django_db(transaction=True)
async def test_login_required_middleware_refuses_all_but_the_exempt() -> None:
    @login_not_required
    @socket_view
    async def public(socket: WebSocket) -> None:
        await socket.accept()

    routes = [path("in/", one_word), path("open/", public)]
    middleware = [SESSION, AUTH, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with project(*routes, MIDDLEWARE=middleware, **COOKIE_SESSIONS) as application:
        assert (await refusal(application, "/in/")).status == 302
        await accept(application, "/open/")
        await accept(application, "/in/", headers=await logged_in())


@pytest.mark.django_db(transaction=True)
async def test_remote_user_middleware_logs_in_by_header() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.send(socket.request.user.get_username())  # the middleware has put a user there that is not lazy

    settings: dict[str, Any] = {
        "MIDDLEWARE": [SESSION, AUTH, "django.contrib.auth.middleware.RemoteUserMiddleware"],
        "AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.RemoteUserBackend"],
    }
    with project(path("", view), **settings, **COOKIE_SESSIONS) as application:
        async with websocket(application, headers={"remote-user": "grace"}) as client:
            await client.accepted()
            assert await client.message() == "grace"


async def test_messages_set_before_the_accept_reach_the_next_page() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        messages.info(socket.request, "hello from the socket")
        await socket.accept()

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(", ".join(map(str, messages.get_messages(request))))

    settings: dict[str, Any] = {
        "MIDDLEWARE": [SESSION, "django.contrib.messages.middleware.MessageMiddleware"],
        "MESSAGE_STORAGE": "django.contrib.messages.storage.cookie.CookieStorage",
    }
    with project(path("", view), path("page/", page), **settings, **COOKIE_SESSIONS) as application:
        cookie = names(await accept(application))["set-cookie"].partition(";")[0]
        assert (await request(application, "/page/", headers={"cookie": cookie})).body == b"hello from the socket"


async def test_current_site_is_on_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.contrib.sites.middleware.get_current_site", lambda request: "the site")

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.send(str(socket.request.site))

    with project(path("", view), MIDDLEWARE=["django.contrib.sites.middleware.CurrentSiteMiddleware"]) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.message() == "the site"


async def test_admin_docs_view_header_is_harmless() -> None:
    middleware = [SESSION, AUTH, "django.contrib.admindocs.middleware.XViewMiddleware"]
    with project(path("", one_word), MIDDLEWARE=middleware, **COOKIE_SESSIONS) as application:
        await accept(application)


@pytest.mark.django_db(transaction=True)
async def test_the_whole_stack_of_startproject_together(settings: Any) -> None:
    with project(path("", one_word), MIDDLEWARE=settings.MIDDLEWARE) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.message() == "word"
