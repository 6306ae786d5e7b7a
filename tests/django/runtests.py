"""Django's ``runtests.py``, after our handler has been put in the place of Django's where the environment says so."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any


def put_in_place() -> None:
    from django.core import asgi
    from django.core.handlers import asgi as handlers

    from fullduplex.handler.application import ASGIHandler

    put_into_clients()
    handlers.ASGIHandler = asgi.ASGIHandler = ASGIHandler  # type: ignore[assignment, misc]


def put_into_clients() -> None:
    from django.test import client

    from fullduplex.chain.loading import ChainHandler

    class AsyncClientHandler(ChainHandler, client.AsyncClientHandler):
        """The test client's, with our chain."""

    original = client.AsyncClient.__init__

    def make_client(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.handler = AsyncClientHandler(self.handler.enforce_csrf_checks)

    client.AsyncClient.__init__ = make_client  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("FULLDUPLEX_HANDLER"):
        put_in_place()
    sys.argv[0] = str(Path.cwd() / "runtests.py")
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_path(sys.argv[0], run_name="__main__")
