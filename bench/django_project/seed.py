"""Make the database: one user, and a session in which that user is logged in."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

SESSION_KEY = "benchbenchbenchbenchbenchbench12"

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.django_project.settings"

    import django

    django.setup()

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY
    from django.contrib.auth import SESSION_KEY as USER_KEY
    from django.contrib.auth.models import Group, User
    from django.contrib.sessions.models import Session
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    if connection.vendor == "sqlite":  # PostgreSQL is empty when it has started
        Path(settings.DATABASES["default"]["NAME"]).unlink(missing_ok=True)
    call_command("migrate", verbosity=0)
    Group.objects.bulk_create(Group(name=f"Group {number}") for number in range(100))
    user = User.objects.create_superuser("ada", password="lovelace")
    content = {
        USER_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session.objects.save(SESSION_KEY, content, timezone.now() + timedelta(days=1))
