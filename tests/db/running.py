"""Runs the cases in a process of their own, which has chosen the engine, and says what came of each.

POSTGRESQL=/folder/of/the/socket python -m tests.db.running
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
import traceback
from typing import Any

CASES = ("tests.db.cases_orm", "tests.db.cases_sessions", "tests.db.cases_endings")
CASE_TIMEOUT_S = 40.0


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.db.project.settings"
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    outcomes = {}
    for module in map(importlib.import_module, CASES):
        for name, case in tuple(vars(module).items()):
            if name.startswith("case_"):
                outcomes[name] = run(case)
    connections.close_all()
    sys.stdout.write("\n" + json.dumps(outcomes) + "\n")


def run(case: Any) -> str:
    """Run a case in a loop of its own; return what went wrong."""
    from tests.db.cases import nothing_is_left

    async def bounded() -> None:
        async with asyncio.timeout(CASE_TIMEOUT_S):
            await case()
            await nothing_is_left()

    threads = set(threading.enumerate())
    try:
        asyncio.run(bounded())
        if case.__module__.endswith("cases_orm"):
            assert set(threading.enumerate()) <= threads, "a thread was started"
    except BaseException:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main()
