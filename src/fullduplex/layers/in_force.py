"""Which layer is in force, in a line: for ``explain`` and ``check --deploy``."""

from __future__ import annotations

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.configured import entry, is_beside_workers, is_kept
from fullduplex.layers.local.place import Place, is_possible
from fullduplex.layers.serving import SETTING, is_configured


def in_force() -> str:
    """Say which layer carries groups, where, and why."""
    try:
        return _configured() if is_configured() else _implied()
    except ConfigurationError as error:
        return f"none: {error}"


def _configured() -> str:
    backend, _ = entry()
    return f"{backend}, of {SETTING}"


def _implied() -> str:
    alone = "" if is_kept() else " and in a single worker of fullduplex"
    single = f"no {SETTING}: in-process in runserver{',' if alone else ' and'} in tests{alone}"
    if not is_possible():
        return f"{single}; elsewhere an error"
    beside = "they run now, and this process reaches them" if is_beside_workers() else "none run now"
    workers = "workers, of which it keeps what HISTORY says," if is_kept() else "several workers"
    local = f"LocalLayer in {Place().path} for {workers} and what the same user runs beside them ({beside})"
    return f"{single}; {local}; elsewhere an error"
