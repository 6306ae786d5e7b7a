"""What the system checks say about middleware and threads."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import registry

from fullduplex.handler.checks import check_middleware, check_observers, check_threads


def sync_only(get_response: Any) -> Any:
    return get_response


def test_the_checks_are_registered() -> None:
    assert {check_middleware, check_observers, check_threads} <= registry.registry.registered_checks


def test_middleware_that_is_only_sync_is_named(settings: Any) -> None:
    assert check_middleware() == []
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.sync_only", "no.such.module"]
    (message,) = check_middleware()
    assert message.id == "fullduplex.I010"
    assert f"{__name__}.sync_only" in message.msg


@pytest.mark.parametrize("path", ["no.such.observer", f"{__name__}.nothing", f"{__name__}.__doc__", "plain"])
@pytest.mark.parametrize("name", ["SOCKET_OBSERVER", "SOCKET_VIEW_OBSERVER"])
def test_an_observer_that_does_not_exist_is_an_error(settings: Any, name: str, path: str) -> None:
    settings.FULLDUPLEX = {name: f"{__name__}.sync_only"}
    assert check_observers() == []
    settings.FULLDUPLEX = {name: path}
    (message,) = check_observers()
    assert message.id == "fullduplex.E010"
    assert name in message.msg


def test_one_thread_is_too_few(settings: Any) -> None:
    assert check_threads() == []
    settings.FULLDUPLEX = {"THREADS_COUNT": 1}
    (message,) = check_threads()
    assert message.id == "fullduplex.W010"
    settings.FULLDUPLEX = {"TYPO": 1}
    assert check_threads() == []
