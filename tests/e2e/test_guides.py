"""The guides to events (sse), htmx, Celery, the outbox and testing, followed word for word in a new project."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import chromium
from tests.e2e.following import ADA, installed_for_playwright, log_in, serving, window
from tests.e2e.process import START_TIMEOUT_S, WAIT_TIMEOUT_S, Process
from tests.e2e.startproject import BIN, free_port
from tests.layers.servers import Server as Valkey
from tests.reader import Reader, snippets
from tests.snippets import Because
from tests.test_snippets import answer_of

pytestmark = pytest.mark.e2e

# What the guide to events leaves to whoever reads it: a view that has news.
SAYING = """
from django.http import HttpResponse
from fullduplex import Group

def say(request, text):
    Group("news.all").send({"text": text})
    return HttpResponse()

urlpatterns += [path("say/<str:text>/", say)]
"""
LOCAL_LAYER = 'CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.local.LocalLayer"}}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """In a new project, with the ``asgi.py`` of the README."""
    reader = Reader(tmp_path, ADA)
    reader.run("django-admin startproject mysite .")
    reader.follow(next(snippet for snippet in snippets("README.md") if "# mysite/asgi.py" in snippet.code))
    return reader


def follow(reader: Reader, guide: str) -> list[str]:
    """Do what a guide says, but for what is a part of files of the reader's; return the commands that serve."""
    page = f"docs/howto/{guide}.md"
    followed = [snippet for snippet in snippets(page) if not isinstance(answer_of(snippet), Because)]
    return [command for snippet in followed for command, _ in reader.follow(snippet)]


def events_of(reader: Reader) -> str:
    (command,) = follow(reader, "sse")
    urls = reader.folder / "mysite" / "urls.py"
    urls.write_text(urls.read_text() + SAYING)
    return command


def test_events_come_one_by_one_and_go_on_after_a_loss(reader: Reader) -> None:
    with serving(reader, events_of(reader)) as server:
        report = server.get("/report/events/")
        assert report.headers["content-type"] == "text/event-stream"
        told = "".join(f"data: {percent}\n\n" for percent in (0, 25, 50, 75, 100))
        assert report.text == told + "event: done\ndata: all of it\n\n"

        url = f"http://127.0.0.1:{server.port}/news/events/?group=news.all"
        headers: dict[str, str] = {}
        for text in ("hot", "cold"):
            with httpx.stream("GET", url, headers=headers, timeout=WAIT_TIMEOUT_S) as stream:
                lines = stream.iter_lines()
                assert next(line for line in lines if '"subscribed"' in line)
                server.get(f"/say/{text}/")
                message = next(json.loads(line[6:]) for line in lines if '"message"' in line)
                assert message["data"] == {"text": text}
                headers = {"Last-Event-ID": next(line[4:] for line in lines if line.startswith("id: "))}
            server.get("/say/missed/")
            with httpx.stream("GET", url, headers=headers, timeout=WAIT_TIMEOUT_S) as stream:
                assert next(line for line in stream.iter_lines() if '"message"' in line).endswith('"missed"}}')
            headers = {}


@pytest.mark.slow
def test_pages_that_listen_to_events(reader: Reader, browser: Browser) -> None:
    command = events_of(reader)
    with serving(reader, command) as server:
        url = f"http://127.0.0.1:{server.port}"
        page = window(browser, f"{url}/report/")
        expect(page.get_by_role("status")).to_have_text("all of it")
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")
        page.goto(f"{url}/news/")
        page.wait_for_function("events.readyState === EventSource.OPEN")
        for text in ("hot", "cold"):
            server.get(f"/say/{text}/")
        expect(page.get_by_role("listitem")).to_have_text(["hot", "cold"])
        page.context.close()


