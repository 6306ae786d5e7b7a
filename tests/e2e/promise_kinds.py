"""What the project of ``promise_asgi`` is asked for, and which answers are right."""

from __future__ import annotations

import json
from collections.abc import Callable

ROWS_COUNT = 2_000

IsRight = Callable[[int, str, str], bool]  # of a status, a text, and who has asked


def _own(expected: int) -> IsRight:
    def is_right(status: int, text: str, owner: str) -> bool:
        found = json.loads(text)
        seen = {value for state in (found if isinstance(found, list) else [found]) for value in state.values()}
        return status == expected and seen == {owner}

    return is_right


def _rows(status: int, text: str, owner: str) -> bool:
    return status == 200 and [int(line) for line in text.split()] == list(range(1, ROWS_COUNT + 1))


def _six_queries(status: int, text: str, owner: str) -> bool:
    """Three of the middleware, and three of the view."""
    return status == 200 and json.loads(text) == {"count": 6}


KINDS: dict[str, tuple[str, IsRight]] = {
    "sync view": ("/sync/", _own(200)),
    "async view": ("/async/", _own(200)),
    "sync stream": ("/stream/", _own(200)),
    "async stream": ("/astream/", _own(200)),
    "error handler": ("/fail/", _own(500)),
    "page with a language": ("/en-us/page/", _own(200)),
    "cursor of the view": ("/export/", _rows),
    "cursor of a generator": ("/generator/", _rows),
    "execute_wrappers": ("/queries/", _six_queries),
}
