"""Switches the async ORM to the loop, in a project that has chosen our engine."""

from __future__ import annotations

from fullduplex.db.engine import uses_engine


def enable_async_orm() -> None:
    """Have Django's ``a...`` methods run on the loop, if they can; once the apps are loaded."""
    if uses_engine():
        from fullduplex.db.calls import install  # which needs greenlet

        install()