@pytest.mark.slow
def test_htmx_over_sockets_and_over_events(reader: Reader, browser: Browser) -> None:
    reaches = ("npm", "view", "htmx.org", "version")
    if shutil.which("npm") is None or subprocess.run(reaches, capture_output=True, timeout=300).returncode:
        pytest.skip("npm does not reach its registry here")
    (command,) = follow(reader, "htmx")
    port = free_port()
    with serving(reader, command, port) as server:
        url = f"http://127.0.0.1:{server.port}/board"
        ada, grace, linus = (
            window(browser, f"{url}/"),
            window(browser, f"{url}/"),
            window(browser, f"{url}/events-page/"),
        )
        pin(ada, "one")
        sees([ada, grace, linus], "one")
        pin(linus, "<b>two</b>")
        sees([ada, grace, linus], "one", "<b>two</b>")
        linus.reload()
        pin(grace, "three")
        sees([ada, grace, linus], "one", "<b>two</b>", "three")
        late = [window(browser, f"{url}/"), window(browser, f"{url}/events-page/")]
        sees(late, "one", "<b>two</b>", "three")
        assert "Traceback" not in server.output
    with serving(reader, command, port) as server:  # the one before was killed
        assert server.port == port
        everybody = [ada, grace, linus, *late, window(browser, f"{url}/")]
        pin(everybody[-1], "four")
        sees(everybody, "one", "<b>two</b>", "three", "four")
        for page in everybody:
            page.context.close()


def pin(page: Page, text: str) -> None:
    page.get_by_label("Note").fill(text)
    page.get_by_role("button", name="Pin").click()
    expect(page.get_by_label("Note")).to_have_value("")


def sees(pages: list[Page], *texts: str) -> None:
    for page in pages:
        expect(page.get_by_role("listitem")).to_have_text(list(texts))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["redis", "local"])
def test_a_celery_task_tells_a_page_how_far_it_is(
    reader: Reader, browser: Browser, layer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("celery")
    valkey = Valkey(tmp_path_factory.mktemp("valkey")).start()
    try:
        reader.env["REDIS_URL"] = f"{valkey.url}/0"
        works, serves = follow(reader, "celery")
        if layer == "local":
            settings = reader.folder / "mysite" / "settings.py"
            settings.write_text(f"{settings.read_text()}\n{LOCAL_LAYER}\n")
        program, *arguments = shlex.split(works)
        with (
            serving(reader, serves) as server,
            Process(
                str(BIN / program), *arguments, ready=r"celery@\S+ ready", cwd=reader.folder, env=reader.env
            ) as worker,
        ):
            page = window(browser, f"http://127.0.0.1:{server.port}/reports/")
            log_in(page, "ada")
            page.get_by_role("button", name="Make the report").click()
            expect(page.get_by_role("progressbar")).to_have_js_property("value", 100)
            worker.wait_for("succeeded", START_TIMEOUT_S)
            assert "Traceback" not in server.output + worker.output
            page.context.close()
    finally:
        valkey.kill()


@pytest.mark.slow
def test_the_outbox_sends_what_is_written_in_a_shell(reader: Reader) -> None:
    *steps, shell = snippets("docs/howto/outbox.md")[:3]
    served = [each for step in steps for each in reader.follow(step)]
    ((command, lines),) = served
    with Process(*shlex.split(command), ready=re.escape(lines[0]), cwd=reader.folder, env=reader.env):
        ((_, typed),) = shell.commands
        code = "\n".join(line[4:] for line in typed[:-2])
        expression, offset = typed[-2][4:], typed[-1]
        code += f"\nimport time\nwhile {expression} < {offset}:\n    time.sleep(0.05)\nprint({expression})"
        assert reader.run(f"python manage.py shell --verbosity 0 --command {shlex.quote(code)}").strip() == offset


@pytest.mark.slow
def test_the_tests_of_the_guide_to_testing_pass(browser: Browser, tmp_path: Path) -> None:
    """On the chat of the README; those in a browser, too."""
    (tmp_path / "site").mkdir()
    reader = Reader(tmp_path / "site", ADA)
    reader.env["PLAYWRIGHT_BROWSERS_PATH"] = str(installed_for_playwright(browser, tmp_path))
    for snippet in snippets("README.md"):
        reader.follow(snippet)
    assert follow(reader, "testing") == []
