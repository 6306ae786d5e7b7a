"""opentelemetry-instrumentation-django, with the SDK's exporter in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {}
APPS: list[str] = []
FIRST: list[str] = []
LAST: list[str] = []

# The servers choose the client's port, and their own.
_OF_CONNECTION = {"net.peer.port", "net.host.port", "client.port", "server.port"}

exporter = InMemorySpanExporter()


def install() -> None:
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument()


def span(name: str) -> AbstractContextManager[object]:
    return trace.get_tracer("site").start_as_current_span(name)


def take_records() -> list[Record]:
    spans = exporter.get_finished_spans()
    exporter.clear()
    return records_of(list(spans))


def records_of(spans: list[ReadableSpan]) -> list[Record]:
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    records = []
    for span in spans:
        assert span.context is not None
        parent = span.parent
        records.append(
            {
                "trace": f"{span.context.trace_id:032x}" if parent is not None else None,
                "parent": parent and names.get(parent.span_id, f"{parent.span_id:016x}"),
                "name": span.name,
                "kind": span.kind.name,
                "status": [span.status.status_code.name, span.status.description],
                "attributes": {
                    key: value
                    for key, value in (span.attributes or {}).items()
                    if key not in _OF_CONNECTION and not key.startswith(("code.", "thread."))
                },
                "events": [[event.name, *(event.attributes or {}).values()][:3] for event in span.events],
            }
        )
    return records
