"""Figures as text, in the format of Prometheus; what needs ``prometheus_client``.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from fullduplex._version import __version__
from fullduplex.server.figures import BOUNDS_S, PROJECTS, Family, Labels, join
from fullduplex.server.overview import BLOCKED_S, Overview, State

logger = logging.getLogger("fullduplex.server")

CONTENT_TYPE = CONTENT_TYPE_LATEST


def expose(overview: Overview, now_s: float) -> bytes:
    """All figures of a service as text."""
    registry = CollectorRegistry()
    registry.register(_Collected(overview, now_s))
    text = generate_latest(registry)
    if os.environ.get(PROJECTS):
        text += _of_project()
    return text


def _of_project() -> bytes:
    """What the project has in ``prometheus_client``, where it asks for that of several processes."""
    try:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    except (OSError, ValueError) as error:
        logger.warning("The metrics in %s cannot be read: %s", PROJECTS, error)
        return b""


class _Collected:
    def __init__(self, overview: Overview, now_s: float) -> None:
        self._overview = overview
        self._now_s = now_s

    def collect(self) -> Iterator[Metric]:
        overview = self._overview
        sources = [(one.slot, one.figures) for one in overview.workers]
        families = join((_worker(slot), figures) for slot, figures in [*overview.past, *sources])
        for family in [*self._service(), *overview.families, *families]:
            yield _metric(family)

    def _service(self) -> Iterator[Family]:
        """What is known of workers without asking them."""
        overview, now_s = self._overview, self._now_s
        yield Family("fullduplex_info", "gauge", "The version.", {(("version", __version__),): [1.0]})
        states = Counter(one.state for one in overview.workers)
        by_state: dict[Labels, list[float]] = {(("state", one.name.lower()),): [states[one]] for one in State}
        yield Family("fullduplex_workers", "gauge", "Workers by state.", by_state)
        blocked = Family("fullduplex_worker_blocked_seconds", "maximum", "How long its loop has not run; 0: it runs.")
        ages = Family("fullduplex_worker_figures_age_seconds", "maximum", "How old its figures are.")
        for one in overview.workers:
            silent_s = now_s - one.beat_s
            if one.state is not State.STARTING:
                blocked.add(_worker(one.slot), [silent_s if silent_s >= BLOCKED_S else 0.0])
            if one.taken_s is not None:
                ages.add(_worker(one.slot), [now_s - one.taken_s])
        yield from (blocked, ages)


def _worker(slot: int) -> Labels:
    return (("worker", str(slot + 1)),)


def _metric(family: Family) -> Metric:
    names = [name for name, _ in next(iter(family.samples), ())]
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        bounds = [*map(repr, BOUNDS_S), "+Inf"]
        for labels, values in family.samples.items():
            buckets = [*zip(bounds, accumulate(values[:-1]), strict=True)]
            histogram.add_metric([value for _, value in labels], buckets, values[-1])
        return histogram
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=names)
    for labels, values in family.samples.items():
        metric.add_metric([value for _, value in labels], values[0])
    return metric
