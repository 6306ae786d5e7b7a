"""Attributes of a request that are made when somebody first asks for them, by what is noted in its dict."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NOTES = "_fullduplex_deferred"  # in the dict of a request: by attribute, its Note or what it has become
_lock = threading.RLock()  # two threads must not make two sessions; a user wants a session in turn


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """How to make attributes: ``make(request)`` sets those of ``names`` on the request."""

    make: Callable[[Any], Any]
    names: tuple[str, ...]


class _Deferred:
    """An attribute of :class:`DeferredAttributes`. What is set on the request itself comes before it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Any, owner: type) -> Any:
        if request is None:
            return self
        notes = request.__dict__.get(NOTES, {})
        if self._name not in notes:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")
        with _lock:
            if type(notes[self._name]) is Note:
                _make(request, notes, notes[self._name])
        value = request.__dict__[self._name] = notes[self._name]
        return value


def _make(request: Any, notes: dict[str, Any], note: Note) -> None:
    """Shallow copies of a request share its notes, and so what comes of them."""
    attributes = request.__dict__
    kept = {name: attributes[name] for name in note.names if name in attributes}
    note.make(request)
    notes.update({name: attributes.pop(name) for name in note.names})
    attributes.update(kept)


class DeferredAttributes:
    """Base of requests that can note a hook instead of running it."""

    session: Any = _Deferred()
    user: Any = _Deferred()
    auser: Any = _Deferred()
    _messages: Any = _Deferred()

    def __delattr__(self, name: str) -> None:
        """What is deleted is not made again, and what needs it is made before: from here on there are no notes."""
        for noted in self.__dict__.get(NOTES, ()):
            getattr(self, noted)
        self.__dict__.pop(NOTES, None)
        super().__delattr__(name)
