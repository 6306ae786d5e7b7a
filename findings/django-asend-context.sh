#!/usr/bin/env bash
# Django 5.2.19: `await signal.asend(...)` loses what a sync receiver sets in a context variable.
# One would expect the value after the await: the receiver is called through `sync_to_async`, and
# the documentation of asgiref says that context variables are carried into the thread and back.
# `sync_to_async` alone does so, and `signal.send()` does so too. But `asend` awaits the receivers
# with `asyncio.gather`, which gives them a task and so a copy of the context of their own.
# It bites every sync receiver of `request_started` that opens something for the request in a
# context variable (a trace, a tenant): under WSGI it works, under ASGI the view sees nothing.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0
cat > program.py <<'PYTHON'
import asyncio
import sys
from contextvars import ContextVar
from importlib.metadata import version

from asgiref.sync import sync_to_async
from django.dispatch import Signal

current = ContextVar("current", default="nothing")
started = Signal()


def remember(value, **kwargs):
    current.set(value)


started.connect(remember)


async def after_sync_to_async():
    await sync_to_async(remember)("set")
    return current.get()


async def after_send():
    await sync_to_async(started.send)(None, value="set")
    return current.get()


async def after_asend():
    await started.asend(None, value="set")
    return current.get()


print("Django", version("Django"), "asgiref", version("asgiref"))
seen = [asyncio.run(case()) for case in (after_sync_to_async, after_send, after_asend)]
print("after `await sync_to_async(receiver)()`:", seen[0])
print("after `await sync_to_async(signal.send)()`:", seen[1])
print("after `await signal.asend()`:", seen[2])
if seen != ["set", "set", "nothing"]:
    sys.exit(f"different: expected set, set, nothing; seen {seen}")
PYTHON
venv/bin/python program.py
