"""The local layer: the public suite, who may come in, bounds, and what becomes of it when its sequencer dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullduplex.exceptions import ChannelFull, ConfigurationError, LayerError, LayerUnavailable
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.local import LocalLayer, starting
from fullduplex.layers.local import place as place_module
from fullduplex.layers.local.place import Place, release
from fullduplex.sequencer.frames import MAX_PAYLOAD_BYTES, SUBSCRIBE, encode_number
from fullduplex.sequencer.process import PENDING_BYTES
from fullduplex.testing.layers import Inbox, LayerConformance

DEADLINE_S = 30.0  # only ever reached by a failure


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        yield path


class TestLocalLayer(LayerConformance):
    @pytest.fixture(autouse=True)
    def meeting(self, directory: str) -> None:
        self.directory = directory

    def make_layer(self) -> BaseLayer:
        return LocalLayer(directory=self.directory)


# One process between the others ------------------------------------------------------------------


def test_a_publisher_that_comes_and_goes_reaches_the_members(directory: str) -> None:
    async def scenario() -> None:
        member, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await member.subscribe("a", inbox)
        for number in range(3):
            shell = LocalLayer(directory=directory)
            await asyncio.to_thread(shell.publish, "a", str(number))
            shell._sender.close()
        assert await inbox.take_many(3) == ["0", "1", "2"]
        await member.close()

    asyncio.run(scenario())


def test_who_publishes_starts_nothing(directory: str) -> None:
    """It ran in the session of a shell, and ended with that."""
    place = Place(directory)
    layer = LocalLayer(directory=directory)
    layer.publish("a", "to nobody")
    assert not [*place.path.iterdir()]
    place.listen().close()  # of one that was killed, and nobody has come back
    layer.publish("a", "to nobody")
    assert [path.name for path in place.path.iterdir()] == ["lock"]


def test_many_who_begin_at_once_meet_in_one_sequencer(directory: str) -> None:
    async def scenario() -> None:
        layers = [LocalLayer(directory=directory) for _ in range(20)]
        inboxes = [Inbox(DEADLINE_S) for _ in layers]
        await asyncio.gather(*(layer.subscribe("a", inbox) for layer, inbox in zip(layers, inboxes, strict=True)))
        await layers[0].apublish("a", "to all")
        assert [await inbox.take() for inbox in inboxes] == ["to all"] * 20
        assert len({pid_of_sequencer(directory) for _ in range(3)}) == 1
        for layer in layers:
            await layer.close()

    asyncio.run(scenario())


def test_it_ends_when_nobody_is_left(directory: str) -> None:
    async def scenario() -> int:
        layer = LocalLayer(directory=directory)
        await layer.open()
        pid = pid_of_sequencer(directory)
        await layer.close()
        return pid

    wait_for_end_of(asyncio.run(scenario()))
    assert not (Path(directory) / "socket").exists()


def test_a_service_that_stops_ends_it_with_its_last_worker(directory: str) -> None:
    """systemd signals all processes of a service at once."""

    async def scenario() -> int:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        pid = pid_of_sequencer(directory)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, number)
            await layer.apublish("a", "still here")
            assert await inbox.take() == "still here"
        await layer.close()
        return pid

    wait_for_end_of(asyncio.run(scenario()))


def test_when_it_is_killed_another_begins_and_members_are_told_of_a_gap(directory: str) -> None:
    async def scenario() -> None:
        first, second = LocalLayer(directory=directory), LocalLayer(directory=directory)
        inboxes, gaps = [Inbox(DEADLINE_S), Inbox(DEADLINE_S)], [asyncio.Event(), asyncio.Event()]
        for layer, inbox, gap in zip((first, second), inboxes, gaps, strict=True):
            await layer.subscribe("a", inbox, gap.set)
        await first.apublish("a", "before")
        assert [await inbox.take() for inbox in inboxes] == ["before"] * 2
        assert not any(gap.is_set() for gap in gaps)
        os.kill(pid_of_sequencer(directory), signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            for gap in gaps:
                await gap.wait()
        await asyncio.to_thread(second.publish, "a", "after")
        await first.apublish("a", "and more")
        assert [await inbox.take() for inbox in inboxes] == ["after"] * 2
        assert [await inbox.take() for inbox in inboxes] == ["and more"] * 2
        await first.close()
        await second.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_no_other_begins_before_its_last_connection_has_ended(directory: str) -> None:
    """A member was told of the gap by the next one, and missed what a publisher sent to the dying one after that."""

    async def scenario() -> list[int]:
        layer, place = LocalLayer(directory=directory), Place(directory)
        await layer.open()
        socks = [place.connect() for _ in range(300)]
        pid = pid_of_sequencer(directory)
        await layer.close()
        os.kill(pid, signal.SIGKILL)
        lock = None
        while lock is None:
            lock = place.lock()
        alive = [sock.fileno() for sock in socks if sock is not None and still_takes(sock)]
        release(lock)
        for sock in socks:
            assert sock is not None
            sock.close()
        return alive

    assert [asyncio.run(scenario()) for _ in range(30)] == [[]] * 30


@pytest.mark.slow
def test_where_its_files_are_removed_all_go_over_to_one_that_can_be_found(directory: str, monkeypatch) -> None:
    """Else those who come later would meet in a second one, and neither half would know of the other."""

    async def scenario() -> None:
        layer, inbox, gap = LocalLayer(directory=directory), Inbox(DEADLINE_S), asyncio.Event()
        await layer.subscribe("a", inbox, gap.set)
        pid = pid_of_sequencer(directory)
        shutil.rmtree(directory)
        async with asyncio.timeout(DEADLINE_S):
            await gap.wait()
        assert pid_of_sequencer(directory) != pid
        other = LocalLayer(directory=directory)
        await other.apublish("a", "found")
        assert await inbox.take() == "found"
        await other.close()
        await layer.close()

    asyncio.run(scenario())


def test_a_sequencer_that_cannot_begin_is_an_error_in_time(directory: str, monkeypatch) -> None:
    monkeypatch.setattr(starting, "_PACKAGES", "/nowhere")

    async def scenario() -> None:
        layer = LocalLayer(directory=directory, publish_timeout_s=1.0, subscribe_timeout_s=5.0)
        with pytest.raises(LayerUnavailable, match="ended with status 1 as it started"):
            await layer.subscribe("a", Inbox(1.0))
        await layer.apublish("a", "to nobody")
        await layer.close()

    asyncio.run(scenario())


# Python warns of every fork beside threads, from 3.15 on also of those of the test runner; this is about such forks.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_connections_of_its_own(directory: str) -> None:
    """And keeps none of its parent's, nor its locks: nobody else could begin as long as it lives."""

    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.mark_served()
        await layer.subscribe("a", inbox)
        await layer.apublish("a", "parent")
        child = await asyncio.to_thread(forked, lambda: layer.publish("a", "child"))
        assert await inbox.take_many(2) == ["parent", "child"]
        assert child == 0
        await layer.close()

    asyncio.run(scenario())


