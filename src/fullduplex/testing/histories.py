"""What every layer with ``supports_history`` must do beside the rest, as tests that any such layer can be run through.

With pytest, in a module of your own::

    from fullduplex.testing.histories import HistoryConformance

    class TestMyHistory(HistoryConformance):
        def make_layer(self):
            return MyLayer(hosts=["redis://localhost"])
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest import SkipTest

from fullduplex.layers.base import BaseLayer, Delivered
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.testing.layers import MESSAGES, Inbox, Neighbour, Processes, new_name

KEEP = Keep(count=10_000, age_s=3_600, max_bytes=16_777_216)


class HistoryConformance(Processes):
    """Subclass it, and say how the layer is made.

    Attributes:
        short_age_s: the shortest time for which messages can be kept, long enough to read one meanwhile.
        ordered_count: messages of each publisher in the tests of order.
    """

    short_age_s = 0.5
    ordered_count = 200

    async def end_epoch(self) -> None:
        """Have what is behind the layer lose what it keeps, as a restart does; skipped where that takes too much."""
        raise SkipTest("the layer does not say how its epoch ends")

    # Messages and positions ------------------------------------------------------------------

    def test_messages_are_kept_as_they_were_sent_and_arrive_with_their_positions(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            start = await _position(here, group)
            wanted = []
            for number, message in enumerate(MESSAGES, 1):
                position = await there.aappend(group, message, KEEP)
                assert position == Position(start.offset + number, start.epoch)
                wanted.append(Kept(message, position))
                assert _types([await inbox.take()]) == _types(wanted[-1:])
            missed = await _read_all(here, group, start)
            assert _types(missed) == _types(wanted)

        self._run(scenario)

    def test_code_without_a_loop(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            start = (await asyncio.to_thread(there.read, group, KEEP, after=None)).position
            position = await asyncio.to_thread(there.append, group, "from a thread", KEEP, key="k")
            kept = Kept("from a thread", position, "k")
            assert await inbox.take() == kept
            for layer in (here, there):
                assert (await asyncio.to_thread(layer.read, group, KEEP, after=start)) == ([kept], position, True, True)

        self._run(scenario)

    def test_without_a_position_there_is_the_position_now(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            start = await _position(here, group)
            assert start.offset == 0
            assert await _position(there, group) == start
            position = await here.aappend(group, "a", KEEP)
            assert await there.aread(group, KEEP, after=None) == ([], position, True, True)

        self._run(scenario)

    def test_who_was_there_before_the_first_message_missed_it(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            start = await _position(here, group)
            position = await there.aappend(group, "a", KEEP)
            assert await here.aread(group, KEEP, after=start) == ([Kept("a", position)], position, True, True)
            assert await here.aread(group, KEEP, after=position) == ([], position, True, True)

        self._run(scenario)

    def test_groups_count_for_themselves(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            for group in (new_name(), new_name()):
                offsets = [(await here.aappend(group, "x", KEEP)).offset for _ in range(3)]
                assert offsets == [1, 2, 3]

        self._run(scenario)

    def test_what_is_only_published_is_not_kept(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            position = await there.aappend(group, "kept", KEEP)
            await there.apublish(group, "not kept")
            assert await inbox.take() == Kept("kept", position)
            assert await inbox.take() == "not kept"
            assert await _position(here, group) == position

        self._run(scenario)

    def test_what_another_store_keeps_arrives_with_its_position(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            text, binary = Kept("text", Position(7, "of-another"), "k"), Kept(b"\x00\xff", Position(8, "of-another"))
            await there.apublish_kept(group, text)
            await asyncio.to_thread(there.publish_kept, group, binary)
            assert [await inbox.take(), await inbox.take()] == [text, binary]
            assert (await _position(here, group)).offset == 0

        self._run(scenario)

    # Order -----------------------------------------------------------------------------------

    def test_one_order_for_all_however_many_publish(self) -> None:
        """Tasks and threads of both processes at once: subscribers here and there, and those who read, see one order,
        in which each publisher has his own."""

        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            far = Neighbour(there, group, self.deadline_s)
            start = await _position(here, group)
            await here.subscribe(group, inbox)
            try:
                await asyncio.to_thread(far.start)
                await asyncio.gather(
                    self._publish(here, group, "a"),
                    self._publish(there, group, "b"),
                    self._publish(there, group, "c"),
                    asyncio.to_thread(self._publish_in_thread, here, group, "d"),
                    asyncio.to_thread(self._publish_in_thread, there, group, "e"),
                )
                count = 5 * self.ordered_count
                received = await inbox.take_many(count)
                assert [await asyncio.to_thread(far.take) for _ in range(count)] == received
            finally:
                await asyncio.to_thread(far.stop)
            assert await _read_all(here, group, start) == received
            assert [_kept(message).position.offset for message in received] == [*range(1, count + 1)]
            for who in "abcde":
                mine = [str(_kept(message).data) for message in received if str(_kept(message).data)[0] == who]
                assert mine == [f"{who}{number}" for number in range(self.ordered_count)]

        self._run(scenario)

    def test_who_subscribes_and_then_reads_has_everything(self) -> None:
        """While others publish: what the subscription does not bring, the history has, without a hole between."""

        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            start = await _position(here, group)
            publishing = asyncio.create_task(self._publish(there, group, "a"))
            async with asyncio.timeout(self.deadline_s):
                after = start
                while after.offset < self.ordered_count // 4:
                    after = await _position(here, group)
            inbox = Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            read = await _read_all(here, group, start)
            await publishing
            live: list[Kept] = []
            while not live or live[-1].position.offset < self.ordered_count:
                live.append(_kept(await inbox.take()))
            assert live[0].position.offset <= read[-1].position.offset + 1
            both = read + [message for message in live if message.position.offset > read[-1].position.offset]
            assert [message.data for message in both] == [f"a{number}" for number in range(self.ordered_count)]

        self._run(scenario)

    # Keys ------------------------------------------------------------------------------------

    def test_a_message_is_kept_once_for_its_key(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, inbox = new_name(), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            key = "~" * 128
            first = await here.aappend(group, "a", KEEP, key=key)
            assert await there.aappend(group, "a", KEEP, key=key) == first
            assert await asyncio.to_thread(there.append, group, "a", KEEP, key=key) == first
            second = await there.aappend(group, "b", KEEP, key="other")
            assert [await inbox.take(), await inbox.take()] == [Kept("a", first, key), Kept("b", second, "other")]
            elsewhere = await there.aappend(new_name(), "a", KEEP, key=key)
            assert elsewhere.offset == 1

        self._run(scenario)

    def test_many_at_once_with_one_key(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            start = await _position(here, group)
            positions = await asyncio.gather(
                *(layer.aappend(group, "x", KEEP, key="k") for layer in (here, there) for _ in range(10)),
                *(asyncio.to_thread(layer.append, group, "x", KEEP, key="k") for layer in (here, there) for _ in "ab"),
            )
            assert len(set(positions)) == 1
            assert await _read_all(there, group, start) == [Kept("x", positions[0], "k")]

        self._run(scenario)

    def test_a_key_is_forgotten_with_its_message(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, keep = new_name(), replace(KEEP, count=2)
            offsets = [(await here.aappend(group, key, keep, key=key)).offset for key in ("a", "b", "a", "c", "a")]
            assert offsets == [1, 2, 1, 3, 4]

        self._run(scenario)

    # Windows ---------------------------------------------------------------------------------

    def test_the_oldest_is_dropped_above_the_count(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            await self._check_window(here, there, replace(KEEP, count=3), 3)

        self._run(scenario)

    def test_the_oldest_is_dropped_above_the_bytes(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            await self._check_window(here, there, replace(KEEP, max_bytes=3 * 1_000), 3)

        self._run(scenario)

    def test_a_message_is_not_answered_when_it_is_too_old_and_the_count_goes_on(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, keep = new_name(), replace(KEEP, age_s=self.short_age_s)
            start = await _position(here, group, keep)
            position = await here.aappend(group, "a", keep)
            async with asyncio.timeout(self.deadline_s):
                while (missed := await there.aread(group, keep, after=start)).messages:
                    assert missed.recovered
                    await asyncio.sleep(self.short_age_s / 10)
            assert missed == ([], position, False, True)
            assert await there.aread(group, keep, after=position) == ([], position, True, True)
            following = await there.aappend(group, "b", keep)
            assert following == Position(2, position.epoch)

        self._run(scenario)

    def test_a_message_that_is_too_long_for_the_window_is_an_honest_gap(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, keep, inbox = new_name(), replace(KEEP, max_bytes=100), Inbox(self.deadline_s)
            await here.subscribe(group, inbox)
            first = await here.aappend(group, "a", keep)
            position = await there.aappend(group, "x" * 1_000, keep)
            assert [_kept(await inbox.take()).position for _ in "ab"] == [first, position]
            missed = await here.aread(group, keep, after=first)
            assert (missed.messages, missed.position, missed.recovered) == ([], position, False)
            following = await here.aappend(group, "b", keep)
            assert await here.aread(group, keep, after=position) == ([Kept("b", following)], following, True, True)

        self._run(scenario)

    # Reading ---------------------------------------------------------------------------------

    def test_reading_in_pieces(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            start = await _position(here, group)
            kept = []
            for number in range(20):
                data = f"{number}".ljust(100)
                kept.append(Kept(data, await here.aappend(group, data, KEEP)))
            for bounds in ({"max_count": 3}, {"max_bytes": 300}, {"max_bytes": 1}):
                read: list[Kept] = []
                after, sizes = start, []
                while True:
                    missed = await there.aread(group, KEEP, after=after, **bounds)
                    assert missed.recovered
                    assert missed.position == kept[-1].position
                    read += missed.messages
                    sizes.append(len(missed.messages))
                    after = read[-1].position
                    if missed.complete:
                        break
                assert read == kept
                assert max(sizes) <= (3 if bounds != {"max_bytes": 1} else 1)

        self._run(scenario)

    def test_positions_that_cannot_be_gone_on_from(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group = new_name()
            position = await here.aappend(group, "a", KEEP)
            kept = [Kept("a", position)]
            for after in (Position(1, "of-nobody"), Position(0, "of-nobody"), Position(2, position.epoch)):
                missed = await there.aread(group, KEEP, after=after)
                assert (list(missed.messages), missed.position, missed.recovered) == (kept, position, False)

        self._run(scenario)

    def test_another_process_goes_on_with_the_count(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            if here is there:
                return
            group = new_name()
            first = await here.aappend(group, "a", KEEP)
            other = self.make_layer()
            try:
                assert await _position(other, group) == first
                second = await other.aappend(group, "b", KEEP)
            finally:
                await other.close()
            assert await there.aread(group, KEEP, after=first) == ([Kept("b", second)], second, True, True)

        self._run(scenario)

    # Epochs ----------------------------------------------------------------------------------

    def test_what_has_lost_messages_begins_another_epoch(self) -> None:
        async def scenario(here: BaseLayer, there: BaseLayer) -> None:
            group, quiet = new_name(), new_name()
            positions = {name: await here.aappend(name, "a", KEEP) for name in (group, quiet)}
            await self.end_epoch()
            following = await there.aappend(group, "b", KEEP)
            assert following.epoch != positions[group].epoch
            for name in (group, quiet):
                missed = await here.aread(name, KEEP, after=positions[name])
                assert not missed.recovered
                assert missed.position.epoch != positions[name].epoch
            assert (await here.aread(group, KEEP, after=positions[group])).messages == [Kept("b", following)]

        self._run(scenario)

    # Inside ----------------------------------------------------------------------------------

    async def _publish(self, layer: BaseLayer, group: str, who: str) -> None:
        for number in range(self.ordered_count):
            await layer.aappend(group, f"{who}{number}", KEEP)

    def _publish_in_thread(self, layer: BaseLayer, group: str, who: str) -> None:
        for number in range(self.ordered_count):
            layer.append(group, f"{who}{number}", KEEP)

    async def _check_window(self, here: BaseLayer, there: BaseLayer, keep: Keep, left_count: int) -> None:
        """``left_count`` messages of 1,000 bytes stay."""
        group = new_name()
        start = await _position(here, group, keep)
        kept = []
        for number in range(left_count + 2):
            data = f"{number}".ljust(1_000)
            kept.append(Kept(data, await here.aappend(group, data, keep)))
        left = kept[-left_count:]
        for after in (start, kept[0].position):
            assert await there.aread(group, keep, after=after) == (left, kept[-1].position, False, True)
        for index in range(1, len(kept)):
            after = kept[index].position
            assert await there.aread(group, keep, after=after) == (kept[index + 1 :], kept[-1].position, True, True)


def _kept(message: Delivered) -> Kept:
    assert isinstance(message, Kept), message
    return message


def _types(messages: list[Kept] | list[Delivered]) -> list[tuple[type, Delivered]]:
    """For comparing with the kind of data: text and binary that look alike are not the same."""
    return [(type(_kept(message).data), message) for message in messages]


async def _position(layer: BaseLayer, group: str, keep: Keep = KEEP) -> Position:
    return (await layer.aread(group, keep, after=None)).position


async def _read_all(layer: BaseLayer, group: str, after: Position) -> list[Kept]:
    read: list[Kept] = []
    while True:
        missed: Missed = await layer.aread(group, KEEP, after=after)
        assert missed.recovered
        read += missed.messages
        if missed.complete:
            return read
        after = read[-1].position
