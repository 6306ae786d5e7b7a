"""django-multidb-router: a thread reads from the replica, or is pinned to the default database by a cookie."""

from __future__ import annotations

from typing import Any

from django.db import models

from tests.packages.notes import BaseNote


class Place(models.Model):
    """One row: the name of the database that it is in."""

    name = models.CharField(max_length=20)


class Note(BaseNote):
    read_from = models.CharField(max_length=20)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.read_from = Place.objects.get().name
        super().save(*args, **kwargs)

    @property
    def signature(self) -> str:
        return self.read_from
