#!/usr/bin/env bash
# django-auditlog 3.4.1: a block of `set_actor` inside another one takes away the outer actor.
# One would expect, as of any context manager, that the end of the inner block brings the outer back:
# the documentation offers `set_actor` to name the actor of what is logged within a block.
# After the inner block, entries get no actor at all, though the outer block still goes on.
# The receiver of the outer block also stays connected for good, since its end disconnects by the
# name that the inner block has left.
# It bites views behind the middleware (an outer block too) that act for another user for a moment:
# the rest of the request is logged without an actor, and each such request leaves a receiver.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 django-auditlog==3.4.1
cat > program.py <<'PYTHON'
import sys
from importlib.metadata import version

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "auditlog"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
from auditlog.context import set_actor  # noqa: E402
from auditlog.models import LogEntry  # noqa: E402
from auditlog.registry import auditlog  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.models.signals import pre_save  # noqa: E402

call_command("migrate", verbosity=0)
anna, bert = User.objects.create_user("anna"), User.objects.create_user("bert")
auditlog.register(Group)


def connected():
    return len(pre_save.send(LogEntry, instance=LogEntry()))


def logged_actor(name):
    """The actor in the log entry of a new group."""
    group = Group.objects.create(name=name)
    actor = LogEntry.objects.get_for_object(group).get().actor
    return actor and actor.username


print("Django", version("Django"), "django-auditlog", version("django-auditlog"))
before = connected()
with set_actor(anna):
    first = logged_actor("first")
    with set_actor(bert):
        second = logged_actor("second")
    third = logged_actor("third")
left = connected() - before
print("in the outer block:", first)
print("in the inner block:", second)
print("in the outer block, after the inner one:", third)
print("receivers left after both:", left)
if (first, second, third, left) != ("anna", "bert", None, 1):
    sys.exit("different: anna, bert, None and one receiver were expected")
PYTHON
venv/bin/python program.py
