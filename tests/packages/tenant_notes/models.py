"""What is in the schema of each tenant."""

from __future__ import annotations

from typing import Any

from django.db import connection, models

from tests.packages.notes import BaseNote
from tests.packages.with_tenants.models import Tenant


class Place(models.Model):
    """One row: the name of the schema that it is in."""

    name = models.CharField(max_length=20)


class Note(BaseNote):
    tenant = models.CharField(max_length=20)
    schema = models.CharField(max_length=20)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.tenant = connection.tenant.schema_name
        self.schema = Place.objects.get().name
        super().save(*args, **kwargs)

    @property
    def signature(self) -> str:
        here = Place.objects.get().name
        return here if self.tenant == self.schema == here else f"{self.tenant}, {self.schema}, {here}"

    @classmethod
    def signed(cls) -> list[tuple[str, str]]:
        found = []
        for tenant in Tenant.objects.all():
            with tenant:
                found += super().signed()
        return found
