"""sentry-sdk with a transport that writes to the journal. It patches Django while settings are loaded."""

from __future__ import annotations

import os
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

from tests.observers import journal

APPS: list[str] = []
MIDDLEWARE_BEFORE: list[str] = []
MIDDLEWARE_AFTER: list[str] = []
SETTINGS: dict[str, Any] = {}
URLS: list[tuple[str, str]] = []


class JournalTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type in ("event", "transaction"):
                journal.write(item.payload.json)


def start() -> None:
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=JournalTransport,
        integrations=[DjangoIntegration(middleware_spans=os.environ.get("SPANS") == "yes")],
        auto_enabling_integrations=False,
        send_default_pii=True,
        traces_sample_rate=1.0,
        release="1",
        environment="tests",
        server_name="tests",
    )


def mark(who: str) -> None:
    sentry_sdk.set_tag("who", who)
    sentry_sdk.add_breadcrumb(category="who", message=who)
    with sentry_sdk.start_span(op="mark", name=who):
        pass


def report() -> list[Any]:
    return []
