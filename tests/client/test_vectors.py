"""The golden vectors of ``fullduplex.v1``, from the client's side."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from fullduplex.client import Client, ClientClosed, Gap, Message, Position, RequestFailed, Subscribed, errors
from fullduplex.client import client as client_module
from fullduplex.client.errors import LineLost
from fullduplex.client.messages import NotThisProtocol, read_message
from fullduplex.client.subscription import Subscription
from tests.endpoint.vectors import each

_KNOWN = frozenset({"welcome", "subscribed", "message", "gap", "unsubscribed", "reply", "error", "ping", "pong"})


@each("close_codes")
def test_close_codes(entry: dict[str, Any]) -> None:
    assert errors.reconnects(entry["code"]) is entry["reconnects"]


@each("statuses")
def test_statuses(entry: dict[str, Any]) -> None:
    assert errors.reconnects_after_status(entry["status"]) is entry["reconnects"]


@each("backoff")
def test_backoff(entry: dict[str, Any]) -> None:
    assert errors.wait_s(entry["attempt"], entry["random"]) == entry["wait_s"]


@each("server_messages")
def test_reads_what_servers_say(entry: dict[str, Any]) -> None:
    then = entry["then"]
    if then == "ignored":
        assert read_message(entry["text"])["type"] not in _KNOWN
    elif "close" in then:
        with pytest.raises(NotThisProtocol):
            read_message(entry["text"])
    else:
        told = read_message(entry["text"])
        assert {name: told[name] for name in then["message"]} == then["message"]


class Owner:
    """A client that does nothing."""

    def subscribe_again(self, subscription: Subscription) -> None: ...

    def pause(self, subscription: Subscription) -> None: ...

    async def end_subscription(self, subscription: Subscription) -> None: ...


def seen(event: Any) -> Any:
    match event:
        case Subscribed(recovered=recovered):
            return {"subscribed": recovered}
        case Message(data=data):
            return {"message": data}
        case Gap():
            return {"gap": True}


@each("groups")
async def test_one_group(entry: dict[str, Any]) -> None:
    subscription = Subscription(Owner(), "chat.1", None, 100_000)
    for step in entry["steps"]:
        subscription.take(step["server"], 100)
        events = [seen(await anext(subscription)) for _ in range(len(subscription._events))]
        assert events == ([] if step["sees"] is None else [step["sees"]])
        position = subscription.position
        assert (position and position._asdict()) == step["position"]


class Line:
    """A connection that the test holds the other end of."""

    def __init__(self) -> None:
        self.to_client: asyncio.Queue[str | LineLost] = asyncio.Queue()
        self.to_server: asyncio.Queue[Any] = asyncio.Queue()

    async def receive(self) -> str:
        told = await self.to_client.get()
        if isinstance(told, LineLost):
            raise told
        return told

    async def send(self, text: str) -> None:
        self.to_server.put_nowait(json.loads(text))

    async def close(self, code: int) -> None:
        self.to_server.put_nowait({"close": code})

    def abort(self) -> None:
        self.end(1006)

    def end(self, code: int) -> None:
        self.to_client.put_nowait(LineLost(code, "", not errors.reconnects(code)))


class Application:
    """Plays the server and the application of a conversation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_s = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + self._ahead_s)
        monkeypatch.setattr(client_module, "pause", lambda seconds: asyncio.sleep(0))
        self._lines: asyncio.Queue[Line] = asyncio.Queue()
        self._line: Line
        self._sees: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._tokens: list[str] = []
        self._client: Client
        self.tasks: list[asyncio.Task[Any]] = []
        self._subscriptions: dict[str, Subscription] = {}

    async def _dial(self) -> Line:
        line = Line()
        self._lines.put_nowait(line)
        return line

    async def _token(self) -> str:
        return self._tokens.pop(0)

    def _do(self, work: Any) -> None:
        self.tasks.append(asyncio.create_task(work))

    def _status(self, status: str) -> None:
        if status in ("reconnecting", "closed"):
            self._sees.put_nowait({"sees": status})

    async def play(self, step: dict[str, Any]) -> None:
        match step:
            case {"app": {"do": action, **members}}:
                await self._act(action, **members)
            case {"app": expected}:
                told = await self._sees.get()
                if told != expected and told.get("sees") == "reconnecting":  # by another task, so in either order
                    self._sees.put_nowait(told)
                    told = await self._sees.get()
                if "code" in expected and expected["sees"] == "closed":
                    told["code"] = self._client._closed.code  # type: ignore[union-attr]  # it is
                assert told == expected
            case {"client": "connect"}:
                self._line = await self._lines.get()
            case {"client": message}:
                assert await self._line.to_server.get() == message
            case {"server": {"close": code}}:
                self._line.end(code)
            case {"server": message}:
                self._line.to_client.put_nowait(json.dumps(message))
            case {"network": "lost"}:
                for _ in range(5):
                    await asyncio.sleep(0)
                self._line.end(1006)
            case {"time": seconds}:
                for _ in range(5):
                    await asyncio.sleep(0)
                self._ahead_s += seconds
            case {"others": _}:
                pass

    async def _act(self, action: str, **members: Any) -> None:
        if action == "connect":
            self._tokens = members.get("tokens", [])
            token = self._token if self._tokens else None
            self._client = Client("ws://unused", dial=self._dial, on_status=self._status, token=token)
            self._do(self._client.__aenter__())
        elif action == "subscribe":
            subscription = self._subscriptions[members["group"]] = self._client.subscribe(members["group"])
            self._do(self._watch(subscription))
        elif action == "unsubscribe":
            self._do(self._subscriptions[members["group"]].unsubscribe())
        elif action == "close":
            self._do(self._client.close())
        else:
            self._do(self._ask(action, **members))

    async def _ask(self, action: str, **members: Any) -> None:
        ask: Callable[..., Any] = getattr(self._client, action)
        told: dict[str, Any] = {"to": action}
        try:
            answer = await ask(**members)
        except RequestFailed as error:
            told |= {"sees": "error", "code": error.code}
        else:
            told["sees"] = "reply"
            told |= {"position": answer._asdict()} if isinstance(answer, Position) else {"result": answer}
        self._sees.put_nowait(told)

    async def _watch(self, subscription: Subscription) -> None:
        group = subscription.group
        try:
            async for event in subscription:
                told: dict[str, Any] = {"group": group}
                match event:
                    case Subscribed(recovered=recovered):
                        told |= {"sees": "subscribed", "recovered": recovered}
                    case Message(data=data, position=position):
                        told |= {"sees": "message", "data": data, "offset": position and position.offset}
                    case Gap():
                        told |= {"sees": "gap"}
                self._sees.put_nowait(told)
        except RequestFailed as error:
            self._sees.put_nowait({"sees": "unsubscribed", "group": group, "code": error.code})
        except ClientClosed:
            pass

    async def end(self) -> None:
        await self._client.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@each("conversations", sides="client")
async def test_conversation(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(monkeypatch)
    for step in entry["steps"]:
        try:
            async with asyncio.timeout(10):
                await application.play(step)
        except (AssertionError, TimeoutError) as error:
            error.add_note(f"at the step {step}")
            raise
    await application.end()
