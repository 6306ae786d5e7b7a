"""The HTTP consumer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.channels.generic.http import AsyncHttpConsumer
from fullduplex.channels.layers import get_channel_layer
from fullduplex.channels.testing import ApplicationCommunicator, HttpCommunicator


class Echo(AsyncHttpConsumer):
    ended = 0

    async def handle(self, body: bytes) -> None:
        await self.send_response(200, body, headers={b"x-length": str(len(body)).encode()})

    async def disconnect(self) -> None:
        type(self).ended += 1


@pytest.fixture(autouse=True)
def _nothing_ended() -> None:
    Echo.ended = 0


async def answer(application: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    communicator = HttpCommunicator(application, *args, **kwargs)
    response = await communicator.get_response()
    await communicator.wait()
    return response


async def test_a_body_in_parts() -> None:
    communicator = ApplicationCommunicator(Echo.as_asgi(), {"type": "http"})
    await communicator.send_input({"type": "http.request", "body": b"one ", "more_body": True})
    await communicator.send_input({"type": "http.request", "body": b"two", "more_body": False})
    assert (await communicator.receive_output())["headers"] == [(b"x-length", b"7")]
    assert (await communicator.receive_output())["body"] == b"one two"
    await communicator.wait()
    assert Echo.ended == 1


async def test_each_request_has_a_consumer_of_its_own() -> None:
    application = Echo.as_asgi()
    for body in (b"a", b"b"):
        response = await answer(application, "post", "/?q", body=body)
        assert (response["status"], response["body"]) == (200, body)


async def test_a_client_that_leaves() -> None:
    communicator = ApplicationCommunicator(Echo.as_asgi(), {"type": "http"})
    await communicator.send_input({"type": "http.request", "body": b"one", "more_body": True})
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait()
    assert Echo.ended == 1


async def test_a_body_that_is_too_large() -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=3):
        assert (await answer(Echo.as_asgi(), "POST", "/", body=b"1234"))["status"] == 413

        class Unbounded(Echo):
            max_body_bytes = None

        assert (await answer(Unbounded.as_asgi(), "POST", "/", body=b"1234"))["status"] == 200


async def test_errors_are_raised_and_handle_must_be_there() -> None:
    with pytest.raises(NotImplementedError, match=r"handle\(\)"):
        await HttpCommunicator(AsyncHttpConsumer.as_asgi(), "GET", "/").get_response(3)
    with pytest.raises(AssertionError, match="Body is not bytes"):
        await AsyncHttpConsumer().send_body("text")  # type: ignore[arg-type]


async def test_a_long_poll_is_answered_by_the_layer() -> None:
    class Poll(AsyncHttpConsumer):
        async def http_request(self, message: Any) -> None:
            await self.send_headers(headers=[(b"content-type", b"text/plain")])
            await self.channel_layer.group_add("polls", self.channel_name)
            joined.set()

        async def poll_answer(self, event: Any) -> None:
            await self.send_body(event["text"].encode())

    joined = asyncio.Event()
    layers = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with override_settings(CHANNEL_LAYERS=layers):
        communicator = HttpCommunicator(Poll.as_asgi(), "GET", "/")
        response = asyncio.ensure_future(communicator.get_response())
        await joined.wait()
        await get_channel_layer().group_send("polls", {"type": "poll.answer", "text": "now"})
        assert (await response)["body"] == b"now"
        communicator.stop()
        await asyncio.wait({communicator.future})
        assert get_channel_layer().groups == {}
