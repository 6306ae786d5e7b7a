"""The stories of people who tried asynchronous Django, told with real processes on an ordinary project."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from fullduplex import __version__
from tests.e2e.process import environment
from tests.e2e.startproject import WARNINGS, Project, Server, free_port, listens_on_ipv6, run

pytestmark = pytest.mark.e2e

ROCKET = "The install worked successfully!"
TRACEBACK = "Traceback (most recent call last)"
NOTICED_S = 0.5  # until the reloader has seen what the files were like before a change, on a machine that is not busy


# runserver, expecting ASGI ---------------------------------------------------------------------


def test_runserver_shows_the_rocket_page_and_familiar_lines(plain_runserver: Server) -> None:
    response = plain_runserver.get("/")
    assert response.status_code == 200
    assert ROCKET in response.text
    port = plain_runserver.port
    plain_runserver.wait_for(re.compile(r'^\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "GET / HTTP/1.1" 200 \d+$', re.M))
    for line in (
        "Performing system checks...",
        "System check identified no issues (0 silenced).",
        "using settings 'mysite.settings'",
        f"Starting ASGI/fullduplex {__version__} development server at http://127.0.0.1:{port}/",
        "Protocols: HTTP/2 (on loopback and UNIX sockets), HTTP/1.1 and WebSocket",
        "Quit the server with CONTROL-C.",
        "WARNING: This is a development server.",
    ):
        assert line in plain_runserver.output


def test_runserver_serves_static_files(plain_runserver: Server) -> None:
    response = plain_runserver.get("/static/admin/css/base.css")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/css"
    assert len(response.content) == int(response.headers["content-length"])
    cached = plain_runserver.get("/static/admin/css/base.css", {"If-Modified-Since": response.headers["last-modified"]})
    assert cached.status_code == 304


def test_runserver_without_static_files(plain: Project) -> None:
    with plain.runserver("--nostatic") as server:
        assert server.get("/static/admin/css/base.css").status_code == 404


def test_runserver_insecure_serves_static_files_without_debug(project: Project) -> None:
    project.setting("DEBUG = False\nALLOWED_HOSTS = ['127.0.0.1']")
    with project.runserver("--insecure") as server:
        assert server.get("/static/admin/css/base.css").status_code == 200


def test_a_request_line_of_each_kind(plain_runserver: Server) -> None:
    start = len(plain_runserver.output)
    plain_runserver.get("/nothing/?page=2")
    plain_runserver.wait_for(re.compile(r'^\[.+\] "GET /nothing/\?page=2 HTTP/1.1" 404 \d+$', re.M), after=start)


# The browser's console -------------------------------------------------------------------------


def test_https_gets_one_familiar_line(plain_runserver: Server) -> None:
    start = len(plain_runserver.output)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://127.0.0.1:{plain_runserver.port}/", verify=False, timeout=30)
    line = r"^\[.+\] You're accessing the development server over HTTPS, but it only supports HTTP\.$"
    plain_runserver.wait_for(re.compile(line, re.M), after=start)
    plain_runserver.get("/")
    plain_runserver.wait_for('"GET / HTTP/1.1" 200', after=start)
    assert len(plain_runserver.output[start:].splitlines()) == 2


def test_a_websocket_to_an_unknown_path_is_404_and_no_error(plain_runserver: Server) -> None:
    start = len(plain_runserver.output)
    with pytest.raises(InvalidStatus) as refused, plain_runserver.websocket("/"):
        pass
    assert refused.value.response.status_code == 404
    plain_runserver.wait_for(re.compile(r"^\[.+\] WebSocket REJECT / 404 \[127.0.0.1:\d+\]$", re.M), after=start)
    output = plain_runserver.output[start:]
    assert re.search(r"^\[.+\] WebSocket HANDSHAKING / \[127.0.0.1:\d+\]$", output, re.M)
    assert "Error" not in output
    assert "Exception" not in output
    assert TRACEBACK not in output


def test_a_route_in_urls_answers(site_runserver: Server) -> None:
    start = len(site_runserver.output)
    with site_runserver.websocket("/echo/lobby/") as socket:
        assert socket.recv(30) == "you are at /echo/lobby/"
        for message in ("hello", b"\x00\xff", ""):
            socket.send(message)
            assert socket.recv(30) == message
    site_runserver.wait_for(
        re.compile(r"^\[.+\] WebSocket DISCONNECT /echo/lobby/ 1000 by client after \d+\.\ds \[", re.M), after=start
    )
    assert re.search(r"^\[.+\] WebSocket CONNECT /echo/lobby/ \[", site_runserver.output[start:], re.M)


def test_an_exception_in_a_socket_is_logged_once_and_closes_1011(site_runserver: Server) -> None:
    start = len(site_runserver.output)
    with site_runserver.websocket("/broken/") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    site_runserver.wait_for("WebSocket DISCONNECT /broken/ 1011 by server", after=start)
    output = site_runserver.output[start:]
    assert output.count("RuntimeError: a view that fails") == 1
    assert output.count(TRACEBACK) == 1


def test_a_page_of_another_site_is_refused(site_runserver: Server) -> None:
    url = f"ws://127.0.0.1:{site_runserver.port}/echo/lobby/"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(url, origin=Origin("https://evil.example"), open_timeout=30, proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403
    site_runserver.wait_for("WebSocket REJECT /echo/lobby/ 403")
    assert "CSRF_TRUSTED_ORIGINS" in site_runserver.output


# The fullduplex command ------------------------------------------------------------------------


def test_the_command_serves_asgi_py_as_startproject_wrote_it(plain: Project) -> None:
    with plain.fullduplex("mysite.asgi:application", "--port", "0") as server:
        response = server.get("/")
        assert response.status_code == 200
        assert ROCKET in response.text
        server.wait_for("lifespan: not supported by the application")
        server.wait_for(re.compile(r'127.0.0.1:\d+ "GET / HTTP/1.1" 200 \d+ [\d.]+ms'))
        assert TRACEBACK not in server.output


def test_the_command_serves_our_application(site_cli: Server) -> None:
    with site_cli.websocket("/echo/lobby/") as socket:
        assert socket.recv(30) == "you are at /echo/lobby/"
    with pytest.raises(InvalidStatus) as refused, site_cli.websocket("/nothing/"):
        pass
    assert refused.value.response.status_code == 404
    site_cli.wait_for(re.compile(r"Protocols: HTTP/2 .*, HTTP/1\.1.*WebSocket.*lifespan: on"))
    site_cli.wait_for('"WebSocket /echo/lobby/" accepted')
    site_cli.wait_for(re.compile(r'"WebSocket /echo/lobby/" closed 1000 by client after'))
    site_cli.wait_for('"WebSocket /nothing/" refused 404')
    assert TRACEBACK not in site_cli.output


def test_python_dash_m(plain: Project) -> None:
    command = [sys.executable, "-m", "fullduplex", "mysite.asgi:application", "--port", "0"]
    with Server(command, plain.path) as server:
        assert server.get("/").status_code == 200


def test_settings_by_environment_and_an_application_in_middleware(site: Project, tmp_path: Path) -> None:
    project = site.copy(tmp_path / "site")
    project.write(
        "wrapped.py",
        """
