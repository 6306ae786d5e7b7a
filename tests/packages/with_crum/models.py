"""django-crum: the user of this thread, from the request to its response; ``impersonate`` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from crum import get_current_user, impersonate
from django.contrib.auth.models import User
from django.db import models
from django.http import HttpRequest

from tests.packages.notes import BaseNote, name_of


class Note(BaseNote):
    author = models.ForeignKey(User, models.CASCADE, null=True)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.author = get_current_user()
        super().save(*args, **kwargs)

    @property
    def signature(self) -> str:
        return name_of(self.author)

    @classmethod
    @contextmanager
    def in_the_name_of(cls, request: HttpRequest) -> Iterator[Callable[..., Self]]:
        with impersonate(request.user):
            yield cls.objects.create
