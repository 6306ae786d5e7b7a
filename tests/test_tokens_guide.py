"""What ``docs/howto/tokens.md`` writes lets in who has a token, and nobody else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import override_settings

from fullduplex.testing import Client
from tests.reader import snippets

jwt = pytest.importorskip("jwt")
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "docs/howto/tokens.md"
SECRET = "a secret that is long enough for HMAC with SHA-256"


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a project that has the files of the page."""
    package = sys.modules["mysite"] = ModuleType("mysite")
    package.__path__ = []
    names = ["mysite"]
    for snippet in snippets(PAGE):
        if snippet.language != "python":
            continue
        name = snippet.code.split("\n")[0].removeprefix("# ").removesuffix(".py").replace("/", ".")
        module = sys.modules[name] = ModuleType(name)
        module.__package__ = "mysite"
        names.append(name)
        setattr(package, name.partition(".")[2], module)
        code = snippet.code.replace("from django.contrib import admin\n", "").replace(
            '    path("admin/", admin.site.urls),\n', ""
        )
        exec(compile(code, str(snippet), "exec"), vars(module))
    with override_settings(ROOT_URLCONF="mysite.urls", SECRET_KEY=SECRET):
        yield Client()
    for name in names:
        del sys.modules[name]


@pytest.fixture
def ada() -> User:
    user: User = get_user_model().objects.create_user("ada")
    return user


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"authorization": f"Bearer {token}"}, "origin": None}


def test_who_is_logged_in_gets_a_token_that_opens_a_socket_elsewhere(client: Client, ada: User) -> None:
    client.force_login(ada)
    token = client.get("/token/").json()["token"]
    with Client().websocket("/news/", **bearer(token)) as socket:
        assert socket.receive() == "Hello ada."
        socket.send("hello")
        assert socket.receive() == "You said hello."


@pytest.mark.parametrize("fault", ["no token", "of another secret", "ended", "user gone", "no end", "no algorithm"])
def test_no_other_token_does(client: Client, ada: User, fault: str) -> None:
    secret = "another secret, which is long enough, too" if fault == "of another secret" else SECRET
    claims = {"sub": str(ada.pk if fault != "user gone" else 0), "exp": time.time() + (60 if fault != "ended" else -60)}
    if fault == "no end":
        del claims["exp"]
    algorithm, key = ("none", "") if fault == "no algorithm" else ("HS256", secret)
    token = "" if fault == "no token" else jwt.encode(claims, key, algorithm=algorithm)
    assert client.handshake("/news/", **bearer(token)).status_code == 401


def test_an_open_socket_ends_with_its_token(client: Client, ada: User) -> None:
    token = jwt.encode({"sub": str(ada.pk), "exp": time.time() + 1}, settings.SECRET_KEY, algorithm="HS256")
    with client.websocket("/news/", **bearer(token)) as socket:
        assert socket.receive() == "Hello ada."
        assert socket.wait_closed() == (4401, "the token has ended")