from fullduplex import get_asgi_application


class Stamp:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def stamp(message):
            if message["type"] in ("http.response.start", "websocket.accept"):
                message["headers"] = [*message.get("headers", []), (b"x-stamp", b"yes")]
            await send(message)

        await self.app(scope, receive, stamp)


application = Stamp(get_asgi_application())
""",
    )
    env = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
    with project.fullduplex("mysite.wrapped:application", "-p", "0", env=env) as server:
        assert server.get("/function/").headers["x-stamp"] == "yes"
        with server.websocket("/echo/lobby/") as socket:
            assert socket.response is not None
            assert socket.response.headers["x-stamp"] == "yes"
            assert socket.recv(30) == "you are at /echo/lobby/"


def test_starlette_on_the_same_server(tmp_path: Path) -> None:
    (tmp_path / "star.py").write_text(
        """
import contextlib

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute


async def page(request):
    return PlainTextResponse(f"started: {request.state.started}")


async def echo(socket):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"started": True}


app = Starlette(routes=[Route("/", page), WebSocketRoute("/echo", echo)], lifespan=lifespan)
"""
    )
    with Project(tmp_path).fullduplex("star:app", "--port", "0") as server:
        assert server.get("/").text == "started: True"
        with server.websocket("/echo") as socket:
            socket.send("hello")
            assert socket.recv(30) == "hello"
        server.wait_for("lifespan: on")


def test_groups_reach_all_workers_and_a_shell_without_a_setting(project: Project) -> None:
    project.write(
        "urls.py",
        "from django.urls import path\nfrom fullduplex import Group, websocket\n"
        "@websocket\nasync def room(socket):\n"
        "    await socket.join(Group('room'))\n"
        "    async for text in socket:\n        await Group('room').asend(text)\n"
        "urlpatterns = [path('room/', room)]\n",
    )
    with project.manage("serve", "--port", "0", "--workers", "3") as server:
        server.wait_for("All 3 workers are ready")
        with contextlib.ExitStack() as opened:
            sockets = [opened.enter_context(server.websocket("/room/")) for _ in range(9)]
            sockets[0].send("to all")
            assert [socket.recv(30) for socket in sockets] == ["to all"] * 9
            shell = "from fullduplex import Group; Group('room').send('from a shell')"
            run([sys.executable, "manage.py", "shell", "-c", shell], project.path)
            assert [socket.recv(30) for socket in sockets] == ["from a shell"] * 9


def test_manage_py_serve_with_several_workers(project: Project) -> None:
    """A project that queries while it is imported; each worker has a connection of its own all the same."""
    project.replace(
        "urls.py",
        "urlpatterns = [",
        "from django.contrib.auth.models import User\nprint(User.objects.count(), 'users')\nurlpatterns = [",
    )
    with project.manage("serve", "--port", "0", "--workers", "2") as server:
        assert server.get("/admin/login/").status_code == 200
        server.wait_for("All 2 workers are ready")
        assert "The application is imported once for all workers" in server.output
        assert server.output.count("0 users") == 2, "manage.py checks the project, and one process imports it for all"
        assert server.stop() == 0


def test_manage_py_serve(site: Project, tmp_path: Path) -> None:
    project = site.copy(tmp_path / "site")
    project.setting("DEBUG = False\nALLOWED_HOSTS = ['127.0.0.1']")
    with project.manage("serve", "--port", "0") as server:
        assert server.get("/function/").text == "from a function"
        with server.websocket("/echo/lobby/") as socket:
            assert socket.recv(30) == "you are at /echo/lobby/"
        server.interrupt()
        assert server.wait() == 0
        assert "DEBUG" not in server.output


def test_manage_py_serve_warns_about_debug(plain: Project) -> None:
    with plain.manage("serve", "--port", "0") as server:
        assert server.get("/").status_code == 200
        assert "WARNING: DEBUG is True" in server.output


# Asynchronous views ----------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["site_runserver", "site_cli"])
@pytest.mark.parametrize(("path", "text"), [("/function/", "from a function"), ("/class/", "from a class")])
def test_async_views_and_async_middleware(request: pytest.FixtureRequest, served: str, path: str, text: str) -> None:
    server: Server = request.getfixturevalue(served)
    response = server.get(path)
    assert response.text == text
    assert response.headers["x-timing"] == "measured"


def test_the_orm_from_an_async_view(site_cli: Server) -> None:
    first = site_cli.get("/users/").json()
    assert first["names"] == ["ada"]
    assert site_cli.get("/users/").json() == first


# ASGI_APPLICATION ------------------------------------------------------------------------------


def test_runserver_serves_what_asgi_application_names(project: Project) -> None:
    project.setting("ASGI_APPLICATION = 'mysite.asgi.application'")
    project.replace("asgi.py", "from django.core.asgi import", "from fullduplex import")
    with (project.path / "mysite" / "asgi.py").open("a") as asgi:
        asgi.write("\nprint('asgi.py was read')\n")
    with project.runserver() as server:
        assert ROCKET in server.get("/").text
        assert "asgi.py was read" in server.output


def test_runserver_says_that_djangos_own_application_has_no_websocket(project: Project) -> None:
    project.setting("ASGI_APPLICATION = 'mysite.asgi.application'")
    with project.runserver() as server:
        assert ROCKET in server.get("/").text
        assert "which refuses WebSockets" in server.output


def test_an_asgi_application_that_does_not_exist(project: Project) -> None:
    project.setting("ASGI_APPLICATION = 'mysite.agsi.application'")
    with project.runserver() as server:
        assert server.wait() == 1
        assert "ASGI_APPLICATION = 'mysite.agsi.application' cannot be imported" in server.output
        assert "fullduplex.E002" in server.output
        assert TRACEBACK not in server.output


def test_an_asgi_application_that_is_not_in_its_module(project: Project) -> None:
    project.setting("ASGI_APPLICATION = 'mysite.asgi.aplication'")
    with project.runserver() as server:
        assert server.wait() == 1
        assert "ASGI_APPLICATION = 'mysite.asgi.aplication' could not be loaded" in server.output
        assert 'does not define a "aplication" attribute' in server.output


# The life of a development server --------------------------------------------------------------


def change(project: Project, server: Server, old: str, new: str, noticed: str, after: int = 0) -> None:
    """Change the views, again where the reloader had not yet seen them as they were before."""
    project.replace("views.py", old, new)
    for _ in range(5):
        try:
            server.wait_for(noticed, 6, after)
        except AssertionError:
            (project.path / "mysite" / "views.py").touch()
        else:
            return
    server.wait_for(noticed, after=after)


def test_autoreload_with_an_open_socket_and_an_open_stream(reloading: Project) -> None:
    # A stream that is cancelled in its last breath leaves its request's empty body file to the collector.
    env = {"PYTHONWARNINGS": f"{WARNINGS},ignore:Unclosed file:ResourceWarning"}
    with reloading.runserver(str(free_port()), reload=True, env=env) as server:
        server.wait_for("Watching for file changes with StatReloader")
        url = f"http://127.0.0.1:{server.port}/events/"
        with httpx.stream("GET", url) as stream, server.websocket("/echo/lobby/") as socket:
            events = stream.iter_text()
            assert next(events) == "data: tick\n\n"
            assert socket.recv(30) == "you are at /echo/lobby/"
            time.sleep(NOTICED_S)
            change(reloading, server, "from a function", "from a changed function", "views.py changed, reloading.")
            told_s = time.monotonic()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            for _ in events:  # an event stream ends whole, and its client comes back
                pass
            assert time.monotonic() - told_s < 9
        server.wait_for(re.compile("Starting ASGI.*Starting ASGI", re.S))
        assert server.get("/function/").text == "from a changed function"
        assert "already in use" not in server.output
        assert TRACEBACK not in server.output


def test_autoreload_does_not_wait_for_a_view_that_sleeps(reloading: Project) -> None:
    with reloading.runserver(str(free_port()), reload=True) as server:
        port = server.port
        client = httpx.Client()
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"http://127.0.0.1:{port}/sleep/", timeout=NOTICED_S)
        change(reloading, server, "from a function", "from a changed function", "views.py changed, reloading.")
        told_s = time.monotonic()
        server.wait_for(re.compile("Starting ASGI.*Starting ASGI", re.S))
        assert time.monotonic() - told_s < 9
        client.close()
        assert server.get("/function/").text == "from a changed function"


def test_autoreload_survives_a_syntax_error(reloading: Project) -> None:
    with reloading.runserver(str(free_port()), reload=True) as server:
        assert server.get("/function/").status_code == 200
        time.sleep(NOTICED_S)
        right, wrong = "async def function(request):", "async def function(request:"
        change(reloading, server, right, wrong, "SyntaxError")
        start = len(server.output)
        time.sleep(NOTICED_S)
        change(reloading, server, wrong, right, "Starting ASGI", start)
        assert server.get("/function/").text == "from a function"


@pytest.mark.parametrize("reload", [False, True])
def test_ctrl_c_ends_runserver_with_open_sockets(site: Project, reload: bool) -> None:
    with site.runserver(str(free_port()), reload=reload) as server, server.websocket("/echo/lobby/") as socket:
        assert socket.recv(30) == "you are at /echo/lobby/"
        asked_s = time.monotonic()
        server.interrupt()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert server.wait() == 0
        assert time.monotonic() - asked_s < 9
        assert TRACEBACK not in server.output


def test_ctrl_c_ends_the_command_with_open_sockets(site: Project) -> None:
    with site.fullduplex("mysite.asgi:application", "--port", "0") as server:
        with server.websocket("/echo/lobby/") as socket:
            assert socket.recv(30) == "you are at /echo/lobby/"
            server.interrupt()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.wait() == 0
        assert TRACEBACK not in server.output


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize("reload", [False, True])
def test_runserver_ends_with_its_terminal(plain: Project, reload: bool) -> None:
    with plain.runserver(str(free_port()), reload=reload) as server:
        server.signal(signal.SIGHUP)
        assert server.wait() == -signal.SIGHUP


def test_ctrl_c_while_a_view_sleeps(site: Project) -> None:
    with site.runserver() as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"http://127.0.0.1:{server.port}/sleep/", timeout=0.5)
        asked_s = time.monotonic()
        server.interrupt()
        assert server.wait() == 0
        assert time.monotonic() - asked_s < 9


@pytest.mark.parametrize("reload", [False, True])
def test_runserver_on_a_busy_port(plain: Project, plain_runserver: Server, reload: bool) -> None:
    with plain.runserver(str(plain_runserver.port), reload=reload) as server:
        assert server.wait() == 1
        assert "Error: That port is already in use." in server.output
        assert TRACEBACK not in server.output


def test_the_command_on_a_busy_port(plain: Project, plain_runserver: Server) -> None:
    with plain.fullduplex("mysite.asgi:application", "--port", str(plain_runserver.port)) as server:
        assert server.wait() == 1
        lines = [line for line in server.output.splitlines() if "in use" in line]
        assert len(lines) == 1
        assert TRACEBACK not in server.output


def test_runserver_on_ipv6(plain: Project) -> None:
    with plain.runserver("--ipv6", "0") as server:
        if not listens_on_ipv6():
            assert server.wait() == 1
            assert "Error: That IP address can't be assigned to." in server.output
            return
        port = server.port
        server.wait_for(f"development server at http://[::1]:{port}/")
        assert ROCKET in httpx.get(f"http://[::1]:{port}/").text


@pytest.mark.parametrize("path", ["/debug/", "/debug-async/"])
def test_breakpoint_in_a_view(site: Project, path: str) -> None:
    with site.runserver() as server:
        url = f"http://127.0.0.1:{server.port}{path}"
        client = subprocess.Popen(
            [sys.executable, "-c", f"import urllib.request as r; print(r.urlopen({url!r}, timeout=60).read())"],
            stdout=subprocess.PIPE,
            text=True,
        )
        server.wait_for("(Pdb)")
        server.type("answer = 'from the debugger'\n")
        server.wait_for(re.compile(r"\(Pdb\).*\(Pdb\)", re.S))
        server.type("continue\n")
        output, _ = client.communicate(timeout=60)
        assert "from the debugger" in output
        assert TRACEBACK not in server.output


def test_another_runserver_before_ours_is_noticed(project: Project) -> None:
    project.replace("settings.py", '    "fullduplex",\n', "")
    project.setting("INSTALLED_APPS.append('fullduplex')")
    with project.manage("check") as command:
        assert command.wait() == 0
        assert "fullduplex.W001" in command.output
        assert "django.contrib.staticfiles" in command.output


# Platforms, imports and dependencies -----------------------------------------------------------

HIDE = """
import asyncio, os, socket, sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            raise ImportError("hidden")


