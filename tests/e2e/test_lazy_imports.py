"""Where Python is told to import lazily (`PYTHON_LAZY_IMPORTS=all`, 3.15), ours starts and serves as it does without.

Django's own checks vanish then, and nobody says so: that is Django's. What is ours depends on no import for its own
sake.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.process import environment
from tests.e2e.startproject import Project, Server

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports came with Python 3.15")

LAZY = {"PYTHON_LAZY_IMPORTS": "all"}

URLS = """
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
from fullduplex import Group, websocket

def count(request):
    Group("all").send("counted")
    return HttpResponse(str(User.objects.count()))

@websocket
async def listen(socket):
    await socket.join("all")
    async for message in socket:
        await Group("all").asend(message)

urlpatterns = [path("count/", count), path("listen/", listen)]
"""

CHECKS = """
import json
import django
django.setup()
from django.core.checks.registry import registry
print(json.dumps(sorted(check.__name__ for check in registry.registered_checks if "fullduplex" in check.__module__)))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("lazy") / "site")
    project.write("urls.py", URLS)
    project.replace("asgi.py", "from django.core.asgi import", "from fullduplex import")
    return project


@pytest.mark.parametrize("command", ["runserver", "fullduplex", "workers"])
def test_pages_sockets_and_groups(project: Project, command: str) -> None:
    workers = ("--workers", "2") if command == "workers" else ()
    with (
        project.runserver(env=LAZY)
        if command == "runserver"
        else project.fullduplex("mysite.asgi:application", "--port", "0", *workers, env=LAZY)
    ) as server:
        _talk(server)


def _talk(server: Server) -> None:
    with server.websocket("/listen/") as socket:
        socket.send("hello")
        assert socket.recv() == "hello"
        assert server.get("/count/").text == "0"
        assert socket.recv() == "counted"


def test_our_checks_are_there(project: Project) -> None:
    assert _checks(project, LAZY) == _checks(project, {}) != []


def _checks(project: Project, env: dict[str, str]) -> list[str]:
    env = environment({**env, "DJANGO_SETTINGS_MODULE": "mysite.settings"})
    directory: Path = project.path
    answer = subprocess.run(
        [sys.executable, "-c", CHECKS], cwd=directory, env=env, check=True, capture_output=True, timeout=120
    )
    names: list[str] = json.loads(answer.stdout)
    return names
