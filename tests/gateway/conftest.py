"""The gateway's tests run over both framings, and over both libraries of HTTP/2, from one source."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import wired

_BOTH = {"test_exchange", "test_extensions", "test_session", "test_limits", "test_buffers"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in _BOTH:
        only = metafunc.definition.get_closest_marker("http1_only") is not None
        metafunc.parametrize("framing", ["http1"] if only else ["http1", "ngh2", "h2"], indirect=True)


@pytest.fixture(autouse=True)
def framing(request: pytest.FixtureRequest) -> Iterator[str]:
    wired.framing = getattr(request, "param", "http1")
    yield wired.framing
    wired.framing = "http1"