def hidden(*args, **kwargs):
    raise NotImplementedError("hidden")


def inet_socketpair(*args):  # what Python itself does on Windows
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


sys.meta_path.insert(0, Hidden())
del socket.AF_UNIX, os.fork
socket.socketpair = inet_socketpair
asyncio.SelectorEventLoop.add_signal_handler = asyncio.SelectorEventLoop.remove_signal_handler = hidden
"""


@pytest.mark.parametrize(
    "command",
    [
        [str(Path(sys.executable).parent / "fullduplex"), "mysite.asgi:application", "--port", "0"],
        [sys.executable, "manage.py", "runserver", "0", "--noreload"],
        [sys.executable, "manage.py", "runserver", "0"],
        [sys.executable, "manage.py", "serve", "--port", "0"],
    ],
    ids=["fullduplex", "runserver-noreload", "runserver", "serve"],
)
def test_nothing_needs_what_other_platforms_lack(site: Project, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    with Server(command, site.path, {"PYTHONPATH": str(tmp_path)}) as server:
        assert server.get("/function/").text == "from a function"
        with server.websocket("/echo/lobby/") as socket:
            assert socket.recv(30) == "you are at /echo/lobby/"
        server.interrupt()
        assert server.wait() == 0
        assert TRACEBACK not in server.output


def test_a_missing_platform_feature_gives_one_line(plain: Project, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    command = ("mysite.asgi:application", "--uds", str(tmp_path / "socket"))
    with plain.fullduplex(*command, env={"PYTHONPATH": str(tmp_path)}) as server:
        assert server.wait() == 1
        assert "--uds: this platform has no UNIX sockets" in server.output
        assert TRACEBACK not in server.output


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("fullduplex.server.worker", ["django", "fullduplex.handler"]),
        ("fullduplex.server.cli", ["django", "fullduplex.handler"]),
        ("fullduplex.handler.application", [f"fullduplex.{room}" for room in ("server", "gateway", "net", "wire")]),
    ],
)
def test_the_towers_do_not_know_each_other(module: str, strangers: list[str]) -> None:
    code = f"import sys, {module}; sys.exit(', '.join(name for name in {strangers} if name in sys.modules) or 0)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({"PYTHONWARNINGS": WARNINGS}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
