"""The process: it listens, passes messages on in the order in which they come, and ends when nobody is left.

::

    publishers ── T, B, M ──> Peer ──────────────> the peers that subscribed to the group ── T, B, M ──> their processes
               K ───────────> Keeper ── M ──┘

A process that does not read has its own bound. Whoever publishes to it then waits, in the kernel, and after a while
the one that does not read is cut off: it connects again, and tells its members of a gap.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fullduplex.sequencer.credentials import peer_of
from fullduplex.sequencer.frames import (
    BINARY,
    DONE,
    END,
    KEEP,
    KEPT,
    NOTICE,
    READ,
    SUBSCRIBE,
    TEXT,
    UNSUBSCRIBE,
    encode,
    encode_number,
    number_of,
)
from fullduplex.sequencer.keeper import Keeper
from fullduplex.sequencer.peer import Peer, Read

PENDING_BYTES = 4_194_304  # for one process; who publishes beyond that waits
STALLED_S = 4.0  # it has taken nothing for so long, and others wait for it; below the 5 s for which publishers wait
CATCH_UP_READS_COUNT = 4  # of 64 KiB: what the kernel keeps of one sender. net.core.wmem_default: 208 KiB
LINGER_S = 0.3  # without a connection, before it ends; another one starts in a tenth of a second
TICK_S = 0.25
WATCH_S = 2.0  # between two looks at the files
FRESH_S = 600.0  # between two marks that they are in use; systemd-tmpfiles removes what is 10 days old


class Sequencer:
    """Serves until nobody is left.

    Args:
        listener: in ``directory``, bound and listening.
        directory: where it is, with a lock that this process holds.
    """

    def __init__(self, listener: socket.socket, directory: Path) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._files = {path: os.lstat(path).st_ino for path in (directory / "lock", directory / "socket")}
        self._keeper = Keeper(directory / "history")
        self._members: dict[bytes, dict[Peer, None]] = {}
        self._peers: dict[Peer, None] = {}
        self._written: set[Peer] = set()  # to be flushed in this turn
        self._subscribing: dict[Peer, None] = {}  # their next frame is a subscription
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, lambda events: self._accept())
        self._accepts = True
        self._linger_s = LINGER_S
        self._alone_since_s: float | None = time.monotonic()
        self._looked_s = self._freshened_s = time.monotonic()
        self._is_over = False

    def run(self) -> None:
        self._keeper.load()
        next_tick_s = 0.0
        while not self._is_over:
            for key, events in self._selector.select(TICK_S):
                key.data(events)
                self._go_on()
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                self._tick(now_s)
                self._go_on()

    def tidy(self) -> None:
        """Close publishers before members: whom a member finds next has all that is published after its gap.

        Then remove the files, and leave what is kept to the next one. Whoever is just connecting is turned away, and
        finds or starts that."""
        is_ours = self._save()
        for peer in sorted(self._peers, key=lambda peer: peer.listens):
            peer.sock.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            if is_ours:
                for path in reversed(self._files):  # the lock last
                    os.unlink(path)

    def hasten(self) -> None:
        """End as soon as nobody is left, without waiting for others."""
        self._linger_s = 0.0

    # Peers -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptors: again with the next tick, and those who wait stay in the queue
                self._selector.unregister(self._listener)
                self._accepts = False
                return
            sock.setblocking(False)
            pid, uid = peer_of(sock)
            if uid not in (None, os.geteuid()):
                self._tell("A process of another user has connected to the local layer; it is turned away")
                sock.close()
                continue
            peer = Peer(sock, pid)
            self._peers[peer] = None
            self._alone_since_s = None
            self._selector.register(sock, selectors.EVENT_READ, self._worker_for(peer))

    def _worker_for(self, peer: Peer) -> Callable[[int], None]:
        def work(events: int) -> None:
            if peer not in self._peers:  # dropped in this turn
                return
            if events & selectors.EVENT_WRITE:
                self._written.add(peer)
            if events & selectors.EVENT_READ:
                self._hear(peer, peer.read())

        return work

    def _go_on(self) -> None:
        """What is left to do when somebody has been heard."""
        while self._subscribing or self._written:
            self._flush()
            subscribing, self._subscribing = self._subscribing, {}
            if subscribing:
                self._catch_up()
            for peer in subscribing:
                if peer in self._peers:
                    self._listen_to(peer, may_subscribe=True)

    def _catch_up(self) -> None:
        """Pass on what was published before somebody subscribed, so that he does not get it: it is in the kernel."""
        if self._accepts:
            self._accept()
        for peer in [*self._peers]:
            for _ in range(CATCH_UP_READS_COUNT):
                if peer.listens or peer.waits_for or peer in self._subscribing or peer not in self._peers:
                    break
                outcome = peer.read()
                if outcome is Read.NOTHING:
                    break
                self._hear(peer, outcome)

    def _hear(self, peer: Peer, outcome: Read) -> None:
        self._listen_to(peer)
        if outcome is Read.END:
            self._drop(peer)
        elif peer.waits_for:
            self._watch(peer)

    def _listen_to(self, peer: Peer, *, may_subscribe: bool = False) -> None:
        """Do what it says, until it must wait for somebody."""
        try:
            while not peer.waits_for:
                frame = peer.next()
                if frame is None:
                    return
                if frame.kind in (TEXT, BINARY, KEPT):
                    self._pass_on(peer, frame.group, frame.whole)
                elif frame.kind == KEEP:
                    whole, place = self._keeper.keep(frame)
                    if whole is not None:
                        self._pass_on(peer, frame.group, whole)
                    self._put(peer, peer, place)
                elif frame.kind == READ:
                    self._put(peer, peer, self._keeper.read(frame))
                elif frame.kind == SUBSCRIBE and not may_subscribe:
                    peer.put_back()
                    peer.listens = True
                    self._subscribing[peer] = None
                    return
                elif frame.kind == SUBSCRIBE:
                    number = number_of(frame.payload)
                    peer.groups.add(frame.group)
                    self._members.setdefault(frame.group, {})[peer] = None
                    self._put(peer, peer, encode_number(DONE, frame.group, number))
                elif frame.kind == UNSUBSCRIBE:
                    peer.groups.discard(frame.group)
                    self._forget(peer, frame.group)
                elif frame.kind == END:
                    self._let_go(peer)
                    self._put(peer, peer, encode_number(DONE, b"", number_of(frame.payload)))
        except ValueError as error:
            self._tell(f"Process {peer.pid} speaks something else to the local layer ({error}); it is cut off")
            self._drop(peer)

    def _let_go(self, peer: Peer) -> None:
        """Whoever says that he ends, waits for the answer: when nobody else listens, everything is saved by then, and
        who ends the service may kill what is left of it."""
        peer.listens = False
        if not any(other.listens for other in self._peers):
            self._save()

    def _pass_on(self, publisher: Peer, group: bytes, frame: bytes) -> None:
        for member in self._members.get(group, ()):
            self._put(publisher, member, frame)

    def _put(self, source: Peer, target: Peer, frame: bytes) -> None:
        target.put(frame)
        self._written.add(target)
        if target.pending_bytes > PENDING_BYTES:
            target.holds_back.add(source)
            source.waits_for.add(target)

    def _flush(self) -> None:
        """Send what is there to be sent, and listen again to those who need not wait any longer."""
        while self._written:
            peer = self._written.pop()
            if peer not in self._peers:
                continue
            if not peer.flush():
                self._drop(peer)
            elif peer.holds_back and peer.pending_bytes <= PENDING_BYTES // 2:
                self._release(peer)
            self._watch(peer)

    def _release(self, peer: Peer) -> None:
        waiting, peer.holds_back = peer.holds_back, set()
        for other in waiting:
            other.waits_for.discard(peer)
            if other in self._peers and not other.waits_for:
                self._listen_to(other)  # what had come before it had to wait
                self._watch(other)

    def _watch(self, peer: Peer) -> None:
        """Have the selector look for what can be done with it now."""
        if peer not in self._peers:
            return
        events = (0 if peer.waits_for else selectors.EVENT_READ) | (selectors.EVENT_WRITE if peer.pending_bytes else 0)
        try:
            key = self._selector.get_key(peer.sock)
        except KeyError:
            if events:
                self._selector.register(peer.sock, events, self._worker_for(peer))
            return
        if not events:
            self._selector.unregister(peer.sock)
        elif events != key.events:
            self._selector.modify(peer.sock, events, key.data)

    def _drop(self, peer: Peer) -> None:
        if peer not in self._peers:
            return
        del self._peers[peer]
        with contextlib.suppress(KeyError):
            self._selector.unregister(peer.sock)
        peer.sock.close()
        for group in peer.groups:
            self._forget(peer, group)
        for other in peer.waits_for:
            other.holds_back.discard(peer)
        self._release(peer)
        if not self._peers:
            self._alone_since_s = time.monotonic()

    def _forget(self, peer: Peer, group: bytes) -> None:
        members = self._members.get(group)
        if members is not None:
            members.pop(peer, None)
            if not members:
                del self._members[group]

    def _tell(self, text: str) -> None:
        """Have a line in the log of one of the processes."""
        for peer in self._peers:
            if peer.groups and peer.pending_bytes < PENDING_BYTES:
                peer.put(encode(NOTICE, b"", text.encode()))
                self._written.add(peer)
                return

    # Time ------------------------------------------------------------------------------------

    def _tick(self, now_s: float) -> None:
        if not self._accepts:
            self._accepts = True
            self._selector.register(self._listener, selectors.EVENT_READ, lambda events: self._accept())
        for peer in [*self._peers]:
            if peer.pending_bytes:
                if peer.holds_back and now_s - peer.moved_s > STALLED_S:
                    self._drop(peer)
                    self._tell(
                        f"Process {peer.pid} has read nothing of the local layer for {STALLED_S:g} s while others wait "
                        "for it; it is cut off, and its members are told of a gap"
                    )
                else:
                    self._written.add(peer)  # it may have taken a little, which no event tells
        if now_s - self._looked_s > WATCH_S:
            self._looked_s = now_s
            self._keeper.sweep()
            self._look_at_files(now_s)
        if self._alone_since_s is not None and now_s - self._alone_since_s > self._linger_s:
            self._is_over = True

    def _look_at_files(self, now_s: float) -> None:
        """Somebody who has removed them lets another sequencer begin, beside this one: then all go over to that."""
        try:
            if not self._has_files():
                raise FileNotFoundError("these are others")
            if now_s - self._freshened_s > FRESH_S:
                self._freshened_s = now_s
                for path in self._files:
                    os.utime(path)
        except OSError:
            self._tell("The files of the local layer were removed; its sequencer begins anew")
            self._flush()
            self._is_over = True

    def _save(self) -> bool:
        """Leave what is kept to the next one, unless that has begun already, with files of its own; whether not."""
        is_ours = self._has_files()
        if is_ours:
            self._keeper.save()
        return is_ours

    def _has_files(self) -> bool:
        try:
            return all(os.lstat(path).st_ino == inode for path, inode in self._files.items())
        except OSError:
            return False


def main(listener_fd: int, directory: str, removes: bool) -> None:
    """Be the sequencer, as an orphan: nobody must wait for its end.

    The lock is its standard input, since the lowest descriptor is given up last when it is killed. As long as a
    publisher still has a connection to this one, and could lose a message on it, no other begins, and no member is told
    of the gap. (Linux defers the ends of the files of a process, and then takes the last one first.)

    Args:
        removes: the directory, at the end, if nobody has anything in it.
    """
    if os.fork():
        os._exit(0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.chdir("/")
    sequencer = Sequencer(socket.socket(fileno=listener_fd), Path(directory))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # systemd tells all processes of a service at once: the others still need this one.
    signal.signal(signal.SIGTERM, lambda *_: sequencer.hasten())
    sequencer.run()
    sequencer.tidy()
    if removes:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    sys.exit(0)
