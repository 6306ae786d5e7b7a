"""Models with what a project adds to them: managers that hide rows, ``save()``, relations."""

from __future__ import annotations

from typing import Any

from django.db import models


class Author(models.Model):
    name = models.TextField()


class Visible(models.Manager["Book"]):
    def get_queryset(self) -> models.QuerySet[Book]:
        return super().get_queryset().filter(hidden=False)


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.TextField()
    hidden = models.BooleanField(default=False)
    readers = models.ManyToManyField(Author, related_name="read")

    objects = Visible()
    everything = models.Manager()

    class Meta:
        base_manager_name = "everything"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.title = self.title.strip()
        super().save(*args, **kwargs)
