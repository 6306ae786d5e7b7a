"""The example chat on our engine, with no change to it: people sign in by their sessions, and talk."""

from __future__ import annotations

import asyncio
import sys
import uuid
from contextlib import AsyncExitStack

import pytest

from fullduplex.client import Message, Subscribed, Subscription, connect
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
print(Room.objects.create(name="Tea", slug="tea").group.name)
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
    group, *keys = process.output.split()
    with fullduplex("mysite.asgi:application", app_dir=ROOT / "examples" / "chat", env=env) as process:
        url = process.url.replace("http", "ws") + "/rooms/tea/socket/"
        async with asyncio.timeout(WAIT_TIMEOUT_S), AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    connect(url, origin=process.url, additional_headers={"Cookie": f"sessionid={key}"}, proxy=None)
                )
                for key in keys
            ]
            rooms = [client.subscribe(group) for client in clients]
            for room in rooms:
                assert isinstance(await anext(room), Subscribed)
            for name, client in zip(PEOPLE, clients, strict=True):
                await client.publish(group, {"text": f"I am {name}."}, key=uuid.uuid4().hex)
            heard = await asyncio.gather(*(said(room, len(PEOPLE)) for room in rooms))
    assert "Traceback" not in process.output
    for texts in heard:
        assert texts == [f"I am {name}." for name in PEOPLE]


async def said(room: Subscription, count: int) -> list[str]:
    """The texts of so many messages; who comes and goes is told in between."""
    texts: list[str] = []
    while len(texts) < count:
        event = await anext(room)
        if isinstance(event, Message) and event.data["type"] == "message":
            texts.append(event.data["text"])
    return texts
