"""The example chat on our engine, with no change to it: people sign in by their sessions, and talk."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, fullduplex
from tests.packages.postgresql import PostgreSQL

pytestmark = pytest.mark.e2e

PEOPLE = ("ada", "grace", "mary")
PREPARE = f"""
import django; django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from chat.models import Room
call_command("migrate", verbosity=0)
Room.objects.create(name="Tea", slug="tea")
for name in {PEOPLE}:
    user = get_user_model().objects.create_user(name)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    print(session.session_key)
from django.db import connections; connections.close_all()
"""


@pytest.fixture
def env(postgresql: PostgreSQL) -> dict[str, str]:
    postgresql.database("chat")
    path = f"{ROOT}:{ROOT / 'examples' / 'chat'}"
    return {
        "POSTGRESQL": postgresql.host,
        "CHAT_NAME": "chat",
        "DJANGO_SETTINGS_MODULE": "tests.db.chat_settings",
        "PYTHONPATH": path,
    }


async def test_people_talk(env: dict[str, str]) -> None:
    with Process(sys.executable, "-c", PREPARE, ready="", cwd=ROOT, env=env) as process:
        await asyncio.to_thread(process.wait)
    keys = process.output.split()
    with fullduplex("mysite.asgi:application", app_dir=ROOT / "examples" / "chat", env=env) as process:
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            sockets = await asyncio.gather(*(opened(process, key) for key in keys))
            for name, socket in zip(PEOPLE, sockets, strict=True):
                await socket.send(json.dumps({"text": f"I am {name}.", "key": uuid.uuid4().hex}))
            heard = await asyncio.gather(*(said(socket, len(PEOPLE)) for socket in sockets))
            await asyncio.gather(*(socket.close() for socket in sockets))
    assert "Traceback" not in process.output
    for texts in heard:
        assert sorted(texts) == [f"I am {name}." for name in PEOPLE]


async def opened(process: Process, key: str) -> ClientConnection:
    url = process.url.replace("http", "ws") + "/rooms/tea/socket/"
    return await connect(
        url, origin=process.url, additional_headers={"Cookie": f"sessionid={key}"}, open_timeout=None, proxy=None
    )


async def said(socket: ClientConnection, count: int) -> list[str]:
    """The texts of so many messages; who comes and goes is told in between."""
    texts: list[str] = []
    while len(texts) < count:
        event: dict[str, Any] = json.loads(await socket.recv())
        if event["type"] == "message":
            texts.append(event["text"])
    return texts