# Bounds ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_who_reads_nothing_holds_publishers_back_and_is_cut_off(directory: str, caplog) -> None:
    """For 4 seconds; publishers wait for 5. The member beside it gets everything, in order."""

    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        deaf = Place(directory).connect()
        assert deaf is not None
        deaf.sendall(encode_number(SUBSCRIBE, b"a", 1))
        while not await asyncio.to_thread(readable, deaf):
            pass
        count = 2 * PENDING_BYTES // 100_000
        for number in range(count):
            await layer.apublish("a", f"{number} {'x' * 100_000}")
        received = await inbox.take_many(count)
        assert [int(str(message).partition(" ")[0]) for message in received] == [*range(count)]
        deaf.close()
        await layer.close()

    asyncio.run(scenario())
    assert "has read nothing of the local layer for 4 s while others wait for it" in caplog.text


def test_a_publisher_waits_no_longer_than_its_deadline(directory: str) -> None:
    async def scenario() -> None:
        layer = LocalLayer(directory=directory, publish_timeout_s=0.3, subscribe_timeout_s=DEADLINE_S)
        await layer.open()
        pid = pid_of_sequencer(directory)
        await layer.apublish("a", "opens the connection")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ChannelFull, match=r"has not taken a message in 0\.3 s"):
                await asyncio.to_thread(publish_often, layer, 100, "x" * 100_000)
            with pytest.raises(ChannelFull):
                await layer.apublish("a", "small")
        finally:
            os.kill(pid, signal.SIGCONT)
        inbox = Inbox(DEADLINE_S)
        await layer.subscribe("b", inbox)
        layer._sender._timeout_s = DEADLINE_S
        await layer.apublish("b", "goes on")
        assert await inbox.take() == "goes on"
        await layer.close()

    asyncio.run(scenario())


