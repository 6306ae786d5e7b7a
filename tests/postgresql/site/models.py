"""Tables that ``tests.postgresql.database`` makes."""

from __future__ import annotations

from django.db import models


class Number(models.Model):
    number = models.IntegerField(primary_key=True)
    text = models.TextField()

    class Meta:
        managed = False
        db_table = "numbers"


class Document(models.Model):
    tenant = models.TextField()

    class Meta:
        managed = False
        db_table = "documents"
