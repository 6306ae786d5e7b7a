"""Make the database: one user, and a session in which that user is logged in."""

from __future__ import annotations

import os

SESSION_KEY = "benchbenchbenchbenchbenchbench12"

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.django_project.settings"

    import django

    django.setup()

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, get_user_model
    from django.contrib.auth import SESSION_KEY as USER_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    settings.DATABASES["default"]["NAME"].unlink(missing_ok=True)
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("ada", password="lovelace")
    session = SessionStore(session_key=SESSION_KEY)
    session[USER_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save(must_create=True)
