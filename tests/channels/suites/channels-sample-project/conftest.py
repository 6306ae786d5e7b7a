"""The sample project has settings of its own, beside those that the other tests are configured with."""

import os
from typing import Any

import django
import pytest
from selenium import webdriver


def pytest_configure() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.sample_project.config.settings"
    django.setup()


@pytest.fixture(autouse=True)
def chromium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chromium does not start as root, in a container, with its sandbox."""
    make = webdriver.ChromeOptions

    def options() -> Any:
        made = make()
        made.add_argument("--no-sandbox")
        made.add_argument("--disable-dev-shm-usage")
        return made

    monkeypatch.setattr(webdriver, "ChromeOptions", options)
