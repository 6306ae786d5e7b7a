"""Many workers: a supervisor, its workers, and clients that notice nothing."""

from __future__ import annotations

import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.load import Load
from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.proxies import Proxy

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}
few_and_many = pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
ALL_READY = r"All \d+ workers are ready"


def serve(*options, count=2, app="app", env=None):
    return fullduplex(
        f"workers_asgi:{app}", "--workers", str(count), "--no-access-log", *options, env={**HERE, **(env or {})}
    )


def get(process, path="/", timeout_s=30.0):
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=timeout_s)
    client.request("GET", path)
    response = client.getresponse()
    content = response.read()
    client.close()
    return int(response.headers["x-pid"]), content


def workers_of(process):
    return {int(pid) for pid in re.findall(r"Worker \d+ \(process (\d+)\) is ready", process.output)}


def worker_ready(process, after):
    """Wait for the next worker that is ready; return its process."""
    return int(process.wait_for(re.compile(r"Worker \d+ \(process (\d+)\) is ready"), after=after).group(1))


def burst(process, count=50):
    """So many connections at once; return how many the busiest of four workers had, divided by the mean."""
    socks = [socket.create_connection(("127.0.0.1", process.port), timeout=30) for _ in range(count)]
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    pids = Counter()
    for sock in socks:
        with sock, sock.makefile("rb") as answer:
            pids[re.search(rb"x-pid: (\d+)", answer.read()).group(1)] += 1
    return max(pids.values()) / (count / 4)


def test_bursts_are_spread_over_all_workers():
    with serve(count=4) as process:
        process.wait_for(re.compile(ALL_READY))
        assert get(process, "/count")[1] == b"4"
        shares = [burst(process) for _ in range(10)]
        assert sum(shares) / len(shares) < 1.6, shares  # 1.29 by chance alone


@pytest.mark.slow
def test_the_busiest_of_four_workers_has_a_third_more_of_a_burst_than_the_mean():
    with serve(count=4) as process:
        process.wait_for(re.compile(ALL_READY))
        shares = [burst(process) for _ in range(120)]  # of so many the average is 1.29 +- 0.015, by chance alone
        assert sum(shares) / len(shares) < 1.35, shares
        assert max(shares) <= 2, shares


@few_and_many
def test_a_killed_worker_is_replaced_and_only_what_was_inside_it_fails(count):
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        with Load(process.port, 8) as load:
            for _ in range(count):
                load.go_on(200)
                before, failed_before = len(process.output), len(load.failures)
                pid = get(process)[0]
                os.kill(pid, signal.SIGKILL)
                process.wait_for(f"(process {pid}) was killed by SIGKILL", after=before)
                assert worker_ready(process, before) != pid
                load.go_on(200)
                failed = load.failures[failed_before:]
                assert len(failed) <= 8, "each client had one request at most inside"
                assert {failure.pid for failure in failed} <= {str(pid), None}
            at_the_end = len(load.failures)
            load.go_on(500)
        load.tell(f"{count} times kill -9")
        assert len(load.failures) == at_the_end


def test_one_worker_that_fails_at_every_start_delays_nobody(tmp_path):
    waits = {False: [], True: []}  # of those who connect anew, and of one whose connection stands

    def ask(anew, until):
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        while not until.is_set():
            began_s = time.monotonic()
            client.request("GET", "/")
            client.getresponse().read()
            waits[anew].append(time.monotonic() - began_s)
            if anew:
                client.close()
            time.sleep(0.005)
        client.close()

    with serve("--no-preload", count=4, app="picky", env={"MOST": "3", "LOCKS": str(tmp_path)}) as process:
        process.wait_for(re.compile("before it was ready; another one starts"))
        until = threading.Event()
        threads = [threading.Thread(target=ask, args=(anew, until)) for anew in (True, True, False)]
        for thread in threads:
            thread.start()
        process.wait_for(re.compile("before it was ready; another one starts"), after=len(process.output))
        until.set()
        for thread in threads:
            thread.join()
        assert len({get(process)[0] for _ in range(40)}) == 3
        assert len(waits[True]) > 40
        assert max(waits[True]) < 1 + max(waits[False]), "a quarter of the connections wait where no worker is"
        assert "RuntimeError: one too many" in process.output


