from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from fullduplex.handler.application import ASGIHandler
from fullduplex.management.application import get_internal_asgi_application
from tests.management import asgi_module


def test_without_the_setting_it_is_ours() -> None:
    assert isinstance(get_internal_asgi_application(), ASGIHandler)


@override_settings(ASGI_APPLICATION="tests.management.asgi_module.application")
def test_the_setting_names_an_application() -> None:
    assert get_internal_asgi_application() is asgi_module.application


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.management.nowhere.application", "No module named 'tests.management.nowhere'"),
        ("tests.management.asgi_module.aplication", 'does not define a "aplication" attribute'),
        ("application", "doesn't look like a module path"),
        ("tests.management.asgi_module.not_callable", "it cannot be called"),
    ],
)
def test_a_setting_that_names_nothing(path: str, reason: str) -> None:
    with override_settings(ASGI_APPLICATION=path), pytest.raises(ImproperlyConfigured) as failed:
        get_internal_asgi_application()
    assert f"ASGI_APPLICATION = {path!r}" in str(failed.value)
    assert reason in str(failed.value)
