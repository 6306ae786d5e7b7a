"""The clients of the long run: what they do, and whether the answer was their own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import connect

from fullduplex.wire.frames import BINARY, TEXT
from tests.e2e.clients import frame
from tests.soak.requests import ANSWER_S, HOST, Answer, Visit, get

PARTS_COUNT = 20  # of a stream, as site_asgi has it
ROOMS_COUNT = 6
PAUSE_S = 0.25  # at most, between two things a client does
NOTED_COUNT = 20  # wrong answers that are told in full


class Load:
    """So many clients, until told to stop.

    Attributes:
        done: how often each kind was done.
        wrong: what was not as it should be.
    """

    def __init__(self, port: int, clients_count: int, seed: int) -> None:
        self._port = port
        self._clients_count = clients_count
        self._seed = seed
        self._stopping = asyncio.Event()
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.wrong_count = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients_count):
                group.create_task(self._client(number))

    def stop(self) -> None:
        self._stopping.set()

    async def _client(self, number: int) -> None:
        draw = random.Random(f"{self._seed} {number}")
        kinds = [*_KINDS]
        weights = [weight for weight, _ in _KINDS.values()]
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            (kind,) = draw.choices(kinds, weights)
            owner = f"c{number}-{turn}"
            try:
                fault = await _KINDS[kind][1](self._port, owner, draw)
            except Exception as error:
                fault = repr(error)
            self.done[kind] += 1
            if fault:
                self.wrong_count += 1
                if len(self.wrong) < NOTED_COUNT:
                    self.wrong.append(f"{kind} of {owner}: {fault}")
            await asyncio.sleep(draw.random() * PAUSE_S)


# What they do: each returns what was wrong, or "" -------------------------------------------------


def _is_own(answer: Answer, owner: str, status: int = 200) -> str:
    if answer.status != status:
        return f"status {answer.status}: {answer.body[:200]!r}"
    return _seen(json.loads(answer.body), owner)


def _seen(seen: list[Any], owner: str) -> str:
    return "" if seen and set(seen) == {owner} else f"saw {seen}"


async def _page(port: int, owner: str, draw: random.Random) -> str:
    return _is_own(await get(port, f"/sync/?owner={owner}"), owner)


async def _async_page(port: int, owner: str, draw: random.Random) -> str:
    return _is_own(await get(port, f"/async/?owner={owner}"), owner)


async def _missing(port: int, owner: str, draw: random.Random) -> str:
    return _is_own(await get(port, f"/missing/?owner={owner}"), owner, 404)


async def _failing(port: int, owner: str, draw: random.Random) -> str:
    return _is_own(await get(port, f"/fail/?owner={owner}"), owner, 500)


async def _stream(port: int, owner: str, draw: random.Random) -> str:
    answer = await get(port, f"/{draw.choice(['stream', 'astream'])}/?owner={owner}")
    lines = answer.body.splitlines()
    if answer.status != 200 or len(lines) != PARTS_COUNT:
        return f"status {answer.status}, {len(lines)} parts"
    return next(filter(None, (_seen(json.loads(line), owner) for line in lines)), "")


async def _stream_left(port: int, owner: str, draw: random.Random) -> str:
    async with Visit(port) as visit:
        visit.ask(f"/{draw.choice(['stream', 'astream'])}/?owner={owner}")
        head = await visit.some(draw.randrange(100, 40_000))
    return "" if head.startswith(b"HTTP/1.1 200 ") else f"{head[:100]!r}"


async def _upload(port: int, owner: str, draw: random.Random) -> str:
    body = draw.randbytes(draw.choice([1_000, 100_000, 3_000_000]))  # the last goes to the disk
    answer = await get(port, f"/upload/?owner={owner}", body)
    if answer.status != 200:
        return f"status {answer.status}"
    *seen, digest = json.loads(answer.body)
    return _seen(seen, owner) or ("" if digest == hashlib.sha256(body).hexdigest() else "another's body")


async def _slow_left(port: int, owner: str, draw: random.Random) -> str:
    async with Visit(port) as visit:
        visit.ask(f"/slow/?owner={owner}")
        await asyncio.sleep(draw.random() * 0.5)
    return ""


async def _chat(port: int, owner: str, draw: random.Random) -> str:
    """With what browsers do: permessage-deflate, and now and then a large message, or one in fragments."""
    async with connect(f"ws://{HOST}:{port}/chat/{owner}/", proxy=None) as socket, asyncio.timeout(ANSWER_S):
        for number in range(draw.randrange(6)):
            message = draw.randbytes(draw.choice([1, 1, 500, 50_000])).hex()
            await socket.send(message if draw.random() < 0.8 else [str(number), "", message])
            answer = await socket.recv()
            if answer not in (f"{owner} {message}", f"{owner} {number}{message}"):
                return f"heard {answer[:200]!r}"
            await asyncio.sleep(draw.random() * 0.2)
        if draw.random() < 0.5:  # in the middle of a call, and without a word
            await socket.send("last")
            socket.transport.abort()
    return ""


async def _message_left(port: int, owner: str, draw: random.Random) -> str:
    """Leave in the middle of a message, or behind messages that nobody has answered yet."""
    async with connect(f"ws://{HOST}:{port}/chat/{owner}/", proxy=None) as socket, asyncio.timeout(ANSWER_S):
        if draw.random() < 0.5:
            socket.transport.write(frame(BINARY, draw.randbytes(draw.randrange(60_000)), fin=False))
        else:
            socket.transport.write(frame(TEXT, b"x" * draw.randrange(100)) * draw.randrange(2_000))
        await asyncio.sleep(draw.random() * 0.3)
        socket.transport.abort()
    return ""


async def _room(port: int, owner: str, draw: random.Random) -> str:
    """Talk in a room with others in it, of whom some read slowly or never; hear what one has said oneself."""
    name = f"r{draw.randrange(ROOMS_COUNT)}"
    async with connect(f"ws://{HOST}:{port}/room/{name}/{owner}/", proxy=None) as socket, asyncio.timeout(ANSWER_S):
        for number in range(draw.randrange(1, 6)):
            await socket.send(str(number))
            while True:
                heard = json.loads(await socket.recv())
                if heard.get("room", name) != name or heard.get("own", owner) != owner:
                    return f"heard {str(heard)[:200]}"
                if (heard.get("owner"), heard.get("text")) == (owner, str(number)):
                    break
            await asyncio.sleep(draw.random() * 0.3)
        if draw.random() < 0.3:
            await socket.send("leave")
        if draw.random() < 0.5:
            socket.transport.abort()
    return ""


async def _deaf_member(port: int, owner: str, draw: random.Random) -> str:
    name = f"r{draw.randrange(ROOMS_COUNT)}"
    async with connect(f"ws://{HOST}:{port}/room/{name}/{owner}/", proxy=None, max_queue=1) as socket:
        await asyncio.sleep(draw.random() * 2)
        socket.transport.abort()
    return ""


async def _publish(port: int, owner: str, draw: random.Random) -> str:
    """From a sync view, to a room of anybody's."""
    path = f"/publish/?owner={owner}&room=r{draw.randrange(ROOMS_COUNT)}&size={draw.choice([10, 3_000, 60_000])}"
    return _is_own(await get(port, path), owner)


_KINDS: dict[str, tuple[int, Callable[[int, str, random.Random], Awaitable[str]]]] = {
    "page": (6, _page),
    "async page": (4, _async_page),
    "404": (1, _missing),
    "raising view": (1, _failing),
    "stream": (2, _stream),
    "stream left half-way": (2, _stream_left),
    "upload": (1, _upload),
    "slow view left": (2, _slow_left),
    "socket": (3, _chat),
    "message left half-way": (1, _message_left),
    "room": (3, _room),
    "member that does not read": (1, _deaf_member),
    "message from a view": (2, _publish),
}