def test_a_subscriber_waits_no_longer_than_its_deadline(directory: str) -> None:
    async def scenario() -> None:
        layer = LocalLayer(directory=directory, subscribe_timeout_s=DEADLINE_S)
        await layer.open()
        layer._line()._timeout_s = 0.3
        pid = pid_of_sequencer(directory)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LayerUnavailable, match=r"has not answered in 0\.3 s"):
                await layer.subscribe("a", Inbox(1.0))
        finally:
            os.kill(pid, signal.SIGCONT)
        await layer.close()

    asyncio.run(scenario())


def test_publishers_that_are_cancelled_disturb_nobody(directory: str) -> None:
    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory, publish_timeout_s=DEADLINE_S), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        await layer.apublish("a", "0 opens the connection")
        pid = pid_of_sequencer(directory)
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(layer.apublish("a", f"{n} {'x' * 50_000}")) for n in range(1, 20)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        await asyncio.wait(waiting[::2])
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(*waiting, return_exceptions=True)
        await layer.apublish("a", "20 the last")
        numbers = []
        while not numbers or numbers[-1] != 20:
            numbers.append(int(str(await inbox.take()).partition(" ")[0]))
        assert numbers == sorted(numbers)
        assert {*range(2, 20, 2)} <= {*numbers}
        await layer.close()

    asyncio.run(scenario())


def test_what_is_too_long_is_refused_at_the_publisher(directory: str) -> None:
    with pytest.raises(LayerError, match="at most 16777216 bytes"):
        LocalLayer(directory=directory).publish("a", b"x" * (MAX_PAYLOAD_BYTES + 1))


def test_what_is_no_frame_is_dropped(directory: str, caplog) -> None:
    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        stranger = Place(directory).connect()
        assert stranger is not None
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.to_thread(readable, stranger) == b""
        stranger.close()
        await layer.apublish("a", "after it")
        assert await inbox.take() == "after it"
        await layer.close()

    asyncio.run(scenario())
    assert "speaks something else" in caplog.text


# Who may come in ---------------------------------------------------------------------------------


def test_the_directory_is_for_its_owner_alone(directory: str) -> None:
    place = Place(Path(directory) / "made")
    place.make()
    assert os.stat(place.path).st_mode & 0o777 == 0o700
    os.chmod(place.path, 0o750)
    with pytest.raises(ConfigurationError, match="with mode 700"):
        place.make()
    with pytest.raises(ConfigurationError, match="with mode 700"):
        place.is_served()


def test_a_link_in_its_place_is_refused(directory: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory)
    with pytest.raises(ConfigurationError, match="must be a directory of this user"):
        Place(link).make()


def test_a_directory_of_somebody_else_is_refused(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullduplex.layers.local.place.os.geteuid", lambda: 12_345)
    with pytest.raises(ConfigurationError, match="must be a directory of this user"):
        Place(directory).make()


def test_a_listener_of_another_user_is_refused(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "peer_of", lambda sock: (1, 12_345))

    async def scenario() -> None:
        layer = LocalLayer(directory=directory)
        with pytest.raises(LayerUnavailable, match="a process of another user listens there"):
            await layer.subscribe("a", Inbox(1.0))
        with pytest.raises(LayerUnavailable, match="a process of another user listens there"):
            await layer.apublish("a", "secret")
        await layer.close()

    asyncio.run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_process_of_another_user_is_turned_away(directory: str) -> None:
    code = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "sock = socket.fromfd(int(sys.argv[1]), socket.AF_UNIX, socket.SOCK_STREAM)\n"
        "os.fchdir(int(sys.argv[2]))\n"  # a descriptor that got out: its path alone would keep others out
        "sock.connect('socket')\n"
        "sys.exit(0 if sock.recv(1) == b'' else 1)\n"
    )

    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        os.chmod(directory, 0o711)
        os.chmod(Path(directory) / "socket", 0o666)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                fds = (sock.fileno(), os.open(directory, os.O_PATH))
                command = [sys.executable, "-c", code, *map(str, fds)]
                await asyncio.to_thread(subprocess.run, command, pass_fds=fds, check=True, timeout=DEADLINE_S)
                os.close(fds[1])
        finally:
            os.chmod(directory, 0o700)
        await layer.close()

    asyncio.run(scenario())


