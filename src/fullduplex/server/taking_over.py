"""A supervisor in the place of a process that has imported the application, as ``manage.py`` does for its checks.

Its memory, threads and connections are given up with it; process number, standard streams and what systemd passed stay.
"""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import configure_logging
from fullduplex.server.orders import pack, unpack
from fullduplex.server.spawn import interpreter_flags

_CODE = "import sys; sys.path[:] = {path!r}; from fullduplex.server.taking_over import main; main({fd})"


def take_over(config: ServerConfig) -> NoReturn:
    """Become a fresh interpreter that supervises; what is registered to happen at exit does not happen."""
    reading, writing = os.pipe()
    with open(writing, "w") as order:  # less than a pipe holds, 64 KiB
        json.dump({"config": pack(config), "argv": sys.argv}, order)
    os.set_inheritable(reading, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *interpreter_flags(), "-c", _CODE.format(path=sys.path, fd=reading)])


def main(fd: int) -> NoReturn:
    """Supervise; what to do stands in the pipe."""
    from fullduplex.server.cli import serve

    with open(fd) as order:
        orders = json.load(order)
    sys.argv[:] = orders["argv"]
    config = unpack(orders["config"])
    configure_logging(config)
    sys.exit(serve(config))