@pytest.mark.parametrize("by_path", [False, True], ids=["tcp", "unix"])
def test_who_comes_when_accepting_has_ended_is_refused_and_does_not_wait_for_the_last_request(by_path, tmp_path):
    path = str(tmp_path / "socket")
    with serve(*(["--bind", f"unix:{path}", "--bind", "127.0.0.1:0"] if by_path else [])) as process:
        process.wait_for(re.compile(ALL_READY))
        busy = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        busy.request("GET", "/hold")
        response = busy.getresponse()
        process.signal(signal.SIGTERM)
        process.wait_for("Stopping: 2 workers")
        until_s = time.monotonic() + 20
        outcome = 0
        while outcome in (0, errno.ECONNRESET) and time.monotonic() < until_s:  # reset: it was closed at this moment
            time.sleep(0.05)
            with socket.socket(socket.AF_UNIX if by_path else socket.AF_INET) as visitor:
                outcome = visitor.connect_ex(path if by_path else ("127.0.0.1", process.port))
        assert outcome == errno.ECONNREFUSED
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        response.close()
        busy.close()
        assert process.wait(30) == 0
        assert "No connection is accepted" not in process.output


# sys.executable is where new processes come from; the link is taken away as an upgrade of the environment does it.
LINKED = "import sys; sys.executable = sys.argv.pop(1); from fullduplex.server.cli import main; main()"


@pytest.mark.parametrize("options", [("--no-preload",), pytest.param((), marks=pytest.mark.slow)])
def test_where_the_system_lets_no_process_start_those_who_serve_go_on(options, tmp_path):
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    where = ("workers_asgi:app", "--app-dir", str(ROOT / "tests" / "e2e"), "--port", "0", "--workers", "2")
    with Process(sys.executable, "-c", LINKED, str(link), *where, *options, env=HERE) as process:
        process.wait_for(re.compile(ALL_READY))
        link.unlink()
        process.signal(signal.SIGHUP)
        process.wait_for(re.compile("The reload failed: no process can be started .* go on serving"))
        os.kill(get(process)[0], signal.SIGKILL)
        end = process.wait_for("was killed by SIGKILL").end()
        process.wait_for("tried again in" if options else "is ready after", after=end)
        get(process)
        link.symlink_to(sys.executable)
        process.signal(signal.SIGHUP)
        process.wait_for("Reloaded: generation 3 serves")
        get(process)
        assert process.stop() == 0


def test_where_no_worker_can_start_the_service_ends(tmp_path):
    env = {"MOST": "0", "LOCKS": str(tmp_path)}
    process = fullduplex("workers_asgi:picky", "--workers", "2", ready="", env={**HERE, **env})
    with process:
        assert process.wait(60) == 1
        assert "No worker could start" in process.output


def reload_under_load(process, port, count):
    process.wait_for(re.compile(ALL_READY))
    with Load(port) as load:
        for generation in range(2, count + 2):
            load.go_on(300)
            process.signal(signal.SIGHUP)
            process.wait_for(f"Reloaded: generation {generation} serves", 60)
            load.wait_for_pid(generation)
        load.go_on(300)
    load.tell(f"{count} reloads")
    assert not load.failures
    assert len(workers_of(process)) == 2 * count + 2


@few_and_many
def test_a_reload_loses_no_request(count):
    with serve(count=2) as process:
        reload_under_load(process, process.port, count)


@few_and_many
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_reload_loses_no_request_behind_a_proxy_that_pools(name, count, tmp_path):
    with serve(count=2) as process, Proxy(name, process.port, tmp_path) as proxy:
        reload_under_load(process, proxy.port, count)


def test_a_reload_that_fails_leaves_the_old_workers_serving(tmp_path):
    broken = tmp_path / "broken"
    with serve(count=2, env={"BROKEN": str(broken)}) as process:
        process.wait_for(re.compile(ALL_READY))
        before = workers_of(process)
        broken.touch()
        with Load(process.port, 4) as load:
            process.signal(signal.SIGHUP)
            process.wait_for(
                re.compile(r"The reload failed: the process that imports .*\. The workers from before go on serving"),
                60,
            )
            load.go_on(200)
        assert not load.failures
        assert {int(pid) for pid in load.pids} <= before
        broken.unlink()
        process.signal(signal.SIGHUP)
        process.wait_for("Reloaded: generation 3 serves", 60)
        while get(process)[0] in before:  # until the old ones have heard that they are to stop
            pass


