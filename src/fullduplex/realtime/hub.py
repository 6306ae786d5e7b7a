"""Which sockets and consumers of this process are in which group.

The hub subscribes to the layer once for each group, and hands every message on to the outbox of each socket, and to the
channels of consumers, which are one member together where the channel layer stands on a layer of ours.
A group's subscription follows its members: one task at a time makes the two agree (*settling*), so that
joins and leaves may overlap as they like, and one that is cancelled leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from fullduplex.conf import get_settings
from fullduplex.failures import failures
from fullduplex.layers import get_layer
from fullduplex.layers.base import BaseLayer, Delivered, Event
from fullduplex.layers.channels import get_channel_layer
from fullduplex.layers.events import as_message
from fullduplex.layers.history import Kept, Position
from fullduplex.realtime.following import Follower
from fullduplex.realtime.keeping import Keeping, keeping_of
from fullduplex.realtime.outbox import Outbox, totals
from fullduplex.realtime.prepared import Prepared
from fullduplex.realtime.watching import Watch, Watched
from fullduplex.watched import PAUSE_S

logger = logging.getLogger("fullduplex.realtime")

#: Close code after a gap: "Service Restart", from IANA's registry of WebSocket close codes. A client that comes back
#: fetches what it missed.
GAP = 1012


class Channels(Protocol):
    """The channels of consumers on one loop: one member of each of their groups."""

    groups: list[str]

    def deliver(self, prepared: Prepared) -> None: ...

    def take(self, group: str, event: Event) -> None: ...

    def note_gap(self, group: str) -> None: ...


class Subscriber(Protocol):
    """One subscription of a client of an endpoint: a member of one group."""

    groups: list[str]

    def deliver(self, prepared: Prepared) -> None: ...

    def note_gap(self, group: str) -> None: ...


Member = Outbox | Channels | Subscriber


class Hub:
    """The groups of one event loop, and for the thread of that loop only.

    Args:
        get_layer: returns the layer; asked whenever a group gets its first member.
        keeping_of: returns the history of a group, None for one that keeps none; asked at the same time.
    """

    def __init__(
        self,
        get_layer: Callable[[], BaseLayer] = get_layer,
        keeping_of: Callable[[str], Keeping | None] = keeping_of,
    ) -> None:
        self._get_layer = get_layer
        self._keeping_of = keeping_of
        self._rooms: dict[str, _Room] = {}
        self._watch = Watch()

    @property
    def groups(self) -> list[str]:
        """Names of the groups that have members here."""
        return [name for name, room in self._rooms.items() if room.members]

    def member_count(self, group: str) -> int:
        """Members of ``group`` on this loop."""
        room = self._rooms.get(group)
        return len(room.members) if room is not None else 0

    def position(self, group: str) -> Position | None:
        """The place in the history of ``group`` of what its members were handed last, of which each gets what follows;
        None: it keeps none, or has no members here."""
        room = self._rooms.get(group)
        return room.follower.position if room is not None and room.follower is not None else None

    async def join(self, group: str, outbox: Member) -> None:
        """Make ``outbox`` a member: what is published after this has returned arrives. Joining twice is joining once.

        Raises:
            LayerError, ConfigurationError: the layer cannot be reached, or none is configured; it is no member then.
        """
        room = self._rooms.get(group)
        if room is None:
            room = self._rooms[group] = _Room(group)
        if outbox not in room.members:
            room.members[outbox] = None
            room.latest = None
            outbox.groups.append(room.name)
        if room.settled:
            return
        try:
            await self._settle(room)
        except BaseException:
            self._remove(group, outbox)
            if room.settling is None and not room.settled:
                self._start_settling(room)
            raise

    async def leave(self, group: str, outbox: Member) -> None:
        """End a membership, at once; then wait until the layer is told. Without a membership it does nothing."""
        await self._release(self._remove(group, outbox))

    async def leave_all(self, outbox: Member) -> None:
        """End all memberships of ``outbox``, at once; then wait until the layer is told."""
        rooms = [self._remove(group, outbox) for group in tuple(outbox.groups)]
        for room in rooms:  # all at once: who waits may be cancelled
            if room is not None and not room.settled and room.settling is None:
                self._start_settling(room)
        for room in rooms:
            await self._release(room)

    def deliver(self, group: str, message: Delivered) -> None:
        """Hand a message to every member. Called by the layer, on the loop."""
        room = self._rooms.get(group)
        if room is None:
            return
        if room.follower is None and (type(message) is str or type(message) is bytes):  # nearly all
            self._hand_on(room, Prepared(message, group))
        elif isinstance(message, Event):
            self._deliver_event(room, message)
        elif isinstance(message, Kept):
            if room.follower is not None:
                room.follower.take(message)
            else:
                self._hand_on(room, Prepared(message.data, group, message.position))
        elif room.follower is not None and room.layer is not None and not room.layer.supports_history:
            room.follower.look()  # the layer carries no positions: this says that there is something
        else:
            self._hand_on(room, Prepared(message, group))

    def gap(self, group: str) -> None:
        """Messages may be missing: fill them from the history of the group, or tell every member. Called by the layer,
        on the loop, when it works again."""
        room = self._rooms.get(group)
        if room is None:
            return
        if room.follower is not None:
            room.follower.look()
        else:
            self._tell_gap(room)

    # Inside ----------------------------------------------------------------------------------

    def _hand_on(self, room: _Room, prepared: Prepared) -> None:
        for outbox in room.snapshot():
            try:
                outbox.deliver(prepared)
            except Exception as error:
                if failures().admits(logger, "Messages could not be delivered to members", error):
                    logger.exception(
                        "A message to the group %r could not be delivered to one of its members", room.name
                    )

    def _tell_gap(self, room: _Room) -> None:
        group = room.name
        loop = asyncio.get_running_loop()
        settings = get_settings()
        told = Prepared(settings.gap_message, group) if settings.gap_message else None
        for member in room.snapshot():
            if not isinstance(member, Outbox):
                member.note_gap(group)
                continue
            totals.gaps += 1
            if settings.gap_policy == "disconnect":
                loop.call_later(random.uniform(0, settings.gap_spread_s), member.cut, GAP, "messages may be missing")
            elif told is not None:
                member.deliver(told)

    def _deliver_event(self, room: _Room, event: Event) -> None:
        """Hand an event to the consumers as it is, and to the sockets as text."""
        sockets: list[Outbox | Subscriber] = []
        for member in room.snapshot():
            take = getattr(member, "take", None)  # consumers have it
            if take is not None:
                take(room.name, event)
            else:
                sockets.append(member)
        if not sockets:
            return
        try:
            prepared = Prepared(as_message(get_channel_layer().deserialize(event)), room.name)
        except Exception as error:
            if failures().admits(logger, "Events cannot be sent to sockets", error):
                logger.exception("An event to the group %r cannot be sent to its sockets", room.name)
            return
        for socket in sockets:
            socket.deliver(prepared)

    def _remove(self, group: str, outbox: Member) -> _Room | None:
        """Take a member out and return the room that it was in."""
        room = self._rooms.get(group)
        if room is None or outbox not in room.members:
            return None
        outbox.groups.remove(group)
        del room.members[outbox]
        room.latest = None
        self._tidy(room)
        return room

    async def _release(self, room: _Room | None) -> None:
        if room is None or room.settled:
            return
        try:
            await self._settle(room)
        except Exception:
            pass  # of a subscribe: those who joined meanwhile get it, too

    async def _settle(self, room: _Room) -> None:
        """Wait until the subscription agrees with the members; the error of a failed subscribe goes to all who wait."""
        await asyncio.shield(room.settling or self._start_settling(room))

    def _start_settling(self, room: _Room) -> asyncio.Task[None]:
        settling = room.settling = asyncio.get_running_loop().create_task(self._agree(room))
        settling.add_done_callback(partial(self._look_after, room))
        return settling

    def _look_after(self, room: _Room, settling: asyncio.Task[None]) -> None:
        """Who waited for what failed hears of it, and is no member any more; what that leaves is settled once more."""
        if settling.cancelled() or settling.exception() is not None:
            asyncio.get_running_loop().call_later(PAUSE_S, self._settle_again, room)

    def _settle_again(self, room: _Room) -> None:
        if room.settling is None and not room.settled:
            logger.error("The subscription to the group %r does not agree with its members: once more", room.name)
            self._start_settling(room)

    async def _agree(self, room: _Room) -> None:
        try:
            while bool(room.members) != (room.layer is not None):
                if room.members:
                    await self._subscribe(room)
                else:
                    await self._unsubscribe(room)
        finally:
            room.settling = None
            self._tidy(room)

    async def _subscribe(self, room: _Room) -> None:
        try:
            layer = self._get_layer()
            await self._follow(room)
            deliver = partial(self.deliver, room.name)
            if layer.reports_gaps:
                await layer.subscribe(room.name, deliver, partial(self.gap, room.name))
            else:
                await layer.subscribe(room.name, deliver)
        except Exception:
            self._stop_following(room)
            if room.members:
                raise
            return  # whoever asked has gone meanwhile
        room.layer = layer

    async def _follow(self, room: _Room) -> None:
        """Take the position of a group that keeps a history; what is published from then on is handed on."""
        self._stop_following(room)
        keeping = self._keeping_of(room.name)
        if keeping is None:
            return

        def hand_on(message: Kept) -> None:
            self._hand_on(room, Prepared(message.data, room.name, message.position))

        follower = Follower(room.name, keeping, hand_on, partial(self._tell_gap, room))
        await follower.begin()
        room.follower = follower
        if isinstance(keeping.history, Watched):
            self._watch.add(follower, keeping.history)

    def _stop_following(self, room: _Room) -> None:
        if room.follower is not None:
            self._watch.discard(room.follower)
            room.follower.close()
            room.follower = None

    async def _unsubscribe(self, room: _Room) -> None:
        layer, room.layer = room.layer, None
        self._stop_following(room)
        assert layer is not None
        try:
            await layer.unsubscribe(room.name)
        except Exception:
            logger.exception("The layer failed to end the subscription to the group %r", room.name)

    def _tidy(self, room: _Room) -> None:
        if not room.members and room.settled and self._rooms.get(room.name) is room:
            del self._rooms[room.name]


class _Room:
    """The members of one group on this loop.

    Attributes:
        members: in the order of joining (a dict for that order alone).
        follower: of the group's history; None: it keeps none.
        latest: the members as they are, for whoever goes through them while they change; None: to be made.
        layer: where it is subscribed; None while it is not.
        settling: the task that makes ``layer`` agree with ``members``.
    """

    __slots__ = ("follower", "latest", "layer", "members", "name", "settling")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Member, None] = {}
        self.follower: Follower | None = None
        self.latest: tuple[Member, ...] | None = None
        self.layer: BaseLayer | None = None
        self.settling: asyncio.Task[None] | None = None

    def snapshot(self) -> tuple[Member, ...]:
        if self.latest is None:
            self.latest = tuple(self.members)
        return self.latest

    @property
    def settled(self) -> bool:
        return self.settling is None and bool(self.members) == (self.layer is not None)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_hubs_lock = threading.Lock()


def get_hub() -> Hub:
    """Return the hub of the running loop.

    Raises:
        RuntimeError: no event loop is running in this thread.
    """
    loop = asyncio.get_running_loop()
    with _hubs_lock:
        hub = _hubs.get(loop)
        if hub is None:
            hub = _hubs[loop] = Hub()
        return hub
