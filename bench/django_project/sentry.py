"""Sentry as its documentation installs it for Django, with a transport that sends nothing."""

from __future__ import annotations

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport


class Nowhere(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        pass


def start() -> None:
    """Patch Django, as a settings module does it; every transaction is begun, and none is sampled."""
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Nowhere,
        integrations=[DjangoIntegration()],
        auto_enabling_integrations=False,
        traces_sample_rate=0.0,
    )