def test_a_stop_answers_what_has_begun_and_tells_the_sockets():
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        slow = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        slow.request("GET", "/slow")
        with connect(f"ws://127.0.0.1:{process.port}/") as websocket:
            websocket.send("hi")
            assert websocket.recv(timeout=30) == "hi"
            process.interrupt()  # the whole group gets it
            with pytest.raises(ConnectionClosed) as caught:
                websocket.recv(timeout=30)
        assert caught.value.rcvd.code == 1012
        response = slow.getresponse()
        assert (response.read(), response.headers["connection"]) == (b"Hello, world!", "close")
        slow.close()
        assert process.wait() == 0
        assert process.output.count("lifespan over") == 2


def test_a_second_signal_hurries():
    with serve("--timeout-graceful-shutdown", "600", count=2) as process:
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        client.request("GET", "/stream")
        client.getresponse().read(5)
        process.signal(signal.SIGTERM)
        process.wait_for("Stopping: 2 workers")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        client.close()


def test_no_worker_outlives_its_supervisor():
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        process.signal(signal.SIGKILL)
        process.wait()  # and for the end of the output, which the workers have, too
        assert len(re.findall("INFO +Stopped", process.output)) == 2


def test_ttin_and_ttou_add_and_remove_a_worker():
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        with Load(process.port, 4) as load:
            process.signal(signal.SIGTTIN)
            process.wait_for("All 3 workers are ready")
            load.wait_for_pid(3)
            process.signal(signal.SIGTTOU)
            process.wait_for("One worker less: 2")
            load.go_on(300)
        assert not load.failures


def test_who_connects_to_a_blocked_worker_is_served_by_another():
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        blocked: list[int] = []
        thread = threading.Thread(target=lambda: blocked.append(get(process, "/block?8")[0]))
        thread.start()
        time.sleep(1.0)  # until the block has been seen
        started_s = time.monotonic()
        pids = Counter(get(process)[0] for _ in range(20))
        elapsed_s = time.monotonic() - started_s
        is_still_blocked = not blocked
        thread.join()
        if is_still_blocked:
            assert len(pids) == 1
            assert elapsed_s < 7
        assert blocked[0] not in pids


