"""django-prometheus. Its counters are nobody's: all that can be seen is whether each request was counted once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {}
APPS = ["django_prometheus"]
FIRST = ["django_prometheus.middleware.PrometheusBeforeMiddleware"]
LAST = ["django_prometheus.middleware.PrometheusAfterMiddleware"]


def install() -> None:
    """Its middleware is all there is."""


def span(name: str) -> AbstractContextManager[object]:
    return nullcontext()


def take_records() -> list[Record]:
    from prometheus_client import REGISTRY

    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for metric in REGISTRY.collect()
        if metric.name.startswith("django_http")
        for sample in metric.samples
        if not sample.name.endswith(("_created", "_bucket"))
        and not (sample.name.endswith("_sum") and "latency" in sample.name)
    ]
