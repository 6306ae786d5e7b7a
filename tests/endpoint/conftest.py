from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.endpoint.site import HISTORY, LAYER


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    settings = {"FULLDUPLEX": {"HISTORY": HISTORY}, "CHANNEL_LAYERS": LAYER, "ROOT_URLCONF": "tests.endpoint.site"}
    with override_settings(**settings):
        yield
