#!/usr/bin/env bash
# asgiref 3.13.0: a task that was cancelled twice while it awaited `sync_to_async` cannot use
# `sync_to_async` any more. The sync function calls `async_to_sync`, as a sync middleware around an
# async view does, and the view awaits a sync function that is still running at the cancellations.
# One would expect that the task can still call sync code when it cleans up: cancelling twice is
# allowed by asyncio (a timeout, then a shutdown), and after one cancellation it can.
# After two, the executor that served the view stays in the context of the task though it has ended,
# and the next `sync_to_async` raises RuntimeError "CurrentThreadExecutor already quit or is broken".
# It bites servers and middleware that close or log something in `except CancelledError`.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check asgiref==3.13.0
cat > program.py <<'PYTHON'
import asyncio
import sys
import threading
from importlib.metadata import version

from asgiref.sync import async_to_sync, sync_to_async


def outcome(cancellations):
    started, release = threading.Event(), threading.Event()

    def query():
        started.set()
        release.wait(10)

    async def view():
        await sync_to_async(query)()

    def middleware():
        async_to_sync(view)()

    async def request():
        try:
            await sync_to_async(middleware)()
        except asyncio.CancelledError:
            try:
                return await sync_to_async(lambda: "cleaned up")()
            except RuntimeError as error:
                return f"RuntimeError: {error}"

    async def main():
        task = asyncio.create_task(request())
        while not started.is_set():
            await asyncio.sleep(0.01)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.2, release.set)
        return await task

    return asyncio.run(main())


print("asgiref", version("asgiref"))
once, twice = outcome(1), outcome(2)
print("cancelled once:", once)
print("cancelled twice:", twice)
if (once, twice) != ("cleaned up", "RuntimeError: CurrentThreadExecutor already quit or is broken"):
    sys.exit("different: the error after the second cancellation, and only then, was expected")
PYTHON
venv/bin/python program.py
