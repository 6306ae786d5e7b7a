"""django-auditlog: its log entries name the actor of the request; ``set_actor`` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from auditlog.context import set_actor
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.http import HttpRequest

from tests.packages.notes import BaseNote, name_of


class Note(BaseNote):
    @property
    def signature(self) -> str:
        return name_of(LogEntry.objects.get_for_object(self).select_related("actor").get().actor)

    @classmethod
    @contextmanager
    def in_the_name_of(cls, request: HttpRequest) -> Iterator[Callable[..., Self]]:
        with set_actor(request.user):
            yield cls.objects.create


auditlog.register(Note)
