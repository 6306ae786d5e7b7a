"""With Django's default LOGGING the reason of a refusal, and each exception, is in the log in production, too."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.log import DEFAULT_LOGGING

from fullduplex.handler.unwritten import Unwritten
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import refusal, request
from tests.handler.project import project


class Lines(logging.Handler):
    """Notes each record, formatted as a log has it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def production() -> Iterator[Lines]:
    """Django's own LOGGING, and no handler above it, such as pytest's; what the logger of ours writes then."""
    lines, ours, root = Lines(), logging.getLogger("fullduplex"), logging.getLogger()
    loggers = [root, ours, logging.getLogger("django"), logging.getLogger("django.server")]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    logging.config.dictConfig(DEFAULT_LOGGING)
    root.handlers, ours.handlers, ours.propagate = [], [lines], False
    try:
        yield lines
    finally:
        for logger, handlers, level, propagate in kept:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@socket_view
async def fails(socket: WebSocket) -> None:
    raise RuntimeError("the view is broken")


@socket_view
async def fine(socket: WebSocket) -> None:
    await socket.accept()


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the page is broken")


URLS = (path("fails/", fails), path("fine/", fine), path("broken/", broken))


@pytest.mark.parametrize(
    ("path", "headers", "told"),
    [
        ("/fine/", {"origin": "https://evil.example"}, "CSRF_TRUSTED_ORIGINS"),
        ("/fine/", {"host": "evil.example"}, "ALLOWED_HOSTS"),
        ("/fails/", {}, "RuntimeError: the view is broken"),
        ("/nowhere/", {}, "no route matches"),
        ("/broken/", {}, "is no socket view"),
    ],
)
async def test_the_reason_of_a_refusal(path: str, headers: dict[str, str], told: str) -> None:
    with production() as log, project(*URLS, DEBUG=False, ALLOWED_HOSTS=["testserver"]) as application:
        await refusal(application, path, headers=headers)
    [line] = log.lines
    assert told in line
    assert ("Traceback" in line) is (path == "/fails/")


async def test_an_exception_of_a_page_and_no_page_that_is_missing() -> None:
    with production() as log, project(*URLS, DEBUG=False) as application:
        assert (await request(application, "/broken/")).status == 500
        assert (await request(application, "/nowhere/")).status == 404
    [line] = log.lines
    assert "RuntimeError: the page is broken" in line


async def test_what_is_written_is_not_written_twice() -> None:
    root = Lines()
    with production() as log:
        with project(*URLS, DEBUG=True) as application:  # the console has it
            await refusal(application, "/nowhere/")
        logging.getLogger().addHandler(root)
        with project(*URLS, DEBUG=False) as application:
            await refusal(application, "/nowhere/")
    assert root.lines == ["Not Found (no route matches): /nowhere/"]
    assert log.lines == []


async def test_a_level_of_ours_counts() -> None:
    with production() as log, project(*URLS, DEBUG=False) as application:
        logging.getLogger("fullduplex").setLevel(logging.CRITICAL)
        await refusal(application, "/fails/")
    assert log.lines == []


async def test_one_handler_however_many_applications() -> None:
    with production(), project() as _, project() as _:
        handlers = logging.getLogger("django").handlers
        assert sum(isinstance(handler, Unwritten) for handler in handlers) == 1


async def test_a_handshake_of_which_a_proxy_has_dropped_the_half() -> None:
    with production() as log, project(*URLS, DEBUG=False) as application:
        await request(application, "/fine/")
        await request(application, "/fine/", headers={"sec-websocket-key": "AAAA"})
    [line] = log.lines
    assert "A proxy drops what it is not told to pass on" in line


async def test_who_patches_logging_sees_each_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    call = logging.Logger.callHandlers

    def tracking(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        call(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", tracking)
    with production() as log, project(*URLS, DEBUG=False) as application:
        await refusal(application, "/fails/")
    assert seen == ["Internal Server Error: /fails/"]
    assert len(log.lines) == 1
