"""A plugin of pytest for the tests of others: what they wait for may take its time on a busy machine."""

from __future__ import annotations

from typing import Any

from asgiref.testing import ApplicationCommunicator

TIMEOUT_S = 60.0

_receive_output = ApplicationCommunicator.receive_output


async def _receive_output_patiently(self: Any, timeout: float = 1) -> Any:
    return await _receive_output(self, max(timeout, TIMEOUT_S))


ApplicationCommunicator.receive_output = _receive_output_patiently  # type: ignore[method-assign]
