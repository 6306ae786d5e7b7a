"""Whatever a project says of logging: what keeps a server from starting is on standard error, requests have lines."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import ROOT, START_TIMEOUT_S, environment, fullduplex
from tests.e2e.startproject import Project
from tests.e2e.test_server import get

pytestmark = pytest.mark.e2e

# As a project writes it that does not know of disable_existing_loggers. Its handlers write elsewhere.
LOGGING = """
LOGGING = {
    "version": 1,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": BASE_DIR / "site.log"}},
    "root": {"handlers": ["file"], "level": "INFO"},
}
"""


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.fixture(scope="module")
def quiet(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = plain.copy(tmp_path_factory.mktemp("quiet") / "site")
    project.setting(LOGGING)
    project.replace("asgi.py", "from django.core.asgi import", "from fullduplex import")
    return project


def failed_start(*command: str, cwd: Path = ROOT / "tests" / "e2e") -> str:
    """Run a server that cannot start; return what it says on standard error."""
    env = environment({"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"})
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=START_TIMEOUT_S
    )
    assert done.returncode == 1, done
    return done.stderr


@pytest.mark.parametrize("app", ["plain_asgi:app", "quiet_asgi:app"])
def test_a_port_in_use(app: str, busy_port: int) -> None:
    said = failed_start("-m", "fullduplex", app, "--port", str(busy_port))
    assert said.count(f"127.0.0.1:{busy_port} is in use") == 1, said


@pytest.mark.parametrize("app", ["plain_asgi:app", "quiet_asgi:app"])
def test_a_missing_certificate(app: str) -> None:
    said = failed_start("-m", "fullduplex", app, "--ssl-certfile", "nowhere.pem", "--log-level", "critical")
    assert said.count("nowhere.pem: No such file") == 1, said


@pytest.mark.parametrize("app", ["plain_asgi", "quiet_asgi"])
def test_an_application_that_fails_to_start(app: str) -> None:
    said = failed_start("-m", "fullduplex", f"{app}:broken_start", "--port", "0")
    assert said.count("did not start: the database is on fire") == 1, said
    said = failed_start("-m", "fullduplex", f"{app}:no_lifespan", "--port", "0", "--lifespan", "on")
    assert said.count("does not support lifespan") == 1, said


def test_of_a_project_with_the_command(quiet: Project, busy_port: int) -> None:
    said = failed_start("-m", "fullduplex", "mysite.asgi:application", "--port", str(busy_port), cwd=quiet.path)
    assert said.count("is in use") == 1, said


def test_of_a_project_with_serve(quiet: Project, busy_port: int) -> None:
    said = failed_start("manage.py", "serve", "--port", str(busy_port), cwd=quiet.path)
    assert said.count("is in use") == 1, said


def test_of_a_project_with_runserver(quiet: Project, tmp_path: Path) -> None:
    project = quiet.copy(tmp_path / "site")
    project.setting('CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}')
    said = failed_start("manage.py", "runserver", "0", "--noreload", "--skip-checks", cwd=project.path)
    assert "did not start: CHANNEL_LAYERS: the BACKEND 'nowhere.Layer'" in said, said


@pytest.mark.parametrize("app", ["app", "at_startup"])
def test_access_lines_are_written(app: str, tmp_path: Path) -> None:
    file = tmp_path / "site.log"
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "QUIET_LOG": str(file)}
    with fullduplex(f"quiet_asgi:{app}", env=env) as process:  # that it listens is told, too
        assert get(process, "/")[0] == 200
        process.wait_for('"GET / HTTP/1.1" 200')


def test_access_lines_of_a_project_are_written(quiet: Project) -> None:
    with quiet.fullduplex("mysite.asgi:application", "--port", "0") as server:
        server.wait_for("Listening on", START_TIMEOUT_S)
        get(server, "/")
        server.wait_for('"GET / HTTP/1.1"')


def test_access_lines_go_where_the_project_says(quiet: Project) -> None:
    """``serve`` has read the settings before it configures anything: the project's handlers get the lines."""
    log = quiet.path / "site.log"
    with quiet.manage("serve", "--port", "0") as server:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "Listening on" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline_s, server.output
            time.sleep(0.05)
        port = int(log.read_text().rpartition("Listening on http://127.0.0.1:")[2].split()[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(b"GET /seen/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while sock.recv(65_536):
                pass
        server.stop()
    assert '"GET /seen/ HTTP/1.1" 404' in log.read_text()


def test_the_loggers_of_the_project_s_side_are_enabled(quiet: Project) -> None:
    code = (
        "import logging, fullduplex.layers.memory, fullduplex.handler.application\n"  # before django.setup()
        "import mysite.asgi\n"
        "names = [name for name in logging.root.manager.loggerDict if name.startswith('fullduplex')]\n"
        "print(sorted(name for name in names if logging.getLogger(name).disabled), len(names) > 2)"
    )
    env = environment({"DJANGO_SETTINGS_MODULE": "mysite.settings"})
    told = subprocess.run([sys.executable, "-c", code], cwd=quiet.path, env=env, capture_output=True, text=True)
    assert told.stdout == "[] True\n", told
