"""Which processes serve sockets, and whether the in-process layer reaches all of them.

Without ``CHANNEL_LAYERS`` that layer is implied where it reaches every member: in ``runserver``, in tests and in a
single fullduplex worker. Among several workers of ours, and beside them, it is the local one. Elsewhere one of them
would deliver to some members and say nothing of the others, so that is an error.
"""

from __future__ import annotations

import sys

from django.conf import settings

from fullduplex.exceptions import LayerNotConfigured

SETTING = "CHANNEL_LAYERS"

SINGLE_WORKER = "a single fullduplex worker"

_allowed_reason: str | None = None
_serving = False
_worker_count: int | None = None


def allow_in_process(reason: str) -> None:
    """Say that this process holds every socket of the site, so that the in-process layer reaches all of them.

    Args:
        reason: why, e.g. ``"runserver"``.
    """
    global _allowed_reason
    _allowed_reason = reason


def note_serving(worker_count: int | None) -> None:
    """Say that this process serves sockets.

    Args:
        worker_count: how many processes serve the site, as lifespan state ``fullduplex.worker_count``
            tells; None when the server does not say.
    """
    global _serving, _worker_count
    if worker_count == 1 and _allowed_reason is None:
        allow_in_process(SINGLE_WORKER)
    _serving = True
    _worker_count = worker_count


def is_configured() -> bool:
    return bool(getattr(settings, SETTING, None))


def in_process_allowed() -> bool:
    """Whether this process is known to hold every socket of the site, so that the in-process layer is implied."""
    return _allowed_reason is not None or _in_tests()


def in_several_workers() -> bool:
    """Whether this is one of several workers of ours, which the local layer connects."""
    return _serving and (_worker_count or 0) > 1


def is_single_worker() -> bool:
    """Whether this is the one worker of ours that serves the site, in no ``runserver`` and no test."""
    return _allowed_reason == SINGLE_WORKER and not _in_tests()


def serves() -> bool:
    """Whether this process is known to serve sockets."""
    return _serving


def check_in_process() -> None:
    """Hold an in-process layer against the processes there are.

    Raises:
        LayerNotConfigured: it does not reach every member from here.
    """
    if in_process_allowed():
        return
    configured = is_configured()
    if configured and _serving and _worker_count is None:
        return  # the project chose it and the server does not tell: the choice counts
    raise LayerNotConfigured(
        f"{_obstacle(configured)} Set {SETTING} = {{'default': {{'BACKEND': ...}}}} to a layer that connects "
        f"processes. The in-process layer is for runserver, tests and a single worker."
    )


def _obstacle(configured: bool) -> str:
    if not _serving:
        beside = "" if configured else " No workers of fullduplex serve this project here for the user of this process."
        return f"This process serves no sockets, and the in-process layer reaches none outside of it.{beside}"
    if _worker_count is not None:
        return f"{_worker_count} workers serve this site, and the in-process layer reaches the sockets of one."
    return "No layer is configured, and this server does not tell whether other workers serve the site, too."


def _in_tests() -> bool:
    """Whether Django's test environment is set up (by its runner, or by pytest-django)."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")
