"""django-simple-history: its records name the user of the request; ``_history_user`` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from django.http import HttpRequest
from simple_history.models import HistoricalRecords

from tests.packages.notes import BaseNote, name_of


class Note(BaseNote):
    history = HistoricalRecords()

    @property
    def signature(self) -> str:
        return name_of(self.history.select_related("history_user").get().history_user)

    @classmethod
    @contextmanager
    def in_the_name_of(cls, request: HttpRequest) -> Iterator[Callable[..., Self]]:
        def create(owner: str) -> Self:
            note = cls(owner=owner)
            note._history_user = request.user
            note.save()
            return note

        yield create
