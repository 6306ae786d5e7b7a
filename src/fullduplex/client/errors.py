"""What goes wrong for a client, and what it does about it: try again, and when, or give up."""

from __future__ import annotations

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0

#: A connection that has lasted for so long begins the waits anew.
STABLE_S = 10.0

_FINAL_CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003})
_PASSING_STATUSES = frozenset({408, 425, 429})
_PASSING_ERRORS = frozenset({"limit", "timeout", "unavailable"})


class RequestFailed(Exception):
    """The server has refused a request, or a call was under way when the connection broke.

    Attributes:
        code: of docs/reference/protocol.md, or the project's own; ``lost``: the connection broke, and whether the call
            was done is unknown.
        message: for the developer.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class ClientClosed(Exception):
    """The client is closed, by :meth:`Client.close`, or for good by the server.

    Attributes:
        code: close code of the WebSocket, or the status with which the handshake was refused.
        reason: that came with it.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the client is closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason


class LineLost(Exception):
    """One connection has ended, or none came about.

    Attributes:
        code: close code, or the status of a refused handshake.
        is_final: another one would end in the same way.
    """

    def __init__(self, code: int, reason: str, is_final: bool) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.is_final = is_final


def reconnects(code: int) -> bool:
    """Whether a client comes back after this close code."""
    return code not in _FINAL_CODES and not 4500 <= code <= 4999


def reconnects_after_status(status: int) -> bool:
    """Whether a client tries again after a handshake that was refused with this status."""
    return status >= 500 or status in _PASSING_STATUSES


def passes(error_code: str) -> bool:
    """Whether a request that failed so may succeed later."""
    return error_code in _PASSING_ERRORS


def wait_s(attempt: int, random: float) -> float:
    """How long to wait before an attempt to connect: full jitter, so that clients do not come back all at once.

    Args:
        attempt: 0 for the first after a loss.
        random: from 0 to 1.
    """
    return random * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 16))