def test_the_name_depends_on_user_key_and_project(settings, monkeypatch) -> None:
    names = set()
    for key, base, user in (("one", "/srv/a", 1), ("two", "/srv/a", 1), ("one", "/srv/b", 1), ("one", "/srv/a", 2)):
        settings.SECRET_KEY, settings.BASE_DIR = key, base
        monkeypatch.setattr("fullduplex.layers.local.place.os.geteuid", lambda user=user: user)
        names.add(Place().path)
    assert len(names) == 4
    assert not any("srv" in path.name for path in names)


def test_a_path_that_is_too_long_is_told_at_once(directory: str) -> None:
    with pytest.raises(ConfigurationError, match="longer than 100 bytes"):
        LocalLayer(directory=f"{directory}/{'x' * 100}")


# The mark of the workers -------------------------------------------------------------------------


def test_workers_show_that_they_serve(directory: str) -> None:
    place = Place(directory)
    assert not place.is_served()
    marks = [place.mark_served(), Place(directory).mark_served()]
    for mark in marks:
        assert place.is_served()
        release(mark)
    assert not place.is_served()


def test_the_last_one_leaves_nothing_behind(directory: str, settings, monkeypatch) -> None:
    monkeypatch.setattr(place_module, "ABOVE", Path(directory))

    async def scenario() -> int:
        layers = [LocalLayer(), LocalLayer()]
        for layer in layers:
            await layer.mark_served()
            await layer.open()
        path = layers[0].place.path
        pid = pid_of_sequencer(str(path))
        await layers[0].close()
        assert {file.name for file in path.iterdir()} == {"lock", "socket", "workers"}
        await layers[1].close()
        return pid

    for _ in range(2):
        wait_for_end_of(asyncio.run(scenario()))
        assert not [*Path(directory).iterdir()]


def test_those_who_come_and_go_disturb_nobody(directory: str, monkeypatch) -> None:
    """Each of them makes and removes the directory."""
    monkeypatch.setattr(place_module, "ABOVE", Path(directory))

    def come_and_go(failures: list[BaseException]) -> None:
        async def visit() -> None:
            layer, inbox = LocalLayer(subscribe_timeout_s=DEADLINE_S), Inbox(DEADLINE_S)
            await layer.mark_served()
            assert layer.place.is_served()
            await layer.subscribe("a", inbox)
            await layer.apublish("a", "me")
            await inbox.take()
            await layer.close()

        try:
            for _ in range(10):
                asyncio.run(visit())
        except BaseException as error:
            failures.append(error)

    failures: list[BaseException] = []
    visitors = [threading.Thread(target=come_and_go, args=[failures]) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert failures == []


def test_a_mark_that_was_removed_is_made_anew(directory: str) -> None:
    """By those who clean /tmp."""
    place = Place(directory)
    mark = place.mark_served()
    assert place.renew_mark(mark) == mark
    os.unlink(place.path / "workers")
    assert not place.is_served()
    mark = place.renew_mark(mark)
    assert place.is_served()
    shutil.rmtree(place.path)
    mark = place.renew_mark(mark)
    assert place.is_served()
    release(mark)


def test_those_who_look_keep_no_worker_from_starting(directory: str) -> None:
    place, end = Place(directory), threading.Event()
    place.make()

    def look() -> None:
        while not end.is_set():
            place.is_served()

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(20):
            release(place.mark_served())
    finally:
        end.set()
        for thread in looking:
            thread.join()


# Helpers -----------------------------------------------------------------------------------------


def publish_often(layer: LocalLayer, count: int, message: str) -> None:
    for _ in range(count):
        layer.publish("a", message)


def pid_of_sequencer(directory: str) -> int:
    """By its command line: SO_PEERCRED and the lock name whoever has started it."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        for process in (path for path in Path("/proc").iterdir() if path.name.isdigit()):
            command = read_or_nothing(process / "cmdline")
            if b"fullduplex.sequencer" in command and repr(directory).encode() in command:
                return int(process.name)
        time.sleep(0.01)
    raise AssertionError("there is no sequencer")


def still_takes(sock: socket.socket) -> bool:
    try:
        return bool(sock.send(b"x"))
    except OSError:
        return False


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def wait_for_end_of(pid: int) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while read_or_nothing(Path(f"/proc/{pid}/cmdline")):
        assert time.monotonic() < end_s
        time.sleep(0.02)


def readable(sock: socket.socket) -> bytes:
    sock.setblocking(True)
    sock.settimeout(DEADLINE_S)
    return sock.recv(1_000)


def forked(call) -> int:
    """Call it in a fork, and return how that ended."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
