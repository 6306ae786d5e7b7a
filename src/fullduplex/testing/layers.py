"""What every layer must do, as tests that any layer can be run through, ours or a third party's.

With pytest, in a module of your own::

    from fullduplex.testing.layers import LayerConformance

    class TestMyLayer(LayerConformance):
        def make_layer(self):
            return MyLayer(hosts=["redis://localhost"])

Each test makes two objects of the layer with :meth:`~LayerConformance.make_layer`, which stand for two
processes, unless the layer is ``in_process``: then one object stands for both. A layer with ``supports_history`` has a
suite more, in ``fullduplex.testing.histories``.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fullduplex.layers.base import BaseLayer, Delivered, Message

#: What must arrive as it was sent, with its kind.
MESSAGES: tuple[Message, ...] = (
    "text",
    "",
    b"binary",
    b"",
    bytes(range(256)),
    "Grüße, 世界 \U0001f600 \x00 end",
    '{"looks":"like JSON"}',
    b"text in binary",
    "x" * 200_000,
)


class Processes:
    """Runs scenarios with two objects of a layer, which stand for two processes.

    Attributes:
        deadline_s: how long a message may take; only ever reached by a failure.
    """

    deadline_s = 10.0

    def make_layer(self) -> BaseLayer:
        """Return a new object of the layer, each time with the same broker behind it."""
        raise NotImplementedError

    def _run(self, scenario: Callable[[BaseLayer, BaseLayer], Any]) -> None:
        async def run() -> None:
            async with self._processes() as (here, there):
                await scenario(here, there)

        asyncio.run(run())

    @asynccontextmanager
    async def _processes(self) -> AsyncIterator[tuple[BaseLayer, BaseLayer]]:
        here = self.make_layer()
        there = here if here.in_process else self.make_layer()
        try:
            yield here, there
        finally:
            await here.close()
            if there is not here:
                await there.close()


class LayerConformance(Processes):
    """Subclass it, and say how the layer is made.

    Attributes:
        ordered_count: messages in the tests of order.
    """

    ordered_count = 300

    # Messages --------------------------------------------------------------------------------

    def test_messages_arrive_as_they_were_sent(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            for message in MESSAGES:
                await there.apublish(group, message)
                received = await inbox.take()
                assert (type(received), received) == (type(message), message)

        self._run(scenario)

    def test_the_publisher_gets_its_own_messages(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            await here.apublish(group, "own")
            assert await inbox.take() == "own"

        self._run(scenario)

    def test_publishing_from_a_thread_without_a_loop(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            await asyncio.to_thread(there.publish, group, "from a thread")
            await asyncio.to_thread(here.publish, group, b"from another")
            assert {await inbox.take(), await inbox.take()} == {"from a thread", b"from another"}

        self._run(scenario)

    def test_publishing_to_nobody(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            await here.apublish(new_name(), "unheard")
            await asyncio.to_thread(here.publish, new_name(), "unheard")

        self._run(scenario)

    # Order -----------------------------------------------------------------------------------

    def test_messages_of_a_task_arrive_in_order(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            for number in range(self.ordered_count):
                await there.apublish(group, str(number))
            assert await inbox.take_many(self.ordered_count) == [str(n) for n in range(self.ordered_count)]

        self._run(scenario)

    def test_messages_of_each_thread_arrive_in_order(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)

            def publish(layer: BaseLayer, who: str) -> None:
                for number in range(self.ordered_count):
                    layer.publish(group, f"{who} {number}")

            await asyncio.gather(
                asyncio.to_thread(publish, here, "a"),
                asyncio.to_thread(publish, there, "b"),
                asyncio.to_thread(publish, there, "c"),
            )
            received = await inbox.take_many(3 * self.ordered_count)
            for who in "abc":
                mine = [message for message in received if str(message).startswith(who)]
                assert mine == [f"{who} {number}" for number in range(self.ordered_count)]

        self._run(scenario)

    def test_a_publisher_that_changes_threads_keeps_its_order(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            for number in range(0, 20, 2):
                await asyncio.to_thread(there.publish, group, str(number))
                await there.apublish(group, str(number + 1))
            assert await inbox.take_many(20) == [str(number) for number in range(20)]

        self._run(scenario)

    # Subscriptions ---------------------------------------------------------------------------

    def test_groups_are_apart(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            first, second = Inbox(self.deadline_s), Inbox(self.deadline_s)
            names = new_name(), new_name()
            await here.subscribe(names[0], first)
            await here.subscribe(names[1], second)
            for name in names:
                await there.apublish(name, name)
            assert await first.take() == names[0]
            assert await second.take() == names[1]
            assert first.empty
            assert second.empty

        self._run(scenario)

    def test_every_subscriber_gets_the_message(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            far = Neighbour(there, group, self.deadline_s)
            await here.subscribe(group, inbox)
            try:
                await asyncio.to_thread(far.start)
                await here.apublish(group, "to both")
                assert await inbox.take() == "to both"
                assert await asyncio.to_thread(far.take) == "to both"
            finally:
                await asyncio.to_thread(far.stop)

        self._run(scenario)

    def test_the_end_of_a_subscription(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, ended, other = new_name(), Inbox(self.deadline_s), Inbox(self.deadline_s)
            await here.subscribe(group, ended)
            await here.unsubscribe(group)
            await there.apublish(group, "too late")
            await here.subscribe(group, other)
            await there.apublish(group, "in time")
            assert await other.take() == "in time"
            assert ended.empty

        self._run(scenario)

    def test_ending_what_never_began(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            await here.unsubscribe(group)
            await here.subscribe(group, Inbox(self.deadline_s))
            await here.unsubscribe(group)
            await here.unsubscribe(group)

        self._run(scenario)

    def test_subscribing_again_replaces(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, old, new = new_name(), Inbox(self.deadline_s), Inbox(self.deadline_s)
            await here.subscribe(group, old)
            await here.subscribe(group, new)
            await there.apublish(group, "once")
            assert await new.take() == "once"
            await there.apublish(group, "and again")
            assert await new.take() == "and again"
            assert old.empty

        self._run(scenario)

    def test_churn_loses_nothing_for_those_who_stay(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)

            async def churn() -> None:
                for _ in range(30):
                    passing = new_name()
                    await here.subscribe(passing, Inbox(self.deadline_s))
                    await here.unsubscribe(passing)

            async def publish() -> None:
                for number in range(60):
                    await there.apublish(group, str(number))

            await asyncio.gather(churn(), churn(), publish())
            assert await inbox.take_many(60) == [str(number) for number in range(60)]

        self._run(scenario)

    def test_closing_and_going_on(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, old, new = new_name(), Inbox(self.deadline_s), Inbox(self.deadline_s)
            await here.open()
            await here.open()
            await here.subscribe(group, old)
            await here.close()
            await here.close()
            await here.subscribe(group, new)
            await here.apublish(group, "after")
            assert await new.take() == "after"
            assert old.empty

        self._run(scenario)

    def test_a_loop_that_ended_without_a_word(self) -> None:
        """It must not disturb the others: tests and autoreload end loops like that."""
        layer = self.make_layer()
        group = new_name()

        async def vanish() -> None:
            await layer.subscribe(group, Inbox(self.deadline_s))

        async def stay() -> None:
            inbox = Inbox(self.deadline_s)
            await layer.subscribe(group, inbox)
            await layer.apublish(group, "still here")
            assert await inbox.take() == "still here"
            await layer.close()

        asyncio.run(vanish())
        layer.publish(group, "to a loop that is gone")
        asyncio.run(stay())


class Inbox:
    """A subscriber that keeps what it gets."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._messages: asyncio.Queue[Delivered] = asyncio.Queue()

    def __call__(self, message: Delivered) -> None:
        self._messages.put_nowait(message)

    @property
    def empty(self) -> bool:
        return self._messages.empty()

    async def take(self) -> Delivered:
        async with asyncio.timeout(self._deadline_s):
            return await self._messages.get()

    async def take_many(self, count: int) -> list[Delivered]:
        return [await self.take() for _ in range(count)]


class Neighbour:
    """A subscriber on an event loop of another thread."""

    def __init__(self, layer: BaseLayer, group: str, deadline_s: float) -> None:
        self._layer = layer
        self._group = group
        self._deadline_s = deadline_s
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(self._deadline_s)

    def take(self) -> Delivered:
        return asyncio.run_coroutine_threadsafe(self._inbox.take(), self._loop).result(self._deadline_s)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(self._deadline_s)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._inbox = Inbox(self._deadline_s)
        await self._layer.subscribe(self._group, self._inbox)
        self._ready.set()
        await self._end.wait()
        await self._layer.unsubscribe(self._group)


def new_name() -> str:
    """A group that nobody else has."""
    return f"conformance.{uuid.uuid4().hex}"
