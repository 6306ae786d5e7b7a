"""A plugin of pytest: what asks Django for its ASGI application gets ours, and its asynchronous test clients our chain.

Where a package's tests are run by Django: ``python -m ours test`` in the place of ``python -m django test``.
"""

from __future__ import annotations

import sys

import django.core.asgi
from django.core.management import execute_from_command_line
from runtests import put_into_clients  # of tests/django

from fullduplex.handler.application import ASGIHandler

django.core.asgi.ASGIHandler = ASGIHandler
put_into_clients()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
