"""The guides about other applications do what they say, on our server and on another."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.startproject import Project, Server, free_port

pytestmark = pytest.mark.e2e

GUIDES = Path(__file__).parents[2] / "docs" / "howto"


def guide(project: Project, name: str) -> None:
    """Take the first block of a guide for the project's ``asgi.py``."""
    block = re.search(r"```python\n(.*?)```", (GUIDES / name).read_text(), re.S)
    assert block is not None
    project.write("asgi.py", block.group(1))


def serve(project: Project, server: str) -> Server:
    if server == "runserver":
        project.setting('ASGI_APPLICATION = "mysite.asgi.application"')
        return project.runserver()
    if server == "fullduplex":
        return project.fullduplex("mysite.asgi:application", "--port", "0")
    command = [sys.executable, "-m", server, "mysite.asgi:application", "--port", str(free_port())]
    return Server(command, project.path, {"PYTHONWARNINGS": "default"})


@pytest.mark.parametrize("server", ["fullduplex", "runserver", "uvicorn"])
def test_starlette_beside_django(site: Project, tmp_path: Path, server: str) -> None:
    project = site.copy(tmp_path / "site")
    guide(project, "starlette.md")
    with serve(project, server) as process:
        url = f"http://127.0.0.1:{process.port}/api/status"
        assert process.get("/api/status").json() == {"ready": True, "url": url}
        assert process.get("/function/").text == "from a function"
        with process.websocket("/api/echo") as socket:
            socket.send("to Starlette")
            assert socket.recv(30) == "to Starlette"
        with process.websocket("/echo/lobby/") as socket:
            assert socket.recv(30) == "you are at /echo/lobby/"
    assert "Traceback" not in process.output


@pytest.mark.parametrize("server", ["fullduplex", "runserver", "uvicorn"])
def test_asgi_middleware_around_django(site: Project, tmp_path: Path, server: str) -> None:
    project = site.copy(tmp_path / "site")
    guide(project, "asgi-middleware.md")
    with serve(project, server) as process:
        assert process.get("/function/").headers["x-stamp"] == "yes"
        with process.websocket("/echo/lobby/") as socket:
            assert socket.response is not None
            assert socket.response.headers["x-stamp"] == "yes"


@pytest.mark.parametrize("server", ["fullduplex", "runserver", "uvicorn"])
def test_django_inside_another_application(site: Project, tmp_path: Path, server: str) -> None:
    project = site.copy(tmp_path / "site")
    guide(project, "inside-another.md")
    with serve(project, server) as process:
        assert process.get("/").text == "Starlette's"
        assert process.get("/django/function/").text == "from a function"
        with process.websocket("/django/echo/lobby/") as socket:
            assert socket.recv(30) == "you are at /django/echo/lobby/"
