"""Clients of one group that keeps a history, who come back, and a full account of what each of them has got.

They speak ``fullduplex.v1`` with nothing of ours in between. Publishers send again, with the same key, until they have
an answer, so that the positions of all messages are known. Each listener must end with every message that was published
after its first position, once and in order, unless it was told of a loss: then it may lack what ended with that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

DEADLINE_S = 120.0  # only ever reached by a failure
LOST = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError)
GROUP = "room"

Place = tuple[str, int]  # epoch, offset


class Refused(Exception):
    """It was not done, or nobody knows: again."""


@dataclass(slots=True)
class Listener:
    """What one client has got, as it came; what it has already is dropped, as any client does.

    Attributes:
        first: the place from which it began.
        place: the one that it has come to.
        got: places and texts of messages.
        losses: how often it was told that something may be missing.
        visits: how often it has connected.
    """

    first: Place | None = None
    place: Place | None = None
    got: list[tuple[Place, str]] = field(default_factory=list)
    losses: int = 0
    visits: int = 0

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "message":
            assert self.place is not None
            epoch, last = self.place
            offset = message["offset"]
            if offset > last:
                assert offset == last + 1, f"{offset} behind {last}, and no word of it"
                self.place = epoch, offset
                self.got.append((self.place, message["data"]["text"]))
        elif kind in ("subscribed", "gap"):
            place = message["position"]["epoch"], message["position"]["offset"]
            if kind == "gap" or not message["recovered"]:
                self.losses += 1
            else:
                assert self.place in (None, place), f"recovered at {place}, behind {self.place}"
            self.place = place
            self.first = self.first or place
        elif kind == "error":
            raise OSError(message["code"])  # such as unavailable: back later


class Room:
    """Listeners and publishers of a server.

    Args:
        url: of the server.

    Attributes:
        published: the place of each message that a publisher was told of, by its text.
    """

    def __init__(self, url: str) -> None:
        self.listeners: list[Listener] = []
        self.published: dict[str, Place] = {}
        self._url = url.rstrip("/")
        self._errors: list[BaseException] = []
        self._over = asyncio.Event()
        self._count = 0
        self._sockets: set[ClientConnection] = set()

    @contextlib.asynccontextmanager
    async def listening(self, count: int) -> AsyncIterator[None]:
        """So many clients, who come back; at the end all of them have come to the last message."""
        tasks = []
        try:
            for _ in range(count):
                listener = Listener()
                self.listeners.append(listener)
                tasks.append(asyncio.create_task(self._guarded(self._listen(listener))))
            await self.until(lambda: all(listener.first for listener in self.listeners))
            yield
            await self._say_last()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def publishing(self, *, sockets: int, views: int = 0, pause_s: float = 0.0) -> AsyncIterator[None]:
        """It goes on all the time, each behind the answer to the last."""
        self._over.clear()
        tasks = [
            asyncio.create_task(self._guarded(maker(self._name(), pause_s)))
            for maker in [self._by_socket] * sockets + [self._by_view] * views
        ]
        try:
            yield
        finally:
            self._over.set()
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*tasks)

    async def more(self, count: int) -> None:
        """Wait until so many messages more are published."""
        wanted_count = len(self.published) + count
        await self.until(lambda: len(self.published) >= wanted_count)

    async def until(self, is_so: Callable[[], bool]) -> None:
        end_s = asyncio.get_running_loop().time() + DEADLINE_S
        while not is_so():
            assert not self._errors, self._errors
            if asyncio.get_running_loop().time() > end_s:
                places = sorted({str(listener.place) for listener in self.listeners})
                raise AssertionError(f"{DEADLINE_S:g} s passed; {len(self.published)} published, all at {places[:9]}")
            await asyncio.sleep(0.05)

    def cut(self, share: float) -> None:
        """Break the connections of some listeners, as a network does."""
        for socket in [*self._sockets]:
            if random.random() < share:
                socket.transport.abort()

    # Listening -------------------------------------------------------------------------------

    async def _listen(self, listener: Listener) -> None:
        while True:
            with contextlib.suppress(*LOST, TimeoutError):
                async with self._connect() as socket:
                    request: dict[str, Any] = {"type": "subscribe", "id": 1, "group": GROUP}
                    if listener.place is not None:
                        request["after"] = {"epoch": listener.place[0], "offset": listener.place[1]}
                    await socket.send(json.dumps(request))
                    listener.visits += 1
                    self._sockets.add(socket)
                    try:
                        async for text in socket:
                            listener.take(json.loads(text))
                    finally:
                        self._sockets.discard(socket)
            await asyncio.sleep(0.05)

    def _connect(self) -> connect:
        return connect(
            f"{self._url.replace('http', 'ws', 1)}/realtime/",
            subprotocols=["fullduplex.v1"],  # type: ignore[list-item]  # a NewType of str
            proxy=None,
            ping_interval=None,
            open_timeout=DEADLINE_S,
            compression=None,
        )

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._errors.append(error)

    # Publishing ------------------------------------------------------------------------------

    def _name(self) -> str:
        self._count += 1
        return f"p{self._count}"

    async def _by_socket(self, who: str, pause_s: float) -> None:
        number = 0
        while not self._over.is_set():
            with contextlib.suppress(*LOST, TimeoutError, Refused):
                async with self._connect() as socket:
                    request_id = 0
                    while not self._over.is_set():
                        request_id += 1
                        await self._publish(socket, request_id, f"{who} {number}")
                        number += 1
                        await asyncio.sleep(pause_s)
            await asyncio.sleep(0.05)

    async def _publish(self, socket: ClientConnection, request_id: int, text: str) -> None:
        data, key = {"text": text}, text.replace(" ", "-")
        request = {"type": "publish", "id": request_id, "group": GROUP, "data": data, "key": key}
        await socket.send(json.dumps(request))
        async with asyncio.timeout(DEADLINE_S):
            while (answer := json.loads(await socket.recv())).get("id") != request_id:
                pass
        if answer["type"] == "error":
            assert answer["code"] in ("unavailable", "timeout", "limit"), answer
            raise Refused
        self.published[text] = answer["position"]["epoch"], answer["position"]["offset"]

    async def _by_view(self, who: str, pause_s: float) -> None:
        number = 0
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            while not self._over.is_set():
                text = f"{who} {number}"
                content = json.dumps({"text": text})
                try:
                    response = await client.post(f"{self._url}/publish/{text.replace(' ', '-')}/", content=content)
                    response.raise_for_status()
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
                    continue
                offset, epoch = response.text.split()
                self.published[text] = epoch, int(offset)
                number += 1
                await asyncio.sleep(pause_s)

    async def _say_last(self) -> None:
        who = self._name()
        self._over.clear()
        saying = asyncio.create_task(self._guarded(self._by_socket(who, DEADLINE_S)))
        text = f"{who} 0"
        try:
            await self.until(lambda: text in self.published)
            await self.until(lambda: all(listener.place == self.published[text] for listener in self.listeners))
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    # The account -----------------------------------------------------------------------------

    def check(self) -> int:
        """Hold all that every listener got against all that was published; return how many messages arrived.

        That nothing is missing within what a listener got, unless it was told, was looked at as it came.
        """
        texts: dict[Place, str] = {place: text for text, place in self.published.items()}
        assert len(texts) == len(self.published)
        for listener in self.listeners:
            for place, text in listener.got:
                assert texts.setdefault(place, text) == text, f"two messages at {place}: {text}, {texts[place]}"
        for epoch in {epoch for epoch, _ in texts}:
            self._check_order([text for (of, _), text in sorted(texts.items()) if of == epoch])
        for listener in self.listeners:
            if not listener.losses:
                assert listener.first is not None
                epoch, first = listener.first
                wanted = [(place, text) for place, text in sorted(texts.items()) if place[0] == epoch]
                assert listener.got == [one for one in wanted if one[0][1] > first]
        return sum(len(listener.got) for listener in self.listeners)

    def _check_order(self, texts: Sequence[str]) -> None:
        """Each message once, and in the order of its publisher."""
        assert len({*texts}) == len(texts)
        last: dict[str, int] = {}
        for text in texts:
            who, _, number = text.partition(" ")
            assert int(number) > last.get(who, -1), text
            last[who] = int(number)
