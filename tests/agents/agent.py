"""The package that this process is watched by: the module ``with_…`` that ``AGENT`` names.

Each of these modules says what its package adds to the settings, and has three functions: ``install()`` is called
before the server and Django are imported, ``span(name)`` is what a view uses to record a piece of its own, and
``take_records()`` hands out what was recorded since it was last asked.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

# What is the same for the same requests: without times, and names in the place of ids.
Record = dict[str, Any]


class Agent(Protocol):
    """What a module has.

    Attributes:
        SETTINGS: of the package itself.
        APPS: before those of the project.
        FIRST, LAST: middleware around that of the project.
    """

    SETTINGS: dict[str, object]
    APPS: list[str]
    FIRST: list[str]
    LAST: list[str]
    install: Callable[[], None]
    span: Callable[[str], AbstractContextManager[object]]
    take_records: Callable[[], list[Record]]


agent = cast(Agent, importlib.import_module(f"tests.agents.with_{os.environ['AGENT']}"))
