"""Logfire, which sends nothing: its exporter for tests."""

from __future__ import annotations

from contextlib import AbstractContextManager

import logfire
from logfire.testing import TestExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.agents.agent import Record
from tests.agents.with_opentelemetry import records_of

SETTINGS: dict[str, object] = {}
APPS: list[str] = []
FIRST: list[str] = []
LAST: list[str] = []

exporter = TestExporter()


def install() -> None:
    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        distributed_tracing=True,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )
    logfire.instrument_django()


def span(name: str) -> AbstractContextManager[object]:
    return logfire.span(name)


def take_records() -> list[Record]:
    spans = [span for span in exporter.exported_spans if not (span.attributes or {}).get("logfire.pending_parent_id")]
    exporter.clear()
    records = records_of(spans)
    for record in records:
        record["attributes"].pop("logfire.exception.fingerprint", None)  # of the whole traceback
    return records
