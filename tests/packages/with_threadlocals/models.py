"""django-threadlocals: the request of this thread, set by a middleware and never taken back."""

from __future__ import annotations

from typing import Any

from django.db import models
from threadlocals.threadlocals import get_current_user

from tests.packages.notes import BaseNote, name_of


class Note(BaseNote):
    author = models.CharField(max_length=20)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.author = name_of(get_current_user())
        super().save(*args, **kwargs)

    @property
    def signature(self) -> str:
        return self.author
