from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.management import CommandError, get_commands, load_command_class
from django.test import override_settings

from fullduplex.conf import get_settings
from fullduplex.handler.application import ASGIHandler
from fullduplex.management.commands.runserver import Command, outlast_debuggers
from fullduplex.management.development import PATIENCE_S

DEFAULTS = {"use_static_handler": True, "insecure_serving": False, "use_threading": True}


class Bound(Command):
    """The command up to the point where it would serve."""

    def run(self, **options: Any) -> None:
        self.stdout.write("would run")


def parse(command: Command, *arguments: str) -> dict[str, Any]:
    return vars(command.create_parser("manage.py", "runserver").parse_args(arguments))


def banner(*arguments: str, port: int = 8000) -> str:
    out = io.StringIO()
    command = Bound(stdout=out, no_color=True)  # type: ignore[arg-type]
    options = parse(command, *arguments)
    command.handle(**options)
    command._use_threading = options["use_threading"]
    command.on_bind(port)
    return out.getvalue()


def test_it_is_the_runserver_of_the_project() -> None:
    assert isinstance(load_command_class(get_commands()["runserver"], "runserver"), Command)


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ((), "http://127.0.0.1:8000/"),
        (("8000",), "http://127.0.0.1:8000/"),
        (("0:8000",), "http://0.0.0.0:8000/"),
        (("10.1.2.3:8000",), "http://10.1.2.3:8000/"),
        (("localhost:8000",), "http://localhost:8000/"),
        (("-6",), "http://[::1]:8000/"),
        (("[::]:8000",), "http://[::]:8000/"),
    ],
)
def test_the_address_that_it_shows(arguments: tuple[str, ...], url: str) -> None:
    assert re.search(
        rf"^Starting ASGI/fullduplex \S+ development server at {re.escape(url)}$", banner(*arguments), re.M
    )


def test_an_address_that_makes_no_sense() -> None:
    with pytest.raises(CommandError, match='"nonsense" is not a valid port number or address:port pair'):
        banner("nonsense")


def test_the_port_that_was_free() -> None:
    assert ":45678/" in banner("0", port=45_678)


def test_nothreading_is_explained() -> None:
    assert "--nothreading" in banner("--nothreading")
    assert "--nothreading" not in banner()


def test_the_warning_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WARNING: This is a development server." in banner()
    monkeypatch.setenv("DJANGO_RUNSERVER_HIDE_WARNING", "true")
    assert "WARNING" not in banner()


@pytest.mark.parametrize(
    ("debug", "changes", "static"),
    [
        (True, {}, True),
        (True, {"use_static_handler": False}, False),
        (False, {}, False),
        (False, {"insecure_serving": True}, True),
    ],
)
def test_static_files_are_served_where_django_serves_them(debug: bool, changes: dict[str, bool], static: bool) -> None:
    with override_settings(DEBUG=debug):
        handler = Command().get_handler(**{**DEFAULTS, **changes})
    assert isinstance(handler, ASGIStaticFilesHandler if static else ASGIHandler)
    assert isinstance(handler.application if static else handler, ASGIHandler)


@override_settings(INSTALLED_APPS=["fullduplex", "django.contrib.contenttypes", "django.contrib.auth"], DEBUG=True)
def test_without_staticfiles_there_are_no_options_for_it() -> None:
    command = Command()
    options = parse(command)
    assert "use_static_handler" not in options
    assert isinstance(command.get_handler(**options), ASGIHandler)


@override_settings(ASGI_APPLICATION="django.core.handlers.asgi.ASGIHandler")
def test_a_class_is_not_mistaken_for_djangos_application() -> None:
    err = io.StringIO()
    Command(stderr=err).get_handler(**DEFAULTS)  # type: ignore[arg-type]
    assert err.getvalue() == ""


def test_handshakes_outlast_a_debugger_unless_the_project_says_otherwise() -> None:
    with override_settings():
        outlast_debuggers()
        assert get_settings().handshake_timeout_s == PATIENCE_S
    with override_settings(FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": 3.0}):
        outlast_debuggers()
        assert get_settings().handshake_timeout_s == 3.0
    with override_settings(FULLDUPLEX="nonsense"):
        outlast_debuggers()
        assert settings.FULLDUPLEX == "nonsense"
    get_settings.cache_clear()
