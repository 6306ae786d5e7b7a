"""``manage.py outbox`` and ``manage.py clearhistory``, as far as they are no processes."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from fullduplex import Group
from fullduplex.history.models import KeptGroup, KeptMessage, now_ms
from fullduplex.layers import serving


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().strip()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_clearhistory(database: Any) -> None:
    layer = {"default": {"BACKEND": "tests.history.layers.Recording"}}
    with override_settings(FULLDUPLEX={"HISTORY": {"kept.*": {"STORE": "database"}}}, CHANNEL_LAYERS=layer):
        before = Group("kept.1").send("x")
        assert before is not None
        assert run("clearhistory") == "Deleted 0 messages, and forgot 0 groups."
        assert run("clearhistory", "--new-epochs") == "All groups of the database have begun another epoch."
        assert not Group("kept.1").history(before).recovered
        KeptMessage.objects.update(kept_ms=0)
        KeptGroup.objects.update(appended_ms=now_ms() - 90_000_000)
        assert run("clearhistory") == "Deleted 1 messages, and forgot 0 groups."
    with override_settings(FULLDUPLEX={}):  # no longer kept in the database, and quiet for a day
        KeptGroup.objects.update(appended_ms=0)
        assert run("clearhistory") == "Deleted 0 messages, and forgot 1 groups."


def test_the_outbox_needs_a_layer_that_reaches_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "in_process_allowed", lambda: False)
    monkeypatch.setattr(serving, "_serving", False)  # tests before this one may have served
    layer = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}}
    with override_settings(CHANNEL_LAYERS=layer), pytest.raises(CommandError, match="Set CHANNEL_LAYERS"):
        call_command("outbox", once=True)


@pytest.mark.parametrize("command", ["outbox", "clearhistory"])
def test_without_the_app(command: str) -> None:
    with override_settings(INSTALLED_APPS=["fullduplex"]), pytest.raises(CommandError, match=r"'fullduplex\.history'"):
        call_command(command)
