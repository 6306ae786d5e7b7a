"""What every project here has: notes, and a package that puts a name under each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from django.db import models
from django.http import HttpRequest


class BaseNote(models.Model):
    """A row that somebody writes."""

    objects: ClassVar[models.Manager[Self]]
    owner = models.CharField(max_length=20)  # as the client says; empty: the package must not name anybody

    class Meta:
        abstract = True

    @property
    def signature(self) -> str:
        """The name that the package put under it, or nothing."""
        raise NotImplementedError

    @classmethod
    @contextmanager
    def in_the_name_of(cls, request: HttpRequest) -> Iterator[Callable[..., Self]]:
        """What creates notes where the package's middleware has ended, as its documentation says."""
        yield cls.objects.create

    @classmethod
    def signed(cls) -> list[tuple[str, str]]:
        """The owner and the signature of each note."""
        return [(note.owner, note.signature) for note in cls.objects.all()]


def name_of(user: Any) -> str:
    """A user's name; empty for nobody and for an anonymous one."""
    return user.get_username() if user is not None else ""
