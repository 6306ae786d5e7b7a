"""Make the database of the site, and print its users and their cookies: ``python -m tests.observers.prepare COUNT``."""

from __future__ import annotations

import json
import sys

import django
from django.conf import settings
from django.core.management import call_command


def main(count: int) -> None:
    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client

    call_command("migrate", run_syncdb=True, verbosity=0)
    cookies = {}
    for user in User.objects.bulk_create(User(username=f"user{number:02}") for number in range(count)):
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME]
        cookies[user.username] = f"{session.key}={session.value}"
    print(json.dumps(cookies))


if __name__ == "__main__":
    main(int(sys.argv[1]))
