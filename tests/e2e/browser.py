"""A real Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL_TIMEOUT_S = 600.0
TIMEOUT_MS = 30_000.0


def chromium_path() -> str:
    """Return the path of Chromium; on Debian, as root, install it when it is missing.

    Raises:
        pytest.fail.Exception: there is none, and it cannot be installed.
    """
    path = _installed()
    if path is None and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
            if done.returncode:
                pytest.fail(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
        path = _installed()
    if path is None:
        pytest.fail("The browser tests need Chromium on PATH: `apt-get install chromium`, or your system's package.")
    return path


@contextmanager
def chromium(*flags: str, without: tuple[str, ...] = ()) -> Iterator[Browser]:
    """Start Chromium without a window, with these flags beside ours and without these of Playwright's, and end it."""
    path = chromium_path()
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*FLAGS, *flags], ignore_default_args=list(without), timeout=TIMEOUT_MS
        )
        try:
            yield browser
        finally:
            browser.close()


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
