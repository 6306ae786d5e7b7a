"""What an observer has recorded about each request, without what differs from run to run.

A request is known by its path and by who made it. What is left of its records is lines of text, a field or a span each,
so that they can be compared, and looked through for the names of others.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

Request = tuple[str, str]  # its path, and who made it
Records = dict[Request, list[str]]
Line = tuple[Request, Any]

NOBODY = "nobody"
_LIFESPAN = "Django can only handle ASGI/HTTP connections, not lifespan."
_GROUP = "unhandled errors in a TaskGroup"
_AT_THE_END = (
    "django.core.cache.close_caches",
    "django.core.handlers.base.reset_urlconf",
    "django.db.close_old_connections",
)
USER = re.compile(r"user\d\d")


def recorded(observer: str, records: Iterable[dict[str, Any]], port: int) -> Records:
    """Return the lines of each request, in an order that does not depend on when they were written."""
    found: Records = defaultdict(list)
    for request, line in _READERS[observer](records):
        text = json.dumps(line, sort_keys=True)
        found[request].append(text.replace(f"127.0.0.1:{port}", "127.0.0.1").replace(f'"{port}"', '"port"'))
    return {request: sorted(lines) for request, lines in found.items()}


def strangers(records: Records) -> dict[Request, set[str]]:
    """Requests whose records name somebody else."""
    found = {request: {*USER.findall("".join(lines))} - {request[1]} for request, lines in records.items()}
    return {request: names for request, names in found.items() if names}


def differences(expected: Records, found: Records) -> dict[str, tuple[int, list[str], list[str]]]:
    """For each path: how many requests differ; of the first of them, the lines that are only there, and only here."""
    different: dict[str, tuple[int, list[str], list[str]]] = {}
    for request in sorted(expected.keys() | found.keys()):
        there, here = Counter(expected.get(request, [])), Counter(found.get(request, []))
        if there != here:
            path = USER.sub("{who}", request[0])
            count, *first = different.get(
                path, (0, sorted((there - here).elements()), sorted((here - there).elements()))
            )
            different[path] = (count + 1, first[0], first[1])
    return different


def _sentry(events: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """An event of an error, or of a transaction, is a line for each of its fields and spans.

    Without what is not ours to repeat: that Django's handler refuses the lifespan; that its threads and ours open a
    database connection now and then; that it does not close a response whose stream has failed; and that since Django 6
    the error of the stream is in a group.
    """
    for event in events:
        exceptions = event.get("exception", {}).get("values", [])
        if any(_LIFESPAN in error["value"] for error in exceptions):
            continue
        asked = event.get("request", {})
        request = _request(asked.get("url", ""), asked.get("query_string", ""))
        kind = event.get("type", "error")
        trace = event["contexts"]["trace"]
        fields: dict[str, Any] = {
            name: event.get(name) for name in ("transaction", "transaction_info", "user", "level")
        }
        fields |= {f"request {name}": value for name, value in asked.items()}
        fields |= {f"tag {name}": value for name, value in event.get("tags", {}).items()}
        fields |= {f"trace {name}": trace.get(name) for name in ("op", "status", "origin", "description")}
        for name, value in fields.items():
            yield request, f"{kind}: {name} = {json.dumps(value, sort_keys=True)}"
        for crumb in event.get("breadcrumbs", {}).get("values", []):
            if crumb.get("message") != "connect":
                yield request, f"{kind}: breadcrumb {crumb.get('category')}: {crumb.get('message')}"
        for span in event.get("spans", []):
            shown = [span.get(name) for name in ("op", "description", "origin", "status", "tags")]
            failed = request[0] == "/broken-stream/" and span.get("description") in _AT_THE_END
            if span.get("description") != "connect" and not failed:
                yield request, f"{kind}: span {json.dumps(shown)}"
        for error in [error for error in exceptions if error["value"] != _GROUP]:
            frames = [frame for frame in error["stacktrace"]["frames"] if frame["module"].startswith("tests.")]
            shown = [error["type"], error["value"], error["mechanism"], [frame["function"] for frame in frames]]
            yield request, f"{kind}: exception {json.dumps(shown)}"


def _toolbar(pages: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """Without the templates: of several pages at once each panel notes those of all, under Django's handler too."""
    for panels in pages:
        history, headers = panels["HistoryPanel"], panels["HeadersPanel"]
        url = urlsplit(history["request_url"])
        request = _request(url.path, url.query)
        for name in ("request_url", "request_method", "status_code", "data"):
            yield request, f"{name} = {json.dumps(history[name])}"
        for kind in ("request_headers", "response_headers"):
            yield request, f"{kind} = {json.dumps(headers[kind], sort_keys=True)}"
        for query in panels["SQLPanel"]["queries"]:
            yield request, f"query = {query['sql']}"
        for signal, receivers in panels["SignalsPanel"]["signals"]:
            if signal.startswith(("request_", "got_request")):
                yield request, f"{signal} = {receivers}"


def _silk(requests: Iterable[dict[str, Any]]) -> Iterator[Line]:
    for fields in requests:
        request = fields["path"], json.loads(fields["query"])["who"]
        for query in fields.pop("queries"):
            yield request, f"query = {query}"
        for name, value in fields.items():
            yield request, f"{name} = {value}"


def _structlog(events: Iterable[dict[str, Any]]) -> Iterator[Line]:
    for event in events:
        errors = [[error["exc_type"], error["exc_value"]] for error in event.get("exception", [])]
        yield _correlated(event.get("request_id")), {**event, "exception": errors}


def _guid(records: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """Without what the package says about itself: that it clears the id at the end, and which middleware it uses.

    Its receiver of ``request_finished`` still finds the id under our handler. Django's closes the response outside the
    task that has made it, and does not close one whose stream has failed.
    """
    for record in records:
        if record["level"] != "DEBUG":
            yield _correlated(record["id"]), record


def _request(url: str, query: str) -> Request:
    return urlsplit(url).path, parse_qs(query).get("who", [NOBODY])[0]


def _correlated(identifier: str | None) -> Request:
    path, _, who = (identifier or f"|{NOBODY}").partition("|")
    return path, who


_READERS: dict[str, Callable[[Iterable[dict[str, Any]]], Iterator[Line]]] = {
    "sentry": _sentry,
    "toolbar": _toolbar,
    "silk": _silk,
    "structlog": _structlog,
    "guid": _guid,
}
