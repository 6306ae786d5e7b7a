"""What stands in ``suites`` belongs to the projects of others, in which ``run.py`` runs it."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

collect_ignore = ["suites"]

CHANNELS_TIMEOUT_S = 1
DEADLINE_S = 30


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let communicators wait for longer than Channels' one second, which is short for a busy machine."""
    for name in ("receive_output", "wait"):
        original = getattr(ApplicationCommunicator, name)

        async def patient(self: Any, timeout: float = CHANNELS_TIMEOUT_S, original: Any = original) -> Any:
            return await original(self, DEADLINE_S if timeout == CHANNELS_TIMEOUT_S else timeout)

        monkeypatch.setattr(ApplicationCommunicator, name, patient)
