"""Make the database of a project, and print what its clients send: ``python -m tests.packages.prepare COUNT``."""

from __future__ import annotations

import json
import shutil
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections


def users(count: int) -> list[tuple[str, dict[str, str]]]:
    """Users who have logged in."""
    from django.contrib.auth.models import User
    from django.test import Client

    call_command("migrate", run_syncdb=True, verbosity=0)
    found = []
    for user in User.objects.bulk_create(User(username=f"user{number}") for number in range(count)):
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME]
        found.append((user.username, {"Cookie": f"{session.key}={session.value}"}))
    return found


def pinned(count: int) -> list[tuple[str, dict[str, str]]]:
    """Clients of whom every other one has written a moment ago, which its cookie says."""
    from tests.packages.with_multidb.models import Place

    call_command("migrate", run_syncdb=True, verbosity=0)
    Place.objects.using("default").create(name="default")
    connections.close_all()
    shutil.copy(settings.DATABASES["default"]["NAME"], settings.DATABASES["replica"]["NAME"])
    Place.objects.using("replica").update(name="replica")
    kinds = [("default", {"Cookie": "multidb_pin_writes=y"}), ("replica", {})]
    return [kinds[number % 2] for number in range(count)]


def tenants(count: int) -> list[tuple[str, dict[str, str]]]:
    """One client of each tenant."""
    from tests.packages.tenant_notes.models import Note, Place
    from tests.packages.with_tenants.models import Domain, Tenant

    call_command("migrate_schemas", shared=True, run_syncdb=True, verbosity=0)
    found = []
    for number in range(count):
        name = f"tenant{number}"
        tenant = Tenant(schema_name=name)
        tenant.save()
        Domain.objects.create(domain=f"{name}.example", tenant=tenant)
        with connection.schema_editor() as editor:
            editor.execute(f"CREATE SCHEMA {name}")
        with tenant, connection.schema_editor() as editor:
            editor.create_model(Place)
            editor.create_model(Note)
            Place.objects.create(name=name)
        found.append((name, {"Host": f"{name}.example"}))
    return found


if __name__ == "__main__":
    django.setup()
    make = {"multidb": pinned, "tenants": tenants}.get(settings.PACKAGE, users)
    print(json.dumps(make(int(sys.argv[1]))))
