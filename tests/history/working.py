"""What the processes do that the tests kill: ``python -m tests.history.working ROLE ...``.

::

    publish GROUP WHO FIRST COUNT    sends messages, and prints the number of each that was acknowledged
    write GROUP WHO FIRST COUNT      writes each to the outbox together with a row of the table "changes"
    outbox [POINT]                   manage.py outbox; kills itself when it first comes to POINT
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.core.management import call_command
from django.db import Error, IntegrityError, connection, transaction

POINTS = ("claimed", "published", "appended", "deleted", "committed")


def main(role: str, *arguments: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.history.site"
    django.setup()
    if role == "outbox":
        outbox(*arguments)
        return
    group, who, first, count = arguments
    work = {"publish": publish, "write": write}[role]
    for number in range(int(first), int(count)):
        until_done(lambda number=number: work(group, f"{who} {number}"))  # type: ignore[misc]  # a default of a lambda
        print(number, flush=True)


def until_done(work: Callable[[], Any]) -> None:
    from fullduplex.exceptions import LayerError

    while True:
        try:
            work()
            return
        except (LayerError, Error):  # the database is restarted
            connection.close()
            time.sleep(0.05)


def publish(group: str, text: str) -> None:
    from fullduplex import Group

    Group(group).send(text, key=text)


def write(group: str, text: str) -> None:
    from fullduplex import Group

    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO changes (text) VALUES (%s)", [text])
            Group(group).send_in_transaction(text)
    except IntegrityError:
        pass  # it had committed when this process was killed, or the database was


def outbox(point: str = "") -> None:
    from fullduplex.realtime import relay

    relay.LEASE_S = float(os.environ.get("HISTORY_LEASE_S", relay.LEASE_S))
    if point:
        die_at(point)
    call_command("outbox", interval_s=0.05)


def die_at(point: str) -> None:
    from django.db.models import QuerySet

    from fullduplex.realtime import relay

    if point == "claimed":
        relay.Relay._publish = die  # type: ignore[assignment,method-assign]  # instead of publishing
    elif point == "published":
        relay.Relay._settle = die  # type: ignore[method-assign]  # instead of settling
    elif point == "appended":
        relay.append = then_die(relay.append)
    elif point == "deleted":
        QuerySet.delete = then_die(QuerySet.delete)  # type: ignore[method-assign]  # and then
    elif point == "committed":
        relay.publish = die


def die(*arguments: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(function: Callable[..., Any]) -> Any:
    def call(*arguments: Any, **options: Any) -> None:
        function(*arguments, **options)
        die()

    return call


if __name__ == "__main__":
    main(*sys.argv[1:])
