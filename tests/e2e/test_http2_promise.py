"""What Django promises each request, over HTTP/2: many streams at once, and some that are given up."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections import Counter
from pathlib import Path

import pytest
import trustme

from tests.e2e.http2_streams import Client, StreamLost, connect
from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.promise_kinds import KINDS, IsRight
from tests.e2e.test_promise import APP, AROUND

pytestmark = pytest.mark.e2e

CA = trustme.CA()
SLOW = pytest.mark.slow


async def look(client: Client, path: str, owner: str, is_right: IsRight) -> bool:
    answer = await client.get(path)
    return is_right(answer.status, answer.text, owner)


async def give_up(client: Client, path: str, turns_count: int) -> None:
    """Ask, and reset the stream some turns of our loop later: before the view, in it, or while it answers."""
    stream_id, answer = client.ask(path)
    for _ in range(turns_count):
        await asyncio.wait([answer.done], timeout=0.001)
    client.cancel(stream_id)


async def visit(
    process: Process, connections_count: int, streams_count: int, context: ssl.SSLContext | None, *, hasty: bool
) -> tuple[Counter[str], dict[str, int]]:
    """All ask for everything, in step; return the wrong answers of each kind, and what the project counted."""
    wrong: Counter[str] = Counter()
    clients = [await connect(process.port, context) for _ in range(connections_count)]
    users = [(client, f"u{n}-{m}") for n, client in enumerate(clients) for m in range(streams_count)]
    turns = itertools.cycle(range(8))
    for at, (kind, (path, is_right)) in enumerate(KINDS.items()):
        query = f"request={at}"
        asked = [look(client, f"{path}?owner={owner}&{query}", owner, is_right) for client, owner in users]
        if hasty:
            paths = [(client, f"{path}?owner={owner}-hasty&{query}") for client, owner in users]
            asked += [give_up(client, path, next(turns)) for client, path in paths]  # type: ignore[misc]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, StreamLost):
                raise result
            wrong[kind] += not (result is None or result is True)
    counts = json.loads((await clients[0].get("/report/?owner=nobody")).text)
    for client in clients:
        await client.close()
    return +wrong, counts


@pytest.mark.parametrize(
    ("library", "loop", "connections_count", "streams_count", "tls", "age_s", "more", "hasty"),
    [
        ("ngh2", "auto", 2, 6, False, 60, "", True),
        pytest.param("ngh2", "auto", 3, 8, False, 0, "", False, marks=SLOW),
        pytest.param("h2", "asyncio", 2, 20, True, 0, AROUND, True, marks=SLOW),
        pytest.param("ngh2", "asyncio", 8, 8, True, 60, AROUND, True, marks=SLOW),
        pytest.param("ngh2", "uvloop", 40, 4, False, 60, "", True, marks=SLOW),
        pytest.param("h2", "uvloop", 8, 8, False, 60, "", False, marks=SLOW),
    ],
)
def test_nobody_sees_the_state_of_another_stream(
    library: str,
    loop: str,
    connections_count: int,
    streams_count: int,
    tls: bool,
    age_s: int,
    more: str,
    hasty: bool,
    tmp_path: Path,
) -> None:
    options = ["--no-access-log", "--http2-library", library, "--loop", loop]
    context = None
    if tls:
        pair = CA.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
        pair.write_to_path(tmp_path / "pair.pem")
        options += ["--ssl-certfile", str(tmp_path / "pair.pem")]
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        CA.configure_trust(context)
    env = {"SIDE": "fullduplex", "AGE": str(age_s), "DATABASE": str(tmp_path / "db"), "MORE": more}
    with fullduplex(APP, *options, app_dir=ROOT, env=env) as process:
        wrong, counts = asyncio.run(visit(process, connections_count, streams_count, context, hasty=hasty))
    asked = connections_count * streams_count
    assert wrong == {}, f"of {asked} each"
    assert counts["left behind"] == 0
    if not hasty:
        assert counts == {"requests": asked * len(KINDS), "finished elsewhere": 0, "left behind": 0}