def test_a_worker_is_replaced_after_so_many_requests():
    with serve("--limit-max-requests", "300", count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        with Load(process.port, 4) as load:
            load.wait_for_pid(5)
        assert not load.failures
        process.wait_for(re.compile(r"Worker \d \(process \d+\) has taken \d+ requests; a fresh one gets ready"))


def test_a_unix_socket_is_shared_by_all(tmp_path):
    path = str(tmp_path / "s")
    with serve("--uds", path, count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        pids = set()
        while len(pids) < 2:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with sock.makefile("rb") as answer:
                    pids.add(re.search(rb"x-pid: (\d+)", answer.read()).group(1))
        assert process.stop() == 0
        assert not os.path.exists(path)


def test_the_address_is_in_use_although_workers_share_it():
    with serve(count=2) as process:
        other = fullduplex("workers_asgi:app", "--workers", "2", "--port", str(process.port), ready="", env=HERE)
        with other:
            assert other.wait() == 1
            assert "is in use: another program listens on it" in other.output


def template_of(process):
    """The process that workers are forked from, by any of them."""
    with open(f"/proc/{get(process)[0]}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_workers_are_forked_from_a_process_that_has_imported_the_application():
    with serve(count=3) as process:
        process.wait_for("The application is imported once for all workers")
        process.wait_for(re.compile(ALL_READY))
        assert process.output.count("workers_asgi is imported") == 1
        template = template_of(process)
        assert template != process.pid
        assert get(process, "/heap")[1] != b"0"


@pytest.mark.parametrize(
    ("leftover", "named"),
    [
        ("socket", "a socket"),
        ("pipe", "a pipe"),
        ("epoll", "anon_inode:[eventpoll]"),
        ("sqlite", "an open file"),
        ("thread", "a thread (left over)"),
    ],
)
def test_what_importing_leaves_behind_means_fresh_interpreters(leftover, named, tmp_path):
    with serve(count=2, env={"LEFTOVER": leftover, "FILE": str(tmp_path / "db")}) as process:
        process.wait_for(f"Workers are started with fresh interpreters: importing the application leaves {named}")
        process.wait_for(re.compile(ALL_READY))
        assert process.output.count("workers_asgi is imported") == 3
        assert template_of(process) == process.pid
        assert len({get(process)[0] for _ in range(20)}) == 2


def test_a_log_file_that_is_open_is_no_obstacle(tmp_path):
    with serve(count=2, env={"LEFTOVER": "log", "FILE": str(tmp_path / "log")}) as process:
        process.wait_for("The application is imported once for all workers")


def test_preload_is_called_once_and_may_close_what_importing_has_opened():
    with serve(count=2, app="preloaded", env={"LEFTOVER": "socket"}) as process:
        process.wait_for("The application is imported once for all workers")
        process.wait_for(re.compile(ALL_READY))
        assert process.output.count("preload is called") == 1


def test_a_preload_that_fails_is_told_and_nothing_serves():
    env = {**HERE, "PRELOAD_FAILS": "1"}
    with fullduplex("workers_asgi:preloaded", "--workers", "2", ready="", env=env) as process:
        assert process.wait() == 1
        assert "RuntimeError: not today" in process.output


def test_workers_outlive_the_process_they_were_forked_from_and_are_still_replaced():
    with serve(count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        with Load(process.port, 4) as load:
            before = len(process.output)
            template = template_of(process)
            os.kill(template, signal.SIGKILL)
            process.wait_for("The process that workers are forked from was killed by SIGKILL; they go on", after=before)
            process.wait_for("The application is imported once for all workers", after=before)
            load.go_on(200)
            assert not load.failures
            pid = get(process)[0]
            os.kill(pid, signal.SIGKILL)
            process.wait_for(f"(process {pid}) was killed by SIGKILL", after=before)
            assert worker_ready(process, before) != pid
        assert process.stop() == 0
        assert len(re.findall("lifespan over", process.output)) == 2


def test_a_blocked_worker_is_named_with_its_stack_and_replaced_while_the_others_serve():
    options = ("--watchdog-warn-s", "1", "--watchdog-timeout-s", "3")
    with serve(*options, count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        lost = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
        lost.request("GET", "/block?60")
        with Load(process.port, 4) as load:
            process.wait_for(re.compile(r"blocked for [\d.]+ s\n    What blocks it:\n.*time\.sleep", re.DOTALL))
            process.wait_for(re.compile(r"Worker \d \(process \d+\) has been blocked for 3\.\d s; it is replaced"))
            process.wait_for(re.compile(r"(?s)most recent call first.*workers_asgi\.py.*was killed by SIGKILL"))
            worker_ready(process, process.output.index("was killed by SIGKILL"))
            load.go_on(200)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            lost.getresponse()
        lost.close()
        assert len(load.failures) <= 4, "who was inside"


def test_a_blocked_worker_outlives_no_supervisor():
    with serve("--watchdog-warn-s", "0.5", "--watchdog-timeout-s", "2", count=2) as process:
        process.wait_for(re.compile(ALL_READY))
        lost = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
        lost.request("GET", "/block?60")
        process.wait_for("The event loop has been blocked")
        process.signal(signal.SIGKILL)
        process.wait_for("The event loop is blocked and the supervisor is gone; this worker ends")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            lost.getresponse()
        lost.close()
        with socket.socket() as visitor:  # nobody holds the socket
            while visitor.connect_ex(("127.0.0.1", process.port)) != errno.ECONNREFUSED:
                time.sleep(0.05)


@pytest.mark.parametrize("count", [1, 2])
def test_systemd_is_told(count, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(30)
        with serve(count=count, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}) as process:
            ready = systemd.recv(1_000)
            assert ready.startswith(b"READY=1\n")
            assert b"\nMAINPID=%d" % process.pid in ready
            assert systemd.recv(1_000) == b"WATCHDOG=1"
            if count > 1:
                process.signal(signal.SIGHUP)
                seen = b""
                while b"RELOADING=1\nMONOTONIC_USEC=" not in seen or b"READY=1" not in seen.partition(b"RELOAD")[2]:
                    seen += systemd.recv(1_000)
            process.signal(signal.SIGTERM)
            while not systemd.recv(1_000).startswith(b"STOPPING=1"):
                pass
            assert process.wait() == 0
