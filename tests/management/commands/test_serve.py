from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from fullduplex.handler.application import ASGIHandler
from fullduplex.management.commands import serve
from fullduplex.server.config import ServerConfig


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ServerConfig, Any]]:
    """The configurations and applications that would be served."""
    calls: list[tuple[ServerConfig, Any]] = []

    def fake(config: ServerConfig, app: Any) -> int:
        calls.append((config, app))
        return 0

    monkeypatch.setattr(serve, "serve", fake)
    monkeypatch.setattr(serve, "configure_logging", lambda level: None)
    return calls


def run(*arguments: str) -> str:
    err = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("serve", *arguments, stderr=err)
    assert ended.value.code == 0
    return err.getvalue()


def test_it_takes_the_options_of_the_command(served: list[tuple[ServerConfig, Any]]) -> None:
    err = run("--host", "0.0.0.0", "-p", "9000", "--no-access-log", "--log-level", "warning")
    [(config, app)] = served
    assert (config.host, config.port, config.access_log, config.log_level) == ("0.0.0.0", 9000, False, "warning")
    assert isinstance(app, ASGIHandler)
    assert err == ""


@override_settings(DEBUG=True)
def test_debug_is_warned_about(served: list[tuple[ServerConfig, Any]]) -> None:
    assert "Set DEBUG = False" in run()
    assert len(served) == 1


@override_settings(DEBUG=False, ALLOWED_HOSTS=[])
def test_without_allowed_hosts_it_refuses(served: list[tuple[ServerConfig, Any]]) -> None:
    with pytest.raises(CommandError, match="ALLOWED_HOSTS"):
        call_command("serve")
    assert served == []


def test_the_configuration_can_be_shown(
    served: list[tuple[ServerConfig, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run("--check-config", "--port", "9000")
    assert served == []
    assert re.search(r"^port +=.* 9000 +--port$", capsys.readouterr().out, re.M)


def test_a_wrong_variable_is_named(served: list[tuple[ServerConfig, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLDUPLEX_PORT", "many")
    with pytest.raises(CommandError, match="FULLDUPLEX_PORT"):
        call_command("serve")
    assert served == []
