"""Several applications as one: who gets which path, and every lifespan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fullduplex import mount
from fullduplex.gateway.lifespan import Lifespan, LifespanFailed, Support


def recorder(name: str, seen: list[Any], fails: bool = False) -> Any:
    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            seen.append((name, scope["root_path"], scope["path"]))
            return
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            seen.append((name, step))
            scope["state"][name] = step
            outcome = "failed" if fails else "complete"
            await send({"type": f"lifespan.{step}.{outcome}"})
            if fails:
                return

    return app


async def no_lifespan(scope, receive, send):
    raise ValueError(scope["type"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/api/items", ("api", "/api", "/api/items")),
        ("", "/api", ("api", "/api", "/api")),
        ("", "/api/v2/items", ("v2", "/api/v2", "/api/v2/items")),
        ("", "/apiary", ("default", "", "/apiary")),
        ("", "/", ("default", "", "/")),
        ("/site", "/site/api/x", ("api", "/site/api", "/site/api/x")),
    ],
)
async def test_the_longest_prefix_gets_the_path(kind, root, path, expected):
    seen: list[Any] = []
    apps = {"/api": recorder("api", seen), "/api/v2": recorder("v2", seen)}
    await mount(apps, recorder("default", seen))({"type": kind, "root_path": root, "path": path}, None, None)
    assert seen == [expected]


async def test_every_lifespan_runs_in_order_and_shares_the_state():
    seen: list[Any] = []
    lifespan = Lifespan(mount({"/a": recorder("a", seen), "/b": no_lifespan}, recorder("c", seen)), {})
    await lifespan.startup(5)
    assert lifespan.support is Support.ON
    assert lifespan.state == {"a": "startup", "c": "startup"}
    await lifespan.shutdown(5)
    assert seen == [("a", "startup"), ("c", "startup"), ("c", "shutdown"), ("a", "shutdown")]


async def test_an_application_under_two_prefixes_starts_once():
    seen: list[Any] = []
    app = recorder("a", seen)
    lifespan = Lifespan(mount({"/a": app, "/b": app}, app), {})
    await lifespan.startup(5)
    await lifespan.shutdown(5)
    assert seen == [("a", "startup"), ("a", "shutdown")]


async def test_one_that_fails_to_start_stops_the_others():
    seen: list[Any] = []
    lifespan = Lifespan(mount({"/a": recorder("a", seen)}, recorder("b", seen, fails=True)), {})
    with pytest.raises(LifespanFailed):
        await lifespan.startup(5)
    assert seen == [("a", "startup"), ("b", "startup"), ("a", "shutdown")]


async def test_a_cancelled_lifespan_leaves_nothing_running():
    seen: list[Any] = []
    events: asyncio.Queue[Any] = asyncio.Queue()
    events.put_nowait({"type": "lifespan.startup"})
    sent: list[Any] = []

    async def send(message):
        sent.append(message)

    app = mount({"/a": recorder("a", seen)}, recorder("b", seen))
    task = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, events.get, send))
    while not sent:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert [entry for entry in seen if entry[1] == "shutdown"] == [("b", "shutdown"), ("a", "shutdown")]


@pytest.mark.parametrize("prefix", ["api", "/api/", "/", ""])
def test_a_malformed_prefix_is_an_error(prefix):
    with pytest.raises(ValueError, match="a prefix begins with a slash"):
        mount({prefix: no_lifespan}, no_lifespan)
