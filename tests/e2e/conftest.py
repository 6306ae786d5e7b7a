"""Projects and servers that many tests look at, made once, since each costs a second or two; the chat, its people."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import chromium
from tests.e2e.chat_people import DESKTOP, LAN_HOST, Chat, Person
from tests.e2e.faulty_network import FaultyNetwork
from tests.e2e.startproject import Project, Server


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Let servers hear Ctrl-C also where a shell runs the tests in the background, for which it ignores the signal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project as ``startproject`` leaves it, with fullduplex in INSTALLED_APPS. Not to be changed."""
    return Project.create(tmp_path_factory.mktemp("plain") / "site")


@pytest.fixture
def project(plain: Project, tmp_path: Path) -> Project:
    """The same, to be changed by one test."""
    return plain.copy(tmp_path / "site")


@pytest.fixture(scope="session")
def site(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with views of every kind, and with our application in ``asgi.py``. Not to be changed."""
    project = plain.copy(tmp_path_factory.mktemp("views") / "site")
    add_views(project)
    project.replace("asgi.py", "from django.core.asgi import", "from fullduplex import")
    return project


@pytest.fixture
def reloading(site: Project, tmp_path: Path) -> Project:
    """The same, to be changed by one test while a reloader looks ten times as often as it does by default."""
    project = site.copy(tmp_path / "site")
    project.setting("from django.utils.autoreload import StatReloader\n\nStatReloader.SLEEP_TIME = 0.1")
    return project


@pytest.fixture(scope="session")
def plain_runserver(plain: Project) -> Iterator[Server]:
    with plain.runserver() as server:
        yield server


@pytest.fixture(scope="session")
def site_runserver(site: Project) -> Iterator[Server]:
    with site.runserver() as server:
        yield server


@pytest.fixture(scope="session")
def site_cli(site: Project) -> Iterator[Server]:
    with site.fullduplex("mysite.asgi:application", "--port", "0") as server:
        yield server


def add_views(project: Project) -> None:
    """Put ``site_views.py`` and ``site_urls.py`` from here into a project."""
    here = Path(__file__).parent
    project.write("views.py", (here / "site_views.py").read_text())
    project.write("urls.py", (here / "site_urls.py").read_text())
    project.replace("settings.py", "MIDDLEWARE = [\n", 'MIDDLEWARE = [\n    "mysite.views.timing",\n')


@pytest.fixture(scope="module")
def chat_browser() -> Iterator[Browser]:
    rules = f"--host-resolver-rules=MAP {LAN_HOST} 127.0.0.1"
    with chromium(rules, without=("--disable-back-forward-cache",)) as browser:
        yield browser


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chat") / "empty.sqlite3"
    Chat(path).manage("migrate", "--verbosity", "0")
    return path


@pytest.fixture
def chat(tmp_path: Path, empty_database: Path) -> Iterator[Chat]:
    chat = Chat(tmp_path / "chat.sqlite3")
    shutil.copy(empty_database, tmp_path / "chat.sqlite3")
    chat.start()
    try:
        yield chat
    finally:
        if chat.process is not None:
            print(chat.kill())  # pytest shows it where a test fails


@pytest.fixture
def network(chat: Chat) -> Iterator[FaultyNetwork]:
    network = FaultyNetwork(chat.port)
    yield network
    network.close()


@pytest.fixture
def people(chat_browser: Browser, chat: Chat) -> Iterator[list[Person]]:
    """Ada and Grace, each with a name and a browser of her own; neither page may complain of anything."""
    contexts = [
        chat_browser.new_context(viewport=DESKTOP, reduced_motion="reduce", timezone_id="UTC") for _ in range(2)
    ]
    try:
        people = [Person(context, chat) for context in contexts]
        for person, name in zip(people, ("Ada", "Grace"), strict=True):
            person.call(name)
        yield people
        assert [person.problems for person in people] == [[], []]
    finally:
        for context in contexts:
            context.close()
